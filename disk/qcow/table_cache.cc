// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/table_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>

namespace vmm::disk::qcow {
namespace {

// How many of the oldest entries eviction looks at before it asks for dirty ones to be written.
constexpr std::size_t kLookedAt = 32;
// How far beyond its capacity a cache may go while nothing can be evicted.
constexpr std::size_t kSlack = 256;

}  // namespace

TableCache::TableCache(EventLoop& loop, Storage& storage, std::string name,
                       std::uint32_t slice_size, std::size_t capacity, WriteBack* write_back)
    : loop_(loop),
      storage_(storage),
      name_(std::move(name)),
      slice_size_(slice_size),
      capacity_(std::max<std::size_t>(capacity, 1)),
      write_back_(write_back),
      lru_{&lru_, &lru_},
      writing_(loop) {
}

TableCache::~TableCache() {
  for ([[maybe_unused]] auto& [offset, entry] : entries_) {
    assert(entry.pins == 0 && "a slice is still in use");
  }
}

Task<Result<TableCache::Ref>> TableCache::get(HostOffset slice) {
  if (Ref hit = find(slice)) co_return hit;
  if (Entry* there = lookup(slice); there != nullptr && there->state == State::kLoading) {
    ++stats_.hits;
    co_return co_await join(*there);
  }
  ++stats_.misses;
  VMM_CO_CHECK(co_await make_room());
  Entry* entry = lookup(slice);  // somebody else may have begun meanwhile
  if (entry != nullptr && entry->state != State::kFailed) co_return co_await join(*entry);
  if (entry == nullptr) entry = &insert(slice);
  Ref ref(this, entry);
  VMM_CO_CHECK(co_await load(*entry));
  co_return ref;
}

Task<Result<TableCache::Ref>> TableCache::join(Entry& entry) {
  Ref ref(this, &entry);
  while (entry.state == State::kLoading) co_await entry.loaded.wait();
  if (entry.state == State::kFailed) co_return Unexpected(*entry.failure);
  touch(entry);
  co_return ref;
}

Task<Result<void>> TableCache::load(Entry& entry) {
  entry.state = State::kLoading;
  iovec whole = entry.buffer.as_iovec();
  Result<void> read = co_await storage_.readv(entry.offset.value, IoVec(&whole, 1));
  if (read) {
    entry.state = State::kReady;
  } else {
    entry.state = State::kFailed;
    entry.failure =
        std::move(read).error().with_context(fmt::format("{} at {:#x}", name_, entry.offset.value));
  }
  entry.loaded.notify_all();
  if (entry.state == State::kFailed) co_return Unexpected(*entry.failure);
  co_return Result<void>();
}

TableCache::Entry& TableCache::insert(HostOffset slice) {
  Entry& entry = entries_.try_emplace(slice.value, loop_).first->second;
  entry.offset = slice;
  index_.insert(slice.value, &entry);
  entry.buffer = spare_ ? std::move(spare_) : AlignedBuffer(slice_size_);
  link_newest(entry);
  return entry;
}

void TableCache::erase(Entry& entry) {
  assert(entry.pins == 0);
  if (entry.dirty) --nr_dirty_;
  if (last_ == &entry) last_ = nullptr;
  unlink(entry);
  spare_ = std::move(entry.buffer);
  index_.erase(entry.offset.value);
  entries_.erase(entry.offset.value);
}

TableCache::Entry* TableCache::oldest_clean(std::size_t nr_looked_at) {
  for (Links* at = lru_.newer; at != &lru_ && nr_looked_at > 0; at = at->newer, --nr_looked_at) {
    auto* entry = static_cast<Entry*>(at);
    if (entry->pins == 0 && !entry->dirty) return entry;
  }
  return nullptr;
}

Task<Result<void>> TableCache::make_room() {
  bool wrote = false;
  while (entries_.size() >= capacity_) {
    // Where dirty entries fill half of the cache, the clean ones would push each other out.
    const bool crowded = !wrote && nr_dirty_ * 2 >= capacity_;
    Entry* victim = crowded
                        ? nullptr
                        : oldest_clean(wrote ? std::numeric_limits<std::size_t>::max() : kLookedAt);
    if (victim != nullptr) {
      erase(*victim);
      ++stats_.evictions;
      continue;
    }
    if (wrote || nr_dirty_ == 0) break;  // everything is in use
    wrote = true;
    // Two statements: g++ 12 destroys twice what a co_await inside a conditional expression gives.
    Result<void> written;
    if (write_back_ != nullptr) {
      written = co_await write_back_->write_back();
    } else {
      written = co_await write_dirty();
    }
    // Readers can go on beside an image that cannot be written, but not without bound.
    if (!written && entries_.size() >= capacity_ + kSlack) co_return written;
  }
  co_return Result<void>();
}

void TableCache::drop(HostOffset start, std::uint64_t length) {
  auto at = entries_.lower_bound(start.value);
  while (at != entries_.end() && at->first - start.value < length) {
    Entry& entry = at->second;
    ++at;
    if (entry.pins == 0) {
      erase(entry);
    } else if (entry.state == State::kReady) {
      // Only an image that uses one cluster twice comes here. Its next user reads it again.
      if (entry.dirty) --nr_dirty_;
      entry.dirty = false;
      entry.state = State::kFailed;
      entry.failure = Error(ErrorKind::kCorrupt, fmt::format("{} at {:#x} was freed while in use",
                                                             name_, entry.offset.value));
    }
  }
}

TableCache::Batch TableCache::take_dirty() {
  Batch batch;
  if (nr_dirty_ == 0) return batch;
  batch.copies_.reserve(nr_dirty_);
  for (auto& [offset, entry] : entries_) {
    if (!entry.dirty) continue;
    AlignedBuffer copy(slice_size_);
    std::memcpy(copy.data(), entry.buffer.data(), slice_size_);
    batch.copies_.push_back({Ref(this, &entry), std::move(copy)});
    entry.dirty = false;
  }
  nr_dirty_ = 0;
  return batch;
}

void TableCache::put_back(Batch batch) {
  for (Batch::Copy& copy : batch.copies_) {
    if (copy.ref.entry_->state == State::kReady) mark_dirty(*copy.ref.entry_);
  }
}

Task<Result<void>> TableCache::write_copy(Batch::Copy& copy) {
  iovec whole = copy.bytes.as_iovec();
  Result<void> written = co_await storage_.writev(copy.ref.offset().value, IoVec(&whole, 1));
  if (!written) {
    co_return Unexpected(std::move(written).error().with_context(
        fmt::format("{} at {:#x}", name_, copy.ref.offset().value)));
  }
  ++stats_.write_backs;
  co_return Result<void>();
}

Task<Result<void>> TableCache::write(Batch batch) {
  if (batch.empty()) co_return Result<void>();
  std::vector<Task<Result<void>>> writes;
  writes.reserve(batch.copies_.size());
  for (Batch::Copy& copy : batch.copies_) writes.push_back(write_copy(copy));
  Result<void> all;
  for (Task<Result<void>>& write : writes) {
    Result<void> one = co_await write;
    if (!one && all) all = std::move(one);
  }
  if (!all) put_back(std::move(batch));
  co_return all;
}

Task<Result<void>> TableCache::write_dirty() {
  // Two copies of one slice must not be under way at once: the older might arrive last.
  AsyncMutex::Lock lock = co_await writing_.lock();
  co_return co_await write(take_dirty());
}

}  // namespace vmm::disk::qcow
