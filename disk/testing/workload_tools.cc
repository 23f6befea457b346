// SPDX-License-Identifier: Apache-2.0
// What the image tools do to an image, by the functions that they call: all of it while nothing
// else is under way.
#include <fmt/format.h>

#include <algorithm>

#include "disk/raw_disk.h"
#include "disk/testing/workload_player.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kBlock = GuestModel::kBlock;
constexpr std::uint64_t kMinBlocks = 16;

SnapshotRecord* choose_snapshot(WorkloadRun& run, std::uint64_t number) {
  std::vector<SnapshotRecord*> there;
  for (SnapshotRecord& record : run.snapshots) {
    if (record.taken != GuestModel::kNever && record.deleted == GuestModel::kNever) {
      there.push_back(&record);
    }
  }
  return there.empty() ? nullptr : there[number % there.size()];
}

// What is done is durable, and so is all that ended before it.
void note_durable(WorkloadRun& run) {
  const std::uint64_t now = run.recording->tick();
  run.model.flushed(now, run.recording->tick());
}

// Where the data is in another file a snapshot is refused, and nothing is written for it.
Task<void> try_snapshot(Player& player) {
  const std::vector<StorageOp>& ops = player.run.recording->ops;
  const std::size_t before = ops.size();
  qcow::Snapshot snapshot;
  snapshot.name = "no";
  const Result<void> made = co_await player.disk->create_snapshot(std::move(snapshot));
  const bool refused = !made && made.error().kind() == ErrorKind::kUnsupported;
  const bool changed = std::any_of(ops.begin() + static_cast<std::ptrdiff_t>(before), ops.end(),
                                   [](const StorageOp& op) { return op.changes(); });
  if (!refused || changed) player.run.wrong = "a snapshot with a data file was not just refused";
}

Task<void> take_snapshot(Player& player, GuestOp op) {
  WorkloadRun& run = player.run;
  if (!run.workload.format.data_file.empty()) {
    co_await try_snapshot(player);
    co_return;
  }
  std::vector<std::uint64_t> ids = co_await player.ids();
  if (ids.empty()) co_return;  // the fault was for the read
  SnapshotRecord record;
  record.name = fmt::format("s{}", run.snapshots.size());
  record.size = player.disk->size();
  record.ids = std::move(ids);
  qcow::Snapshot snapshot;
  snapshot.name = record.name;
  run.snapshots.push_back(std::move(record));
  const std::uint64_t began = run.recording->tick();
  const Result<void> done = co_await player.disk->create_snapshot(std::move(snapshot));
  const std::uint64_t ended = player.note(op, began, done);
  if (!done) co_return;
  run.snapshots.back().taken = ended;
  note_durable(run);
}

Task<void> apply_snapshot(Player& player, GuestOp op, SnapshotRecord& record) {
  WorkloadRun& run = player.run;
  const std::uint64_t began = run.recording->tick();
  run.sizes.push_back({record.size, began, GuestModel::kNever});
  for (std::uint64_t i = 0; i < record.ids.size(); ++i) run.model.begin(i, 1, record.ids[i], began);
  const Result<void> done = co_await player.disk->apply_snapshot(record.name);
  const std::uint64_t ended = player.note(op, began, done);
  if (done) run.sizes.back().ended = ended;
  for (std::uint64_t i = 0; i < record.ids.size(); ++i) {
    run.model.end(i, began, ended, done.has_value());
  }
  if (done) note_durable(run);
}

Task<void> delete_snapshot(Player& player, GuestOp op, SnapshotRecord& record) {
  const std::uint64_t began = player.run.recording->tick();
  record.deleted = began;
  const Result<void> done = co_await player.disk->delete_snapshot(record.name);
  player.note(op, began, done);
  if (done) note_durable(player.run);
}

// What is cut off is lost at once: where the disk reaches there again it reads as zeros.
Task<void> resize(Player& player, GuestOp op, std::uint64_t size) {
  WorkloadRun& run = player.run;
  const std::uint64_t before = player.disk->size();
  const std::uint64_t began = run.recording->tick();
  run.sizes.push_back({size, began, GuestModel::kNever});
  const std::uint64_t first = size / kBlock;
  const std::uint64_t count = size < before ? run.model.nr_blocks() - first : 0;
  run.model.begin(first, count, GuestModel::kZeros, began);
  Result<void> done = co_await player.disk->resize(size);
  if (done && op.kind == GuestOp::Kind::kPreallocate) {
    done = co_await player.disk->preallocate(before, op.first % 3 == 1, op.first % 3 == 2);
  }
  const std::uint64_t ended = player.note(op, began, done);
  if (done) run.sizes.back().ended = ended;
  for (std::uint64_t i = first; i < first + count; ++i) {
    run.model.end(i, began, ended, done.has_value());
  }
  if (done) note_durable(run);
}

// Whether a snapshot would change with the backing file: the tools leave such images alone.
Task<bool> snapshot_is_over_backing(Player& player) {
  const Result<std::optional<std::string>> over = co_await player.disk->snapshot_over_backing();
  co_return !over || over->has_value();
}

Task<Result<std::vector<std::byte>>> contents(Player& player) {
  std::vector<std::byte> bytes(player.disk->size());
  iovec iov = as_iovec(std::span<std::byte>(bytes));
  VMM_CO_CHECK(co_await player.disk->readv(0, IoVec(&iov, 1)));
  co_return bytes;
}

