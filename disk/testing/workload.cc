// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "disk/qcow/check.h"
#include "disk/raw_disk.h"
#include "vmm/io/sync.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kBlock = GuestModel::kBlock;
constexpr std::uint64_t kWords = kBlock / 8;
constexpr std::uint64_t kBackingId = 0xfffff;  // no change has it
constexpr int kNrFlushTries = 3;

struct Player {
  EventLoop& loop;
  WorkloadRun& run;
  qcow::QcowDisk& disk;
  std::uint64_t next_id = 1;
};

bool is_maintenance(GuestOp::Kind kind) {
  return kind > GuestOp::Kind::kFlush;
}

std::vector<std::uint64_t> words_of(std::uint64_t id, std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> words(count * kWords);
  for (std::uint64_t i = 0; i < words.size(); ++i) {
    words[i] = GuestModel::word(id, first + i / kWords);
  }
  return words;
}

// `name`: of the snapshot.
Task<Result<void>> carry_out(qcow::QcowDisk& disk, GuestOp op, std::uint64_t id, std::string name) {
  const std::uint64_t offset = op.first * kBlock;
  const std::uint64_t length = op.count * kBlock;
  switch (op.kind) {
    case GuestOp::Kind::kWrite:
    case GuestOp::Kind::kWriteZeros: {
      std::vector<std::uint64_t> words = words_of(id, op.first, op.count);
      iovec iov{words.data(), length};
      co_return co_await disk.writev(offset, IoVec(&iov, 1));
    }
    case GuestOp::Kind::kZeroFree:
      co_return co_await disk.write_zeroes(offset, length, ZeroMode::kMayUnmap);
    case GuestOp::Kind::kZeroKeep:
      co_return co_await disk.write_zeroes(offset, length, ZeroMode::kKeepAllocated);
    case GuestOp::Kind::kDiscard:
      co_return co_await disk.discard(offset, length);
    case GuestOp::Kind::kFlush:
      co_return co_await disk.flush();
    case GuestOp::Kind::kTakeSnapshot: {
      qcow::Snapshot snapshot;
      snapshot.name = name;
      co_return co_await disk.create_snapshot(std::move(snapshot));
    }
    case GuestOp::Kind::kApplySnapshot:
      co_return co_await disk.apply_snapshot(std::move(name));
    case GuestOp::Kind::kDeleteSnapshot:
      co_return co_await disk.delete_snapshot(std::move(name));
    case GuestOp::Kind::kGrow:
      co_return co_await disk.resize(disk.size() + length);
  }
  co_return Result<void>();
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

SnapshotRecord* choose_snapshot(WorkloadRun& run, std::uint64_t number) {
  std::vector<SnapshotRecord*> there;
  for (SnapshotRecord& record : run.snapshots) {
    if (record.taken != GuestModel::kNever && record.deleted == GuestModel::kNever) {
      there.push_back(&record);
    }
  }
  return there.empty() ? nullptr : there[number % there.size()];
}

Task<void> maintain(Player& player, GuestOp op) {
  WorkloadRun& run = player.run;
  SnapshotRecord* record = nullptr;
  if (op.kind == GuestOp::Kind::kTakeSnapshot) {
    std::vector<std::uint64_t> ids = co_await ids_in(player.disk, run.model.nr_blocks());
    if (ids.empty()) co_return;  // the fault was for the read
    SnapshotRecord taken;
    taken.name = fmt::format("s{}", run.snapshots.size());
    taken.ids = std::move(ids);
    run.snapshots.push_back(std::move(taken));
    record = &run.snapshots.back();
  } else if (op.kind != GuestOp::Kind::kGrow) {
    record = choose_snapshot(run, op.first);
    if (record == nullptr) co_return;
  } else if (player.disk.size() + op.count * kBlock > run.workload.max_size) {
    co_return;
  }
  const std::uint64_t began = run.recording->tick();
  const bool apply = op.kind == GuestOp::Kind::kApplySnapshot;
  if (op.kind == GuestOp::Kind::kDeleteSnapshot) record->deleted = began;
  if (op.kind == GuestOp::Kind::kGrow) {
    run.sizes.push_back({player.disk.size() + op.count * kBlock, began, GuestModel::kNever});
  }
  for (std::uint64_t i = 0; apply && i < record->ids.size(); ++i) {
    run.model.begin(i, 1, record->ids[i], began);
  }
  std::string name = record == nullptr ? "" : record->name;
  Result<void> done = co_await carry_out(player.disk, op, 0, std::move(name));
  const std::uint64_t ended = run.recording->tick();
  if (!done) run.failed.push_back({op, began, ended, done.error().message()});
  if (op.kind == GuestOp::Kind::kTakeSnapshot && done) record->taken = ended;
  if (op.kind == GuestOp::Kind::kGrow && done) run.sizes.back().ended = ended;
  for (std::uint64_t i = 0; apply && i < record->ids.size(); ++i) {
    run.model.end(i, began, ended, done.has_value());
  }
}

Task<void> play_one(Player& player, GuestOp op, bool alone) {
  if (is_maintenance(op.kind)) {
    co_await maintain(player, op);
    co_return;
  }
  const std::uint64_t nr_blocks = player.disk.size() / kBlock;
  op.first %= nr_blocks;
  op.count = std::min(op.count, nr_blocks - op.first);
  WorkloadRun& run = player.run;
  const bool writes = op.kind == GuestOp::Kind::kWrite;
  const std::uint64_t id = writes ? player.next_id++ : GuestModel::kZeros;
  const std::uint64_t began = run.recording->tick();
  if (op.kind != GuestOp::Kind::kFlush) run.model.begin(op.first, op.count, id, began);
  Result<void> done = co_await carry_out(player.disk, op, id, std::string());
  const std::uint64_t ended = run.recording->tick();
  if (!done) run.failed.push_back({op, began, ended, done.error().message()});
  if (op.kind == GuestOp::Kind::kFlush) {
    if (done) run.model.flushed(began, ended);
    co_return;
  }
  const bool advice = op.kind == GuestOp::Kind::kDiscard;
  std::vector<bool> effect(op.count, done.has_value() && !advice);
  if (advice && done && alone) effect = co_await zeros_in(player.disk, op.first, op.count);
  for (std::uint64_t i = 0; i < op.count; ++i) {
    run.model.end(op.first + i, began, ended, effect[i]);
  }
}

Task<void> play(Player& player, const std::vector<GuestOp>& ops, bool alone) {
  for (const GuestOp& op : ops) co_await play_one(player, op, alone);
}

std::vector<std::byte> make_backing(const Workload& workload, GuestModel& model) {
  std::vector<std::byte> bytes(workload.backing_size);
  for (std::uint64_t block = 0; block < bytes.size() / kBlock; ++block) {
    if (block % 7 == 0) continue;  // zeros
    const std::vector<std::uint64_t> words = words_of(kBackingId, block, 1);
    std::memcpy(bytes.data() + block * kBlock, words.data(), kBlock);
    if (block < workload.format.size / kBlock) model.set_initial(block, kBackingId);
  }
  return bytes;
}

std::unique_ptr<Disk> backing_disk(EventLoop& loop, const std::vector<std::byte>& backing) {
  if (backing.empty()) return nullptr;
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  bytes->data = backing;
  return std::make_unique<RawDisk>(
      std::make_unique<MemoryStorage>(loop, bytes, 0, 1, /*read_only=*/true));
}

Result<std::unique_ptr<qcow::QcowDisk>> open_on(EventLoop& loop, std::unique_ptr<Storage> storage,
                                                const std::vector<std::byte>& backing,
                                                const qcow::QcowOptions& options) {
  VMM_TRY(qcow::Header header, loop.run_until(qcow::read_header(*storage)));
  if (header.has(qcow::Incompatible::kDirty)) {
    VMM_TRY(qcow::CheckReport report,
            loop.run_until(qcow::check_image(loop, *storage, header, qcow::Repair::kAll)));
    if (report.corruptions > 0) {
      return fail(ErrorKind::kCorrupt, "not repaired: " + report.messages.front());
    }
    VMM_TRY(header, loop.run_until(qcow::read_header(*storage)));
  }
  return loop.run_until(qcow::QcowDisk::open(loop, std::move(storage), std::move(header),
                                             backing_disk(loop, backing), nullptr, options));
}

Result<void> set_up(EventLoop& loop, WorkloadRun& run, MemoryStorage::Bytes& image,
                    std::shared_ptr<MemoryStorage::Bytes> bytes, std::uint64_t* next_id) {
  const Workload& workload = run.workload;
  MemoryStorage storage(loop, bytes);
  VMM_CHECK(loop.run_until(qcow::format_image(storage, workload.format)));
  VMM_TRY(std::unique_ptr<qcow::QcowDisk> disk,
          open_on(loop, std::make_unique<MemoryStorage>(loop, bytes), run.backing, {}));
  Player player{loop, run, *disk};
  loop.run_until(play(player, workload.setup, true));
  *next_id = player.next_id;
  VMM_CHECK(loop.run_until(disk->close()));
  if (!run.failed.empty()) return fail(ErrorKind::kIo, run.failed.front().why);
  const std::uint64_t now = run.recording->tick();
  run.model.flushed(now, run.recording->tick());
  if (workload.compress) compress_clusters(image.data, workload.seed);
  run.start = image.data;
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
      return "resize";
  }
  return "?";
}

