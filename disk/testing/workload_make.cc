// SPDX-License-Identifier: Apache-2.0
// From a name and a seed to a workload.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "disk/testing/workload.h"

namespace vmm::disk {
namespace {

using Random = std::mt19937_64;
using Kind = GuestOp::Kind;

struct Recipe {
  const char* name;
  // How often each kind comes, in the order of GuestOp::Kind.
  unsigned weights[GuestOp::kNrKinds];
  unsigned prefill;  // per cent of the disk that is written before
  bool backing;
  bool small_caches;
  unsigned nr_workers;
  unsigned nr_requests;  // of each worker
};

constexpr Recipe kRecipes[] = {
    {"allocating-writes", {80, 2, 0, 0, 0, 18}, 0, false, false, 1, 60},
    {"overwrites", {78, 4, 0, 0, 0, 18}, 70, false, false, 1, 60},
    {"backing", {55, 4, 10, 5, 8, 18}, 20, true, false, 1, 60},
    {"discard", {40, 0, 5, 0, 35, 20}, 80, false, false, 1, 70},
    {"zeroes", {40, 4, 20, 20, 0, 16}, 70, false, false, 1, 60},
    {"reuse", {42, 0, 4, 4, 30, 20}, 90, false, true, 1, 100},
    {"refcount-table-growth", {75, 0, 0, 0, 12, 13}, 60, false, true, 1, 50},
    {"compressed", {55, 2, 8, 5, 15, 15}, 80, false, false, 1, 60},
    {"subclusters", {55, 3, 10, 8, 10, 14}, 40, true, false, 1, 60},
    {"small-caches", {50, 4, 8, 8, 15, 15}, 40, true, true, 1, 80},
    {"concurrent", {50, 4, 8, 8, 15, 15}, 30, false, true, 4, 30},
    {"snapshots", {50, 2, 5, 4, 8, 10, 9, 5, 7}, 40, false, false, 1, 50},
    {"snapshots-backing", {50, 2, 5, 4, 8, 10, 9, 5, 7}, 20, true, true, 1, 50},
    {"l1-growth", {60, 2, 5, 4, 5, 12, 0, 0, 0, 12}, 40, false, false, 1, 50},
    {"l1-growth-backing", {60, 2, 5, 4, 5, 12, 0, 0, 0, 12}, 40, true, false, 1, 50},
    {"resize", {50, 2, 5, 4, 5, 9, 0, 0, 0, 0, 14, 5, 0, 0, 4}, 60, false, false, 1, 50},
    {"resize-backing", {50, 2, 5, 4, 5, 9, 0, 0, 0, 0, 14, 0, 0, 0, 4}, 40, true, true, 1, 50},
    {"commit", {50, 4, 6, 4, 6, 8, 0, 0, 0, 0, 4, 0, 10, 0, 4}, 40, true, false, 1, 50},
    {"rebase", {50, 4, 6, 4, 6, 8, 0, 0, 0, 0, 4, 2, 4, 12, 4}, 40, true, false, 1, 50},
    {"tools", {45, 2, 5, 4, 6, 6, 8, 4, 5, 4, 6, 4, 3, 4, 4}, 50, true, true, 1, 50},
    // Each of the tools' operations at the moment at which the refcount table has to grow.
    {"tools-table-growth",
     {30, 0, 0, 0, 6, 4, 20, 6, 12, 3, 8, 6, 0, 0, 3},
     50,
     false,
     true,
     1,
     24},
    {"tools-table-growth-backing",
     {30, 0, 0, 0, 6, 4, 14, 5, 10, 3, 8, 0, 8, 6, 3},
     50,
     true,
     true,
     1,
     24},
    {"device", {50, 4, 10, 8, 14, 14}, 40, false, false, 1, 60},
    {"device-backing", {50, 4, 10, 8, 14, 14, 0, 0, 0, 3, 4}, 30, true, true, 1, 60},
    {"device-tools", {45, 2, 5, 4, 6, 6, 8, 4, 5, 4, 6, 4, 3, 4, 4}, 50, true, true, 1, 50},
    {"data-file", {50, 4, 10, 8, 12, 10, 2, 0, 0, 3, 5, 3, 2, 2, 2}, 40, true, false, 1, 60},
    {"data-file-raw", {50, 4, 10, 8, 12, 10, 2, 0, 0, 3, 5, 3, 0, 0, 2}, 40, false, true, 1, 60},
    {"data-file-device", {50, 4, 10, 8, 12, 10, 0, 0, 0, 3, 5, 3, 0, 0, 2}, 40, false, true, 1, 60},
    {"device-concurrent", {50, 4, 8, 8, 15, 15}, 30, false, true, 4, 30},
};

bool starts_with(const std::string& name, std::string_view start) {
  return name.substr(0, start.size()) == start;
}
// Several references to a cluster, so that refcounts of one bit will not do.
bool has_snapshots(const Recipe& recipe) {
  return recipe.weights[static_cast<unsigned>(Kind::kTakeSnapshot)] > 0;
}
bool changes_size(const Recipe& recipe) {
  return recipe.weights[static_cast<unsigned>(Kind::kGrow)] > 0 ||
         recipe.weights[static_cast<unsigned>(Kind::kResize)] > 0;
}

GuestOp random_op(Random& random, const Recipe& recipe, std::uint64_t nr_blocks,
                  std::uint64_t cluster_blocks) {
  unsigned sum = 0;
  for (unsigned weight : recipe.weights) sum += weight;
  auto pick = static_cast<unsigned>(random() % sum);
  unsigned kind = 0;
  while (pick >= recipe.weights[kind]) pick -= recipe.weights[kind++];
  GuestOp op;
  op.kind = static_cast<Kind>(kind);
  if (op.kind == Kind::kFlush) return op;
  op.first = random() % nr_blocks;
  if (op.kind > Kind::kFlush) {
    op.count = 1 + random() % (nr_blocks > 4096 ? 3000 : 64);
    return op;
  }
  const std::uint64_t most = std::min(nr_blocks - op.first, cluster_blocks * 12);
  op.count = 1 + random() % (random() % 3 == 0 ? most : std::min(most, cluster_blocks * 2));
  // Discards and zeroes of whole clusters do more than others.
  if (op.kind >= Kind::kZeroFree && random() % 4 != 0) {
    op.first -= op.first % cluster_blocks;
    op.count = std::min((op.count / cluster_blocks + 1) * cluster_blocks, nr_blocks - op.first);
  }
  return op;
}

void choose_format(Workload& workload, Random& random, const Recipe& recipe) {
  const std::string name = recipe.name;
  qcow::FormatOptions& format = workload.format;
  format.cluster_size = std::uint64_t{512} << random() % 4;
  format.size = format.cluster_size <= 1024 ? 96 << 10 : 160 << 10;
  if (random() % 4 == 0) format.size -= 512;  // not a whole number of clusters
  format.version = random() % 5 == 0 ? 2 : 3;
  if (format.version == 3) format.refcount_bits = 1u << random() % 7;
  if (name == "subclusters") {
    format.version = 3;
    format.extended_l2 = true;
    format.cluster_size = 16384;
    format.size = 384 << 10;
  } else if (starts_with(name, "data-file")) {
    format.version = 3;
    format.data_file = "data";
    format.data_file_raw = name == "data-file-raw" || (name == "data-file-device" && random() % 2);
  } else if (starts_with(name, "tools-table-growth")) {
    // One cluster of the refcount table covers 2 MiB of the file, as below: so much is there before
    // the recording begins that it is outgrown within a few requests.
    format.version = 3;
    format.cluster_size = 512;
    format.refcount_bits = 64;
    format.size = (2 << 20) + (64 << 10);
  } else if (name == "refcount-table-growth") {
    // One cluster of the refcount table covers 2 MiB of the file.
    format.version = 3;
    format.cluster_size = 512;
    format.refcount_bits = 64;
    format.size = (2 << 20) + (256 << 10);
  } else if (format.version == 3 && (name == "compressed" || has_snapshots(recipe))) {
    format.refcount_bits = std::max(format.refcount_bits, 4u);  // clusters are shared
  }
}

}  // namespace

const std::vector<std::string>& workload_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Recipe& recipe : kRecipes) all.emplace_back(recipe.name);
    return all;
  }();
  return names;
}

