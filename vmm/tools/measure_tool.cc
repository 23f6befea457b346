// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/measure_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "disk/qcow/bitmap_directory.h"
#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/whole_sectors.h"
#include "vmm/tools/block_status.h"
#include "vmm/tools/create_image.h"
#include "vmm/tools/json.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"
#include "vmm/tools/snapshot_choice.h"

namespace vmm::tools {

namespace {

// In bytes.
struct Measure {
  std::uint64_t required = 0;         // with what the source has
  std::uint64_t fully_allocated = 0;  // once every cluster is written
  std::optional<std::uint64_t> bitmaps;
};

std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) {
  return value / by + (value % by != 0);
}
std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return divide_up(value, to) * to;
}

// The refcount table and blocks for that many clusters and for themselves.
std::uint64_t refcount_bytes(std::uint64_t clusters, const disk::qcow::Geometry& geometry) {
  const std::uint64_t cluster = geometry.cluster_size();
  const std::uint64_t per_block = cluster * 8 >> geometry.refcount_order;
  std::uint64_t blocks = 0;
  std::uint64_t table = 0;
  for (std::uint64_t before = ~std::uint64_t{0}; before != blocks + table;) {
    before = blocks + table;
    blocks = divide_up(clusters + before, per_block);
    table = divide_up(blocks, cluster / 8);
  }
  return (blocks + table) * cluster;
}

// All of a qcow2 file in which every cluster of the guest has its place.
std::uint64_t full_qcow2_bytes(std::uint64_t size, const disk::qcow::Geometry& geometry) {
  const std::uint64_t cluster = geometry.cluster_size();
  const std::uint64_t l2_tables = divide_up(size / cluster, geometry.l2_entries());
  const std::uint64_t l1_bytes = round_up(l2_tables * 8, cluster);
  const std::uint64_t metadata = cluster + l2_tables * cluster + l1_bytes;
  return metadata + refcount_bytes((metadata + size) / cluster, geometry) + size;
}

// Their tables and bits in a new image, all of them allocated, and the directory.
std::uint64_t bitmap_bytes(const std::vector<disk::qcow::Bitmap>& bitmaps, std::uint64_t size,
                           std::uint64_t cluster) {
  constexpr std::uint64_t kEntry = 24;  // bytes of the directory, before the name
  std::uint64_t bytes = 0;
  std::uint64_t directory = 0;
  for (const disk::qcow::Bitmap& bitmap : bitmaps) {
    const std::uint64_t bits = divide_up(size, bitmap.granularity);
    const std::uint64_t clusters = divide_up(divide_up(bits, 8), cluster);
    bytes += clusters * cluster + round_up(clusters * 8, cluster);
    directory += round_up(kEntry + bitmap.name.size(), 8);
  }
  return bytes + round_up(directory, cluster);
}

// What a copy of `disk` has to store, in whole clusters.
Task<Result<std::uint64_t>> stored_bytes(disk::Disk& disk, std::uint64_t cluster) {
  std::uint64_t stored = 0;
  for (std::uint64_t offset = 0; offset < disk.size();) {
    VMM_CO_TRY(const BlockStatus status, co_await merged_block_status(disk, offset, disk.size()));
    std::uint64_t end = status.end();
    if (!status.zero && status.present) {
      end = round_up(end, cluster);
      stored += offset % cluster + (end - offset);
    }
    offset = end;
  }
  co_return stored;
}

Result<std::uint64_t> wanted_size(const MeasureConfig& config, OpenedImage* source) {
  if (source != nullptr) return source->disk().size();
  const Result<std::uint64_t> size = parse_size(config.size);
  if (size) return *size;
  return fail(ErrorKind::kInvalid,
              fmt::format("--size {}: not a size: write bytes, or 512k, 20G", config.size));
}

Result<Measure> measure_raw(const NewImage& target, std::uint64_t size) {
  VMM_CHECK(check_raw_options(target));
  VMM_TRY(const std::uint64_t bytes, disk::whole_sectors(size));
  return Measure{.required = bytes, .fully_allocated = bytes};
}

