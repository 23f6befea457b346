// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/crash_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "disk/testing/image_checker.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kAllSubsets = 5;  // of up to so many pending operations

void grow(std::vector<std::byte>& image, std::uint64_t size) {
  if (image.size() < size) image.resize(size);
}

// Bytes [from, to) of what the operation does, relative to its start.
void apply_part(std::vector<std::byte>& image, const StorageOp& op, std::uint64_t from,
                std::uint64_t to) {
  if (from >= to) return;
  switch (op.kind) {
    case StorageOp::Kind::kWrite:
      grow(image, op.offset + to);
      std::memcpy(image.data() + op.offset + from, op.bytes.data() + from, to - from);
      break;
    case StorageOp::Kind::kZero:
      grow(image, op.offset + to);
      [[fallthrough]];
    case StorageOp::Kind::kPunch:
      if (op.offset + from < image.size()) {
        std::memset(image.data() + op.offset + from, 0,
                    std::min<std::uint64_t>(to, image.size() - op.offset) - from);
      }
      break;
    default:
      break;
  }
}

// Bytes that the operation has brought to the storage, if all of it was kept.
std::uint64_t extent_of(const StorageOp& op) {
  if (op.kind == StorageOp::Kind::kWrite && op.failed) return op.stored;
  return op.failed ? 0 : op.length;
}

void apply(std::vector<std::byte>& image, const StorageOp& op, bool device) {
  if (op.kind == StorageOp::Kind::kTruncate) {
    if (!op.failed && !device) image.resize(op.length);
  } else if (op.kind == StorageOp::Kind::kAllocate) {
    if (!op.failed) grow(image, op.offset + op.length);
  } else {
    apply_part(image, op, 0, extent_of(op));
  }
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15 + b;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

}  // namespace

CrashStates::CrashStates(const WorkloadRun& run) : run_(run), base_{run.start, run.start_data} {
  for (const StorageOp& op : run.recording->ops) {
    if (op.changes()) cuts_.push_back(op.began);
    if (op.kind == StorageOp::Kind::kSync && !op.failed && op.ended != StorageOp::kNever) {
      syncs_.push_back({op.file, op.began, op.ended});
      cuts_.push_back(op.ended);
    }
  }
  for (const GuestModel::Flush& flush : run.model.flushes()) {
    if (flush.began > (cuts_.empty() ? 0 : cuts_.front())) cuts_.push_back(flush.ended);
  }
  std::sort(cuts_.begin(), cuts_.end());
}

bool CrashStates::is_durable(const StorageOp& op, std::uint64_t moment) const {
  return std::any_of(syncs_.begin(), syncs_.end(), [&](const Sync& sync) {
    return sync.file == op.file && sync.began > op.ended && sync.ended <= moment;
  });
}

void CrashStates::advance_to(std::uint64_t cut) {
  cut_ = cut;
  const std::uint64_t moment = cuts_[cut];
  const std::vector<StorageOp>& ops = run_.recording->ops;
  for (; next_op_ < ops.size() && ops[next_op_].began <= moment; ++next_op_) {
    if (ops[next_op_].changes()) pending_.push_back(next_op_);
  }
  std::vector<std::size_t> left;
  for (std::size_t index : pending_) {
    if (is_durable(ops[index], moment)) {
      apply(base_.file(ops[index].file), ops[index], run_.workload.device_size != 0);
    } else {
      left.push_back(index);
    }
  }
  pending_ = std::move(left);
}

std::uint64_t CrashStates::nr_fixed_choices() const {
  const std::uint64_t n = pending_.size();
  if (n == 0) return 1;
  if (n <= kAllSubsets) return std::uint64_t{1} << n;
  return 2 + 2 * n;
}

CrashStates::Choice CrashStates::choice(std::uint64_t number) const {
  const std::uint64_t n = pending_.size();
  Choice choice;
  choice.keep.assign(n, Keep::kNo);
  if (number < nr_fixed_choices()) {
    for (std::uint64_t i = 0; i < n; ++i) {
      bool keep = number == 1 || (number >= 2 && number < 2 + n && number - 2 != i) ||
                  (number >= 2 + n && number - 2 - n == i);
      if (n <= kAllSubsets) keep = (number >> i & 1) != 0;
      choice.keep[i] = keep ? Keep::kYes : Keep::kNo;
    }
    return choice;
  }
  choice.seed = mix(mix(run_.workload.seed, cut_), number);
  std::mt19937_64 random(choice.seed);
  constexpr unsigned kLikely[] = {1, 4, 8, 12, 15};
  choice.kept_in_16 = kLikely[random() % 5];
  choice.size_kept = random() % 4 == 0;
  const std::uint64_t style = random() % 4;
  for (Keep& keep : choice.keep) {
    keep = random() % 16 < choice.kept_in_16 ? Keep::kYes : Keep::kNo;
    if (style == 1 || (style == 2 && random() % 4 == 0)) keep = Keep::kSectors;
  }
  if (style == 3 && n > 0) choice.keep[random() % n] = Keep::kPrefix;
  return choice;
}

