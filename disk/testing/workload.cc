// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "disk/qcow/check.h"
#include "disk/raw_disk.h"
#include "disk/testing/workload_player.h"
#include "vmm/io/sync.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kBlock = GuestModel::kBlock;
constexpr std::uint64_t kWords = kBlock / 8;
constexpr std::uint64_t kBackingId = 0xfffff;  // no change has these
constexpr std::uint64_t kOtherId = 0xffffe;
constexpr int kNrFlushTries = 3;

Task<Result<void>> carry_out(qcow::QcowDisk& disk, GuestOp op, std::uint64_t id) {
  const std::uint64_t offset = op.first * kBlock;
  const std::uint64_t length = op.count * kBlock;
  switch (op.kind) {
    case GuestOp::Kind::kZeroFree:
      co_return co_await disk.write_zeroes(offset, length, ZeroMode::kMayUnmap);
    case GuestOp::Kind::kZeroKeep:
      co_return co_await disk.write_zeroes(offset, length, ZeroMode::kKeepAllocated);
    case GuestOp::Kind::kDiscard:
      co_return co_await disk.discard(offset, length);
    case GuestOp::Kind::kFlush:
      co_return co_await disk.flush();
    default: {
      std::vector<std::uint64_t> words = words_of(id, op.first, op.count);
      iovec iov{words.data(), length};
      co_return co_await disk.writev(offset, IoVec(&iov, 1));
    }
  }
}

// Which blocks a discard turned to zeros: those stay so.
Task<std::vector<bool>> zeros_in(Disk& disk, std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> words(count * kWords, 1);
  std::vector<bool> zero(count, false);
  iovec iov{words.data(), count * kBlock};
  Result<void> read = co_await disk.readv(first * kBlock, IoVec(&iov, 1));
  for (std::uint64_t i = 0; read && i < count; ++i) zero[i] = words[i * kWords] == 0;
  co_return zero;
}

// What each block holds, by the id of the change that wrote it. Empty: it cannot be read.
Task<std::vector<std::uint64_t>> ids_in(Disk& disk, std::uint64_t nr_blocks) {
  std::vector<std::uint64_t> words(nr_blocks * kWords);
  std::vector<std::uint64_t> ids(nr_blocks, GuestModel::kZeros);
  iovec iov{words.data(), std::min(nr_blocks * kBlock, disk.size())};
  Result<void> read = co_await disk.readv(0, IoVec(&iov, 1));
  if (!read) ids.clear();
  for (std::uint64_t i = 0; i < ids.size(); ++i) ids[i] = words[i * kWords] >> 24;
  co_return ids;
}

Task<void> play_one(Player& player, GuestOp op, bool alone) {
  if (player.over) co_return;
  if (is_maintenance(op.kind)) {
    co_await maintain(player, op);
    co_return;
  }
  const std::uint64_t nr_blocks = player.disk->size() / kBlock;
  op.first %= nr_blocks;
  op.count = std::min(op.count, nr_blocks - op.first);
  WorkloadRun& run = player.run;
  const bool writes = op.kind == GuestOp::Kind::kWrite;
  const std::uint64_t id = writes ? player.next_id++ : GuestModel::kZeros;
  const std::uint64_t began = run.recording->tick();
  if (op.kind != GuestOp::Kind::kFlush) run.model.begin(op.first, op.count, id, began);
  Result<void> done = co_await carry_out(*player.disk, op, id);
  const std::uint64_t ended = player.note(op, began, done);
  if (op.kind == GuestOp::Kind::kFlush) {
    if (done) run.model.flushed(began, ended);
    co_return;
  }
  const bool advice = op.kind == GuestOp::Kind::kDiscard;
  std::vector<bool> effect(op.count, done.has_value() && !advice);
  if (advice && done && alone) effect = co_await zeros_in(*player.disk, op.first, op.count);
  for (std::uint64_t i = 0; i < op.count; ++i) {
    run.model.end(op.first + i, began, ended, effect[i]);
  }
}

Task<void> play(Player& player, const std::vector<GuestOp>& ops, bool alone) {
  for (const GuestOp& op : ops) co_await play_one(player, op, alone);
}

std::vector<std::byte> make_backing(std::uint64_t size, std::uint64_t id) {
  std::vector<std::byte> bytes(size);
  for (std::uint64_t block = 0; block < bytes.size() / kBlock; ++block) {
    if (block % 7 == id % 7) continue;  // zeros
    const std::vector<std::uint64_t> words = words_of(id, block, 1);
    std::memcpy(bytes.data() + block * kBlock, words.data(), kBlock);
  }
  return bytes;
}