// Copies what the disk shows into its backing file, and once that is durable empties the image.
Task<Result<void>> commit(Player& player) {
  WorkloadRun& run = player.run;
  VMM_CO_TRY(const std::vector<std::byte> bytes, co_await contents(player));
  auto* base = dynamic_cast<RawDisk*>(player.disk->backing());
  if (base->size() < bytes.size()) {
    VMM_CO_CHECK(co_await base->grow(bytes.size()));
  }
  std::copy(bytes.begin(), bytes.end(), player.backing->data.begin());
  run.backings[player.disk->header().backing_file].push_back(
      {run.recording->tick(), player.backing->data});
  co_return co_await player.disk->make_empty();
}

// Another backing file, or none, and the disk shows what it showed.
Task<Result<void>> rebase(Player& player, std::string name) {
  const WorkloadRun& run = player.run;
  VMM_CO_TRY(const std::vector<std::byte> bytes, co_await contents(player));
  const std::vector<std::byte>* base = run.backing_at(name, GuestModel::kNever);
  const std::uint64_t unit = player.disk->geometry().cluster_size();
  for (std::uint64_t at = 0; at < bytes.size(); at += unit) {
    VMM_CO_TRY(const qcow::Extent extent, co_await player.disk->extent_at(at));
    const std::uint64_t length = std::min(unit, bytes.size() - at);
    std::vector<std::byte> part(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
    std::vector<std::byte> other(length);
    for (std::uint64_t i = 0; base != nullptr && i < length && at + i < base->size(); ++i) {
      other[i] = (*base)[at + i];
    }
    if (extent.allocated && extent.length >= length) continue;
    if (part == other) continue;
    iovec iov = as_iovec(std::span<std::byte>(part));
    VMM_CO_CHECK(co_await player.disk->writev(at, IoVec(&iov, 1)));
  }
  VMM_CO_CHECK(co_await player.disk->flush());
  co_return co_await player.disk->set_backing(name, name.empty() ? "" : "raw");
}

// As the next tool would find it. Where the last flush fails the disk stays open, and is left alone
// from then on if it has another backing file now than the one it was opened with.
Task<void> reopen(Player& player, bool has_moved) {
  WorkloadRun& run = player.run;
  std::uint64_t began = run.recording->tick();
  const Result<void> flushed = co_await player.disk->flush();
  player.note({GuestOp::Kind::kFlush, 0, 0}, began, flushed);
  if (!flushed) {
    player.over = has_moved;
    co_return;
  }
  note_durable(run);
  began = run.recording->tick();
  const Result<void> closed = co_await player.disk->close();
  player.note({GuestOp::Kind::kReopen, 0, 0}, began, closed);
  const Result<void> opened = co_await player.open();
  if (opened) co_return;
  if (run.wrong.empty()) run.wrong = "open again: " + opened.error().message();
  player.over = true;
}

// Guest data stays what it is, whatever becomes of these two.
Task<void> change_backing(Player& player, GuestOp op) {
  WorkloadRun& run = player.run;
  const std::string& present = player.disk->header().backing_file;
  const bool commits = op.kind == GuestOp::Kind::kCommit;
  const std::string names[] = {"", "base", "other"};
  const std::string name = names[op.first % 3];
  if (commits ? present.empty() : (present == name || run.backings.count("base") == 0)) co_return;
  const bool over = co_await snapshot_is_over_backing(player);
  if (over) co_return;
  const std::uint64_t began = run.recording->tick();
  Result<void> done;
  if (commits) {
    done = co_await commit(player);
  } else {
    done = co_await rebase(player, name);
  }
  player.note(op, began, done);
  if (!done) co_return;
  note_durable(run);
  co_await reopen(player, true);
}

// Version 2 cannot change the size of a disk that has snapshots.
bool has_fixed_size(const Player& player) {
  return player.run.workload.format.version == 2 && !player.disk->snapshots().empty();
}

}  // namespace

bool is_maintenance(GuestOp::Kind kind) {
  return kind > GuestOp::Kind::kFlush;
}

Task<void> maintain(Player& player, GuestOp op) {
  using Kind = GuestOp::Kind;
  WorkloadRun& run = player.run;
  const std::uint64_t grown = player.disk->size() + op.count * kBlock;
  if (op.kind == Kind::kTakeSnapshot) {
    co_await take_snapshot(player, op);
  } else if (op.kind == Kind::kApplySnapshot || op.kind == Kind::kDeleteSnapshot) {
    SnapshotRecord* record = choose_snapshot(run, op.first);
    if (record == nullptr) co_return;
    if (op.kind == Kind::kApplySnapshot) {
      co_await apply_snapshot(player, op, *record);
    } else {
      co_await delete_snapshot(player, op, *record);
    }
  } else if (op.kind == Kind::kReopen) {
    co_await reopen(player, false);
  } else if (op.kind == Kind::kCommit || op.kind == Kind::kRebase) {
    co_await change_backing(player, op);
  } else if (!has_fixed_size(player)) {
    const bool can_grow = grown <= run.workload.max_size &&
                          (op.kind != Kind::kPreallocate || player.disk->backing() == nullptr);
    if (op.kind == Kind::kResize) {
      const std::uint64_t most = run.workload.max_size / kBlock;
      co_await resize(player, op, (kMinBlocks + op.first % (most - kMinBlocks)) * kBlock);
    } else if (can_grow) {
      co_await resize(player, op, grown);
    }
  }
}

}  // namespace vmm::disk