CrashState CrashStates::state(std::uint64_t number) const {
  const Choice chosen = choice(number);
  const bool device = run_.workload.device_size != 0;
  std::mt19937_64 random(mix(chosen.seed, 1));
  CrashState state = base_;
  std::uint64_t full_sizes[] = {state.image.size(), state.data.size()};
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const StorageOp& op = run_.recording->ops[pending_[i]];
    std::vector<std::byte>& bytes = state.file(op.file);
    const std::uint64_t length = extent_of(op);
    if (op.kind != StorageOp::Kind::kTruncate && op.kind != StorageOp::Kind::kPunch) {
      full_sizes[op.file] = std::max(full_sizes[op.file], op.offset + length);
    }
    const bool whole = op.kind == StorageOp::Kind::kTruncate ||
                       op.kind == StorageOp::Kind::kAllocate || chosen.keep[i] == Keep::kYes;
    if (whole) {
      if (chosen.keep[i] != Keep::kNo) apply(bytes, op, device);
    } else if (chosen.keep[i] == Keep::kPrefix) {
      // Cut where a sector of the file ends.
      const std::uint64_t end = op.offset + (length > 0 ? random() % length : 0);
      const std::uint64_t cut = end / kSector * kSector;
      if (cut > op.offset) apply_part(bytes, op, 0, cut - op.offset);
    } else if (chosen.keep[i] == Keep::kSectors) {
      for (std::uint64_t at = 0; at < length;) {
        const std::uint64_t next =
            std::min(length, ((op.offset + at) / kSector + 1) * kSector - op.offset);
        if (random() % 16 < chosen.kept_in_16) apply_part(bytes, op, at, next);
        at = next;
      }
    }
  }
  for (unsigned file : {0u, 1u}) {
    if (chosen.size_kept) grow(state.file(file), full_sizes[file]);
  }
  return state;
}

std::string CrashStates::describe(std::uint64_t number) const {
  const Choice chosen = choice(number);
  std::string text;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const StorageOp& op = run_.recording->ops[pending_[i]];
    const char* kept = chosen.keep[i] == Keep::kYes       ? "kept"
                       : chosen.keep[i] == Keep::kNo      ? "dropped"
                       : chosen.keep[i] == Keep::kSectors ? "some sectors"
                                                          : "a prefix";
    text += fmt::format("  op {}: {}{} {:#x}+{:#x}{}: {}\n", pending_[i], name_of(op.kind),
                        op.file == 0 ? "" : " (data file)", op.offset, op.length,
                        op.failed ? " (failed)" : "", kept);
  }
  return text;
}

namespace {

// Version 2 has no mark for the moment between a refcount and its flag.
bool may_disagree(const WorkloadRun& run) {
  return run.workload.format.version == 2 && !run.snapshots.empty();
}

// Goes on using the disk: what the crash left must not do harm later.
std::string use_afterwards(EventLoop& loop, qcow::QcowDisk& disk, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::uint64_t nr_blocks = disk.size() / GuestModel::kBlock;
  std::vector<std::byte> data;
  for (int i = 0; i < 12; ++i) {
    const std::uint64_t first = random() % nr_blocks;
    const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(nr_blocks - first, 24);
    Result<void> done;
    switch (random() % 4) {
      case 0:
        done = loop.run_until(disk.discard(first * GuestModel::kBlock, count * GuestModel::kBlock));
        break;
      case 1:
        done = loop.run_until(disk.flush());
        break;
      default: {
        data.assign(count * GuestModel::kBlock, std::byte{0x5a});
        iovec iov = as_iovec(std::span<std::byte>(data));
        done = loop.run_until(disk.writev(first * GuestModel::kBlock, IoVec(&iov, 1)));
      }
    }
    if (!done) return "using the image after the crash: " + done.error().message();
  }
  Result<void> closed = loop.run_until(disk.close());
  return closed ? "" : "closing the image after the crash: " + closed.error().message();
}

}  // namespace

CrashVerdict judge_crash(EventLoop& loop, const WorkloadRun& run, const CrashState& state,
                         std::uint64_t moment, bool write_afterwards) {
  CrashVerdict verdict;
  const std::shared_ptr<MemoryStorage::Bytes> bytes = storage_of(run.workload, state.image);
  const std::shared_ptr<MemoryStorage::Bytes> data = storage_of(run.workload, state.data);
  ImageReport report = check_image(state.image);
  verdict.leaks = report.leaks;
  verdict.dirty = report.dirty;
  verdict.copied_leaks = report.copied_leaks;
  if (!report.dirty && !report.corruptions.empty()) {
    verdict.wrong = report.corruptions.front();
    return verdict;
  }
  Result<std::unique_ptr<qcow::QcowDisk>> disk = open_image(loop, bytes, data, run, moment);
  if (!disk) {
    verdict.wrong = "open: " + disk.error().message();
    return verdict;
  }
  if (report.dirty) {  // opening has repaired it
    report = check_image(bytes->data);
    if (report.dirty || report.copied_leaks > 0) verdict.wrong = "the repair left it dirty";
    if (!report.corruptions.empty()) verdict.wrong = "after repair: " + report.corruptions.front();
    if (!verdict.wrong.empty()) return verdict;
  } else if (report.copied_leaks > 0 && !may_disagree(run)) {
    verdict.wrong = "COPIED is set where the refcount is not 1";
    return verdict;
  }
  verdict.wrong = compare_with_model(loop, **disk, run, moment);
  if (verdict.wrong.empty() && run.workload.format.data_file_raw) {
    verdict.wrong = compare_raw(data->data, (*disk)->size(), run, moment);
  }
  if (!write_afterwards || !verdict.wrong.empty()) return verdict;
  verdict.wrong = compare_snapshots(loop, **disk, run, moment, moment);
  if (verdict.wrong.empty()) verdict.wrong = use_afterwards(loop, **disk, moment);
  disk->reset();
  if (!verdict.wrong.empty()) return verdict;
  const ImageReport later = check_image(bytes->data);
  if (!later.corruptions.empty()) verdict.wrong = "after further use: " + later.corruptions.front();
  return verdict;
}

}  // namespace vmm::disk