// The image's own backing file, which the model knows, and one that it can be moved to.
void make_backings(WorkloadRun& run) {
  const Workload& workload = run.workload;
  if (workload.backing_size == 0) return;
  run.backings["base"].push_back({0, make_backing(workload.backing_size, kBackingId)});
  run.backings["other"].push_back({0, make_backing(workload.backing_size * 3 / 4, kOtherId)});
  const std::uint64_t blocks = std::min(workload.backing_size, workload.format.size) / kBlock;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    if (block % 7 != kBackingId % 7) run.model.set_initial(block, kBackingId);
  }
}

// With what the header says is its backing file. `*backing`: its bytes.
Task<Result<std::unique_ptr<qcow::QcowDisk>>> open_on(
    EventLoop& loop, std::unique_ptr<Storage> storage, std::unique_ptr<Storage> data,
    const WorkloadRun& run, std::uint64_t moment, qcow::QcowOptions options,
    std::shared_ptr<MemoryStorage::Bytes>* backing) {
  VMM_CO_TRY(qcow::Header header, co_await qcow::read_header(*storage));
  if (header.has(qcow::Incompatible::kDirty)) {
    VMM_CO_TRY(qcow::CheckReport report,
               co_await qcow::check_image(loop, *storage, header, qcow::Repair::kAll));
    if (report.corruptions > 0) {
      co_return fail(ErrorKind::kCorrupt, "not repaired: " + report.messages.front());
    }
    VMM_CO_TRY(header, co_await qcow::read_header(*storage));
  }
  std::unique_ptr<Disk> below;
  backing->reset();
  if (const std::vector<std::byte>* bytes = run.backing_at(header.backing_file, moment)) {
    *backing = std::make_shared<MemoryStorage::Bytes>();
    (*backing)->data = *bytes;
    below = std::make_unique<RawDisk>(
        std::make_unique<MemoryStorage>(loop, *backing, 0, 1, /*read_only=*/true));
  }
  co_return co_await qcow::QcowDisk::open(loop, std::move(storage), std::move(header),
                                          std::move(below), std::move(data), options);
}

Result<void> set_up(EventLoop& loop, WorkloadRun& run, std::shared_ptr<MemoryStorage::Bytes> image,
                    std::shared_ptr<MemoryStorage::Bytes> data, std::uint64_t* next_id) {
  const Workload& workload = run.workload;
  MemoryStorage storage(loop, image);
  VMM_CHECK(loop.run_until(qcow::format_image(storage, workload.format)));
  Player player{loop, run, image, data, nullptr};
  VMM_CHECK(loop.run_until(player.open()));
  loop.run_until(play(player, workload.setup, true));
  *next_id = player.next_id;
  VMM_CHECK(loop.run_until(player.disk->close()));
  if (!run.failed.empty()) return fail(ErrorKind::kIo, run.failed.front().why);
  const std::uint64_t now = run.recording->tick();
  run.model.flushed(now, run.recording->tick());
  if (workload.compress) compress_clusters(image->data, workload.seed);
  run.start = image->data;
  run.start_data = data->data;
  return {};
}

// A size that was certain rules out those before it.
bool may_have_size(const WorkloadRun& run, std::uint64_t size, std::uint64_t moment) {
  std::uint64_t barrier = 0;
  for (const SizeRecord& one : run.sizes) {
    if (one.ended <= moment && one.ended != GuestModel::kNever) {
      barrier = std::max(barrier, one.began);
    }
  }
  return std::any_of(run.sizes.begin(), run.sizes.end(), [&](const SizeRecord& one) {
    return one.size == size && one.began <= moment && one.began >= barrier;
  });
}

}  // namespace

std::vector<std::uint64_t> words_of(std::uint64_t id, std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> words(count * kWords);
  for (std::uint64_t i = 0; i < words.size(); ++i) {
    words[i] = GuestModel::word(id, first + i / kWords);
  }
  return words;
}

Task<Result<void>> Player::open() {
  std::function<bool(std::uint64_t, const StorageOp&)> hits;
  if (fault) hits = std::exchange(fault->hits, nullptr);
  disk.reset();
  const auto storage_for = [&](std::shared_ptr<MemoryStorage::Bytes> bytes, unsigned file) {
    const unsigned delay = recorded ? run.workload.max_delay : 0;
    std::unique_ptr<Storage> storage = std::make_unique<MemoryStorage>(
        loop, std::move(bytes), delay, run.workload.seed + 1 + file);
    if (!recorded) return storage;
    std::unique_ptr<Storage> recording =
        std::make_unique<FaultStorage>(loop, std::move(storage), run.recording, fault, file);
    return recording;
  };
  std::unique_ptr<Storage> data_file;
  if (!run.workload.format.data_file.empty()) data_file = storage_for(data, 1);
  qcow::QcowOptions options;
  if (recorded) options = run.workload.options;
  Result<std::unique_ptr<qcow::QcowDisk>> opened =
      co_await open_on(loop, storage_for(image, 0), std::move(data_file), run, GuestModel::kNever,
                       options, &backing);
  if (fault) fault->hits = std::move(hits);
  if (!opened) co_return Unexpected(std::move(opened).error());
  disk = std::move(*opened);
  co_return Result<void>();
}

