// SPDX-License-Identifier: Apache-2.0
// OffsetIndex: from a file offset to an object, in one step for as good as every look-up.
//
// An open hash table of keys and pointers: a tree of as many nodes reads about eleven of them, each
// in a cache line of its own, where this reads one line (docs/l2-cache.md has the figures). It does
// not own the objects. At most half of it is full. Offsets are image-controlled: an image made to
// collide only makes look-ups in itself slower, up to one pass over the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmm::disk::qcow {

template <class T>
class OffsetIndex {
 public:
  OffsetIndex() : slots_(kFirstSize) {}

  std::size_t size() const { return size_; }

  T* find(std::uint64_t offset) const {
    for (std::size_t at = home(offset); slots_[at].object != nullptr; at = after(at)) {
      if (slots_[at].offset == offset) return slots_[at].object;
    }
    return nullptr;
  }

  // `offset` must not be there yet.
  void insert(std::uint64_t offset, T* object) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    place({offset, object});
    ++size_;
  }

  void erase(std::uint64_t offset) {
    std::size_t hole = home(offset);
    while (slots_[hole].object != nullptr && slots_[hole].offset != offset) hole = after(hole);
    if (slots_[hole].object == nullptr) return;
    --size_;
    // Whatever was pushed beyond the hole comes back, so that no look-up ends early.
    for (std::size_t at = after(hole); slots_[at].object != nullptr; at = after(at)) {
      if (distance(home(slots_[at].offset), at) < distance(hole, at)) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole] = {};
  }

 private:
  struct Slot {
    std::uint64_t offset = 0;
    T* object = nullptr;
  };
  static constexpr std::size_t kFirstSize = 16;  // a power of two

  // The upper bits of the product depend on all bits of the offset.
  std::size_t home(std::uint64_t offset) const {
    return static_cast<std::size_t>((offset * 0x9e3779b97f4a7c15) >> 32) & (slots_.size() - 1);
  }
  std::size_t after(std::size_t at) const { return (at + 1) & (slots_.size() - 1); }
  std::size_t distance(std::size_t from, std::size_t to) const {
    return (to - from) & (slots_.size() - 1);
  }
  void place(const Slot& slot) {
    std::size_t at = home(slot.offset);
    while (slots_[at].object != nullptr) at = after(at);
    slots_[at] = slot;
  }
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.object != nullptr) place(slot);
    }
  }

  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace vmm::disk::qcow