Result<Measure> measure_qcow2(Session& session, const NewImage& target, OpenedImage* source,
                              std::uint64_t size) {
  VMM_TRY(const disk::qcow::Header header, qcow2_header_of(target));
  const disk::qcow::Geometry& geometry = header.geometry;
  size = round_up(size, geometry.cluster_size());
  Measure measure;
  measure.fully_allocated = full_qcow2_bytes(size, geometry);
  std::uint64_t data = 0;
  const std::string how = preallocation_of(target);
  // Nobody knows what the new backing file has in common with the source.
  if (how == "full" || how == "falloc" || (source != nullptr && !target.backing_file.empty())) {
    data = size;
  } else if (source != nullptr) {
    VMM_TRY(data, session.wait(stored_bytes(source->disk(), geometry.cluster_size())));
  }
  measure.required = measure.fully_allocated - size + data;
  disk::qcow::QcowDisk* qcow = source == nullptr ? nullptr : source->qcow2();
  if (qcow != nullptr && qcow->header().version >= 3 && header.version >= 3) {
    VMM_TRY(const auto bitmaps,
            session.wait(disk::qcow::load_bitmaps(qcow->storage(), qcow->header())));
    measure.bitmaps = bitmap_bytes(bitmaps, source->disk().size(), geometry.cluster_size());
  }
  return measure;
}

void print(const Console& console, const Measure& measure, bool json) {
  if (json) {
    Json object = Json::object();
    if (measure.bitmaps) object.add("bitmaps", *measure.bitmaps);
    object.add("required", measure.required);
    object.add("fully-allocated", measure.fully_allocated);
    fmt::print(console.out, "{}\n", object.dump());
    return;
  }
  fmt::print(console.out, "required size: {}\nfully allocated size: {}\n", measure.required,
             measure.fully_allocated);
  if (measure.bitmaps) fmt::print(console.out, "bitmaps size: {}\n", *measure.bitmaps);
}

Result<void> check_words(const MeasureConfig& config) {
  const bool has_image = !config.image.path.empty();
  if (has_image == !config.size.empty()) {
    return fail(ErrorKind::kInvalid, has_image
                                         ? "--size N cannot be used together with a filename."
                                         : "Either --size N or one filename must be specified.");
  }
  if (!has_image && !(config.image.format.empty() && config.snapshot.empty())) {
    return fail(ErrorKind::kInvalid, "-f and -l can only be used with a filename.");
  }
  return {};
}

Result<NewImage> target_of(const MeasureConfig& config) {
  NewImage target;
  if (!config.target_format.empty()) target.format = config.target_format;
  for (const std::string& text : config.options) {
    VMM_TRY(const OptionList list, parse_option_list(text));
    VMM_CHECK(apply_create_options(list, target));
  }
  if (target.format != "raw" && target.format != "qcow2") {
    return fail(ErrorKind::kUnsupported,
                fmt::format("the size of a file in format '{}' cannot be foretold; raw and qcow2 "
                            "can",
                            target.format));
  }
  return target;
}

Result<int> run(const MeasureConfig& config, const Console& console) {
  for (const std::string& text : config.options) {
    if (!names_help(text)) continue;
    fmt::print(console.out, "{}", create_options_help(config.target_format));
    return 0;
  }
  VMM_CHECK(check_words(config));
  VMM_TRY(const bool json, wants_json(config.output));
  VMM_TRY(NewImage target, target_of(config));
  VMM_TRY(Session session, Session::start());
  std::unique_ptr<OpenedImage> source;
  if (!config.image.path.empty()) {
    VMM_TRY(source, session.open(config.image));
  }
  if (!config.snapshot.empty()) {
    VMM_TRY(const SnapshotChoice choice, parse_snapshot_choice(config.snapshot));
    VMM_CHECK(show_snapshot(session, *source, choice));
  }
  VMM_TRY(const std::uint64_t size, wanted_size(config, source.get()));
  target.size = size;
  const bool qcow2 = target.format == "qcow2";
  VMM_TRY(const Measure measure,
          qcow2 ? measure_qcow2(session, target, source.get(), size) : measure_raw(target, size));
  if (source) {
    VMM_CHECK(session.close(*source));
  }
  print(console, measure, json);
  return 0;
}

}  // namespace

int run_measure(const MeasureConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