std::uint64_t Player::note(const GuestOp& op, std::uint64_t began, const Result<void>& done) {
  const std::uint64_t ended = run.recording->tick();
  if (!done) run.failed.push_back({op, began, ended, done.error().message()});
  return ended;
}

Task<std::vector<std::uint64_t>> Player::ids() {
  return ids_in(*disk, run.model.nr_blocks());
}

const std::vector<std::byte>* WorkloadRun::backing_at(const std::string& backing_name,
                                                      std::uint64_t moment) const {
  const auto found = backings.find(backing_name);
  const std::vector<std::byte>* bytes = nullptr;
  if (found == backings.end()) return bytes;
  for (const BackingVersion& version : found->second) {
    if (version.since <= moment) bytes = &version.bytes;
  }
  return bytes;
}

std::shared_ptr<MemoryStorage::Bytes> storage_of(const Workload& workload,
                                                 std::vector<std::byte> image) {
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  bytes->device = workload.device_size != 0;
  bytes->can_punch = workload.seed % 2 == 0;
  bytes->data = std::move(image);
  return bytes;
}

const char* name_of(GuestOp::Kind kind) {
  switch (kind) {
    case GuestOp::Kind::kWrite:
      return "write";
    case GuestOp::Kind::kWriteZeros:
      return "write of zeros";
    case GuestOp::Kind::kZeroFree:
      return "write_zeroes (unmap)";
    case GuestOp::Kind::kZeroKeep:
      return "write_zeroes (keep)";
    case GuestOp::Kind::kDiscard:
      return "discard";
    case GuestOp::Kind::kFlush:
      return "flush";
    case GuestOp::Kind::kTakeSnapshot:
      return "snapshot";
    case GuestOp::Kind::kApplySnapshot:
      return "return to a snapshot";
    case GuestOp::Kind::kDeleteSnapshot:
      return "deletion of a snapshot";
    case GuestOp::Kind::kGrow:
    case GuestOp::Kind::kResize:
      return "resize";
    case GuestOp::Kind::kPreallocate:
      return "resize with preallocation";
    case GuestOp::Kind::kCommit:
      return "commit";
    case GuestOp::Kind::kRebase:
      return "rebase";
    case GuestOp::Kind::kReopen:
      return "close and open";
  }
  return "?";
}

Result<std::unique_ptr<qcow::QcowDisk>> open_image(EventLoop& loop,
                                                   std::shared_ptr<MemoryStorage::Bytes> image,
                                                   std::shared_ptr<MemoryStorage::Bytes> data,
                                                   const WorkloadRun& run, std::uint64_t moment) {
  std::shared_ptr<MemoryStorage::Bytes> backing;
  std::unique_ptr<Storage> data_file;
  if (!run.workload.format.data_file.empty()) {
    data_file = std::make_unique<MemoryStorage>(loop, std::move(data));
  }
  return loop.run_until(open_on(loop, std::make_unique<MemoryStorage>(loop, std::move(image)),
                                std::move(data_file), run, moment, {}, &backing));
}

namespace {

// `words`: what blocks hold, from the first on.
std::string compare_words(const std::vector<std::uint64_t>& words, const WorkloadRun& run,
                          std::uint64_t moment) {
  const GuestModel& model = run.model;
  const std::uint64_t covered =
      moment == GuestModel::kNever ? GuestModel::kNever : model.covered(moment);
  for (std::uint64_t block = 0; block < words.size() / kWords; ++block) {
    const std::uint64_t* at = &words[block * kWords];
    for (std::uint64_t i = 1; i < kWords; ++i) {
      if (at[i] != at[0]) {
        return fmt::format("block {:#x} is torn: {:#x} and {:#x}", block, at[0], at[i]);
      }
    }
    if (!model.allows(block, at[0], moment, covered)) {
      return fmt::format("block {:#x} holds {:#x} (change {}, block {:#x}), which it must not",
                         block, at[0], at[0] >> 24, at[0] & 0xffffff);
    }
  }
  return "";
}

}  // namespace

std::string compare_with_model(EventLoop& loop, Disk& disk, const WorkloadRun& run,
                               std::uint64_t moment) {
  if (!may_have_size(run, disk.size(), moment)) {
    return fmt::format("the disk has {} bytes, which it must not", disk.size());
  }
  std::vector<std::uint64_t> words(disk.size() / 8);
  iovec iov{words.data(), words.size() * 8};
  Result<void> read = loop.run_until(disk.readv(0, IoVec(&iov, 1)));
  if (!read) return "reading the disk: " + read.error().message();
  return compare_words(words, run, moment);
}

