// SPDX-License-Identifier: Apache-2.0
// TableCache: the parts of L2 tables (or refcount blocks) that were used last, in memory.
//
// A slice is an aligned part of a table, 4 KiB by default. An entry is one node in a red-black tree
// (the file's order, for writing back and for dropping whole tables) and in a list (least recently
// used first to go), as in kvmtool's cache of 2011. A hash table of offsets beside the tree finds
// it (docs/l2-cache.md compares). What that cache lacked: an entry in use is pinned and stays; one
// that is being loaded is joined, not loaded twice; a dirty one is never dropped.
//
// A hit does not suspend and allocates nothing. Writing back takes copies: entries may change again
// while their copy is on its way, and what is on its way is exactly what stood there when the
// copies were taken - the order of flushing rests on that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "disk/aligned_buffer.h"
#include "disk/qcow/offset_index.h"
#include "disk/qcow/units.h"
#include "disk/storage.h"
#include "vmm/io/sync.h"

namespace vmm::disk::qcow {

struct CacheStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::uint64_t write_backs = 0;  // slices written
};

class TableCache {
  struct Entry;

 public:
  // What the cache asks for when it is full of dirty entries.
  class WriteBack {
   public:
    virtual ~WriteBack() = default;
    // Writes dirty entries of this cache, after whatever has to reach the disk before them.
    virtual Task<Result<void>> write_back() = 0;
  };

  // Keeps an entry in memory while it lives. Empty where find() missed.
  class Ref {
   public:
    Ref() = default;
    Ref(Ref&& other) noexcept
        : cache_(other.cache_), entry_(std::exchange(other.entry_, nullptr)) {}
    Ref& operator=(Ref&& other) noexcept {
      std::swap(cache_, other.cache_);
      std::swap(entry_, other.entry_);
      return *this;
    }
    ~Ref() {
      if (entry_ != nullptr) --entry_->pins;
    }

    explicit operator bool() const { return entry_ != nullptr; }
    std::byte* data() const { return entry_->buffer.data(); }
    HostOffset offset() const { return entry_->offset; }
    // To be called in the same turn as the change, without an await in between.
    void mark_dirty() { cache_->mark_dirty(*entry_); }

   private:
    friend class TableCache;
    Ref(TableCache* cache, Entry* entry) : cache_(cache), entry_(entry) { ++entry_->pins; }

    TableCache* cache_ = nullptr;
    Entry* entry_ = nullptr;
  };

  // Copies of all entries that were dirty at one moment. They count as clean from then on, unless
  // they change again or the batch is not written.
  class Batch {
   public:
    Batch() = default;
    Batch(Batch&&) = default;
    Batch& operator=(Batch&&) = default;
    bool empty() const { return copies_.empty(); }

   private:
    friend class TableCache;
    struct Copy {
      Ref ref;
      AlignedBuffer bytes;
    };
    std::vector<Copy> copies_;
  };

  // `name` is for errors ("L2 table"). `slice_size` is a power of two that divides a cluster;
  // `capacity` in slices, at least 1: pinned entries may exceed it for as long as they are pinned.
  // `write_back` may be null: then entries have no order to keep and the cache writes them itself.
  TableCache(EventLoop& loop, Storage& storage, std::string name, std::uint32_t slice_size,
             std::size_t capacity, WriteBack* write_back);
  ~TableCache();
  TableCache(const TableCache&) = delete;
  TableCache& operator=(const TableCache&) = delete;

  std::uint32_t slice_size() const { return slice_size_; }
  std::size_t capacity() const { return capacity_; }
  void set_capacity(std::size_t slices) { capacity_ = slices == 0 ? 1 : slices; }
  const CacheStats& stats() const { return stats_; }
  std::size_t nr_dirty() const { return nr_dirty_; }
  std::size_t nr_entries() const { return entries_.size(); }

  // `slice`: a multiple of slice_size(). find() gives a hit or an empty Ref; get() loads.
  Ref find(HostOffset slice) {
    if (Entry* entry = lookup(slice); entry != nullptr && entry->state == State::kReady) {
      ++stats_.hits;
      touch(*entry);
      return Ref(this, entry);
    }
    return Ref();
  }
  Task<Result<Ref>> get(HostOffset slice);

  // Forgets the slices of a table that no longer exists, before its clusters are used for something
  // else; changes to them are lost.
  void drop(HostOffset start, std::uint64_t length);

  Batch take_dirty();
  // Writes the batch. Where that fails, its entries are dirty again.
  Task<Result<void>> write(Batch batch);
  void put_back(Batch batch);
  // take_dirty() and write().
  Task<Result<void>> write_dirty();

 private:
  enum class State : std::uint8_t { kLoading, kReady, kFailed };

  struct Links {
    Links* newer = nullptr;
    Links* older = nullptr;
  };
  // All that a hit reads is in its first cache line.
  struct alignas(64) Entry : Links {
    explicit Entry(EventLoop& loop) : loaded(loop) {}

    HostOffset offset;
    AlignedBuffer buffer;
    std::uint32_t pins = 0;
    State state = State::kLoading;
    bool dirty = false;
    std::optional<Error> failure;
    WaitQueue loaded;
  };

  Entry* lookup(HostOffset slice) {
    if (last_ != nullptr && last_->offset == slice) return last_;
    Entry* found = index_.find(slice.value);
    if (found != nullptr) last_ = found;
    return found;
  }
  void touch(Entry& entry) {
    if (lru_.older == &entry) return;
    unlink(entry);
    link_newest(entry);
  }
  static void unlink(Entry& entry) {
    entry.newer->older = entry.older;
    entry.older->newer = entry.newer;
  }
  void link_newest(Entry& entry) {
    entry.newer = &lru_;
    entry.older = lru_.older;
    lru_.older->newer = &entry;
    lru_.older = &entry;
  }
  void mark_dirty(Entry& entry) {
    if (entry.dirty) return;
    entry.dirty = true;
    ++nr_dirty_;
  }
  Entry& insert(HostOffset slice);
  void erase(Entry& entry);
  Entry* oldest_clean(std::size_t nr_looked_at);
  Task<Result<void>> make_room();
  Task<Result<void>> load(Entry& entry);
  Task<Result<Ref>> join(Entry& entry);
  Task<Result<void>> write_copy(Batch::Copy& copy);

  EventLoop& loop_;
  Storage& storage_;
  const std::string name_;
  const std::uint32_t slice_size_;
  std::size_t capacity_;
  WriteBack* const write_back_;
  std::map<std::uint64_t, Entry> entries_;  // in the order of the file
  OffsetIndex<Entry> index_;                // the same entries, for lookup()
  Entry* last_ = nullptr;                   // what lookup() found last
  Links lru_;                               // a ring: .older is the newest, .newer the oldest
  std::size_t nr_dirty_ = 0;
  AlignedBuffer spare_;  // of the entry that was evicted last
  AsyncMutex writing_;
  CacheStats stats_;
};

}  // namespace vmm::disk::qcow