Result<std::unique_ptr<qcow::QcowDisk>> open_image(EventLoop& loop,
                                                   std::shared_ptr<MemoryStorage::Bytes> image,
                                                   const std::vector<std::byte>& backing,
                                                   const qcow::QcowOptions& options) {
  return open_on(loop, std::make_unique<MemoryStorage>(loop, std::move(image)), backing, options);
}

std::string compare_with_model(EventLoop& loop, Disk& disk, const WorkloadRun& run,
                               std::uint64_t moment) {
  const GuestModel& model = run.model;
  if (!may_have_size(run, disk.size(), moment)) {
    return fmt::format("the disk has {} bytes, which it must not", disk.size());
  }
  const std::uint64_t nr_blocks = disk.size() / kBlock;
  std::vector<std::uint64_t> words(nr_blocks * kWords);
  iovec iov{words.data(), words.size() * 8};
  Result<void> read = loop.run_until(disk.readv(0, IoVec(&iov, 1)));
  if (!read) return "reading the disk: " + read.error().message();
  const std::uint64_t covered =
      moment == GuestModel::kNever ? GuestModel::kNever : model.covered(moment);
  for (std::uint64_t block = 0; block < nr_blocks; ++block) {
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
  run.backing = make_backing(workload, run.model);
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  std::uint64_t next_id = 1;
  VMM_CHECK(set_up(loop, run, *bytes, bytes, &next_id));

  auto memory = std::make_unique<MemoryStorage>(loop, bytes, workload.max_delay, workload.seed + 1);
  auto storage = std::make_unique<FaultStorage>(loop, std::move(memory), run.recording, fault);
  // A failure to open is for the user to see; faults begin behind it.
  std::function<bool(std::uint64_t, const StorageOp&)> hits;
  if (fault) hits = std::exchange(fault->hits, nullptr);
  VMM_TRY(std::unique_ptr<qcow::QcowDisk> disk,
          open_on(loop, std::move(storage), run.backing, workload.options));
  if (fault) fault->hits = std::move(hits);

  Player player{loop, run, *disk, next_id};
  Gate gate(loop);
  for (const std::vector<GuestOp>& worker : workload.workers) {
    spawn(gate, play(player, worker, workload.workers.size() == 1));
  }
  loop.run_until(gate.close());
  // The trouble is over: from here on everything has to work. A fault that is yet to come may spoil
  // the last flush, but not our own look at the disk.
  hits = nullptr;
  if (fault) hits = std::exchange(fault->hits, nullptr);
  run.wrong = compare_with_model(loop, *disk, run, GuestModel::kNever);
  if (fault && fault->once) fault->hits = std::move(hits);
  for (int i = 0; i < kNrFlushTries && run.wrong.empty(); ++i) {
    const std::uint64_t began = run.recording->tick();
    Result<void> done = loop.run_until(disk->flush());
    const std::uint64_t ended = run.recording->tick();
    if (done) {
      run.model.flushed(began, ended);
      break;
    }
    run.failed.push_back({{GuestOp::Kind::kFlush, 0, 0}, began, ended, done.error().message()});
  }
  run.close_failed = !loop.run_until(disk->close());
  disk.reset();
  run.end = bytes->data;
  return run;
}

}  // namespace vmm::disk