std::string compare_raw(const std::vector<std::byte>& data, std::uint64_t disk_size,
                        const WorkloadRun& run, std::uint64_t moment) {
  std::vector<std::uint64_t> words(disk_size / 8);  // zeros beyond the file's end
  std::memcpy(words.data(), data.data(), std::min<std::uint64_t>(data.size(), disk_size));
  const std::string wrong = compare_words(words, run, moment);
  return wrong.empty() ? "" : "the raw data file: " + wrong;
}

std::string compare_snapshots(EventLoop& loop, qcow::QcowDisk& disk, const WorkloadRun& run,
                              std::uint64_t moment, std::uint64_t choice) {
  for (const SnapshotRecord& record : run.snapshots) {
    if (record.taken > moment || record.deleted <= moment) continue;
    const bool there =
        std::any_of(disk.snapshots().begin(), disk.snapshots().end(),
                    [&](const qcow::Snapshot& one) { return one.name == record.name; });
    if (!there) return "the snapshot " + record.name + " is gone";
  }
  if (disk.snapshots().empty()) return "";
  const std::string name = disk.snapshots()[choice % disk.snapshots().size()].name;
  Result<void> applied = loop.run_until(disk.apply_snapshot(name));
  if (!applied) return fmt::format("apply {}: {}", name, applied.error().message());
  const std::vector<std::uint64_t> ids = loop.run_until(ids_in(disk, run.model.nr_blocks()));
  for (const SnapshotRecord& record : run.snapshots) {
    if (record.name != name) continue;
    if (disk.size() != record.size) {
      return fmt::format("the snapshot {} has {} bytes, not {}", name, disk.size(), record.size);
    }
    for (std::uint64_t i = 0; i < record.ids.size(); ++i) {
      if (i >= ids.size() || ids[i] != record.ids[i]) {
        return fmt::format("block {:#x} of the snapshot {} is not what it was", i, name);
      }
    }
  }
  return "";
}

Result<WorkloadRun> run_workload(EventLoop& loop, const Workload& workload,
                                 std::shared_ptr<Fault> fault) {
  WorkloadRun run;
  run.workload = workload;
  run.recording = std::make_shared<Recording>();
  run.model = GuestModel(std::max(workload.format.size, workload.max_size) / kBlock);
  run.sizes.push_back({workload.format.size, 0, 0});
  make_backings(run);
  const std::shared_ptr<MemoryStorage::Bytes> image =
      storage_of(workload, std::vector<std::byte>(workload.device_size, MemoryStorage::kLeftOver));
  std::uint64_t next_id = 1;
  // A raw data file has the disk's size and holds zeros, as whoever makes the image sees to.
  std::vector<std::byte> empty(std::max(workload.device_size, workload.format.size));
  if (!workload.format.data_file_raw)
    std::fill(empty.begin(), empty.end(), MemoryStorage::kLeftOver);
  if (workload.format.data_file.empty()) empty.clear();
  const std::shared_ptr<MemoryStorage::Bytes> data = storage_of(workload, std::move(empty));
  VMM_CHECK(set_up(loop, run, image, data, &next_id));

  Player player{loop, run, image, data, fault, /*recorded=*/true};
  player.next_id = next_id;
  VMM_CHECK(loop.run_until(player.open()));
  Gate gate(loop);
  for (const std::vector<GuestOp>& worker : workload.workers) {
    spawn(gate, play(player, worker, workload.workers.size() == 1));
  }
  loop.run_until(gate.close());
  if (!player.disk) return run;  // it says what is wrong
  // The trouble is over: from here on everything has to work. A fault that is yet to come may spoil
  // the last flush, but not our own look at the disk.
  std::function<bool(std::uint64_t, const StorageOp&)> hits;
  if (fault) hits = std::exchange(fault->hits, nullptr);
  if (run.wrong.empty()) {
    run.wrong = compare_with_model(loop, *player.disk, run, GuestModel::kNever);
  }
  if (fault && fault->once) fault->hits = std::move(hits);
  for (int i = 0; i < kNrFlushTries && run.wrong.empty(); ++i) {
    const std::uint64_t began = run.recording->tick();
    Result<void> done = loop.run_until(player.disk->flush());
    const std::uint64_t ended = player.note({GuestOp::Kind::kFlush, 0, 0}, began, done);
    if (!done) continue;
    run.model.flushed(began, ended);
    break;
  }
  run.close_failed = !loop.run_until(player.disk->close());
  player.disk.reset();
  run.end = image->data;
  run.end_data = data->data;
  return run;
}

}  // namespace vmm::disk