Result<Workload> make_workload(const std::string& name, std::uint64_t seed) {
  const Recipe* recipe = std::find_if(std::begin(kRecipes), std::end(kRecipes),
                                      [&](const Recipe& one) { return one.name == name; });
  if (recipe == std::end(kRecipes)) {
    return fail(ErrorKind::kInvalid, fmt::format("there is no workload '{}'", name));
  }
  Random random(seed * 1000003 + static_cast<std::uint64_t>(recipe - kRecipes));
  Workload workload;
  workload.name = name;
  workload.seed = seed;
  choose_format(workload, random, *recipe);
  workload.compress = name == "compressed";
  workload.max_delay = recipe->nr_workers > 1 ? 3 : static_cast<unsigned>(random() % 3);
  workload.options.refcount_cache_size = recipe->small_caches ? 1 : 0;
  if (recipe->small_caches) {
    workload.options.l2_cache_entry_size = 512;
    workload.options.l2_cache_size = 512 << random() % 2;
  }
  workload.options.detect_zeroes = random() % 4 == 0;
  // What a rebase keeps it writes as data, zeros too: it opens the image without this.
  if (recipe->weights[static_cast<unsigned>(Kind::kRebase)] > 0) {
    workload.options.detect_zeroes = false;
  }
  const std::uint64_t size = workload.format.size;
  const bool near_growth = starts_with(name, "tools-table-growth");
  if (changes_size(*recipe)) workload.max_size = size + (near_growth ? 3 << 20 : 160 << 10);
  if (starts_with(name, "device") || name == "data-file-device") workload.device_size = 3 << 20;
  if (recipe->backing && random() % 4 != 0) {
    // Sometimes shorter than the disk on top of it.
    // Or longer than it is at first.
    workload.backing_size =
        random() % 3 == 0 ? size / 2 / 512 * 512 : std::max(size, workload.max_size);
    workload.format.backing_file = "base";
    workload.format.backing_format = "raw";
  }
  const std::uint64_t nr_blocks = std::max(size, workload.max_size) / GuestModel::kBlock;
  const std::uint64_t cluster_blocks = workload.format.cluster_size / GuestModel::kBlock;
  const bool grows = name == "refcount-table-growth";
  std::uint64_t prefilled = size / GuestModel::kBlock * recipe->prefill / 100;
  // 31 of 32 clusters are data; the file ends just before 2 MiB.
  if (near_growth) prefilled = 3960 - random() % 60;
  for (std::uint64_t at = 0; at < prefilled;) {
    const bool all = grows || near_growth;
    const std::uint64_t count = all ? 512 : 1 + random() % (cluster_blocks * 16);
    GuestOp op{Kind::kWrite, at, std::min(count, (all ? prefilled : nr_blocks) - at)};
    if (all || random() % 5 != 0) workload.setup.push_back(op);
    at += op.count;
  }
  for (unsigned worker = 0; worker < recipe->nr_workers; ++worker) {
    std::vector<GuestOp>& ops = workload.workers.emplace_back();
    for (unsigned i = 0; i < recipe->nr_requests; ++i) {
      ops.push_back(random_op(random, *recipe, nr_blocks, cluster_blocks));
      if (grows && i % 3 == 0) {  // far enough ahead to need a longer table
        ops.back() = {Kind::kWrite, nr_blocks * 60 / 100 + i * (nr_blocks * 40 / 100) / 50, 30};
      }
    }
  }
  return workload;
}

}  // namespace vmm::disk
