// SPDX-License-Identifier: Apache-2.0
// GuestModel: what each 512-byte block of a disk may hold, live and after a crash at any moment.
//
// A change takes effect at some moment between its begin and its end. A flush covers the changes
// that ended before it began: what they replaced never comes back once the flush has ended.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace vmm::disk {

class GuestModel {
 public:
  static constexpr std::uint64_t kBlock = 512;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::uint64_t kZeros = 0;

  // What the words of block `block` are after change `id`.
  static std::uint64_t word(std::uint64_t id, std::uint64_t block) {
    return id == kZeros ? 0 : id << 24 | block;
  }

  explicit GuestModel(std::uint64_t nr_blocks = 0) : blocks_(nr_blocks, {{kZeros, 0, 0, true}}) {}

  std::uint64_t nr_blocks() const { return blocks_.size(); }
  void set_initial(std::uint64_t block, std::uint64_t id) { blocks_[block][0].id = id; }

  // `now` are moments of one clock, no two events at the same.
  void begin(std::uint64_t first, std::uint64_t count, std::uint64_t id, std::uint64_t now) {
    for (std::uint64_t i = first; i < first + count; ++i) {
      blocks_[i].push_back({id, now, kNever, false});
    }
  }
  // The change that began at `began`. Without `effect` (it failed, or was advice) it may have
  // happened, and what was there before may still be there.
  void end(std::uint64_t block, std::uint64_t began, std::uint64_t now, bool effect) {
    for (Value& value : blocks_[block]) {
      if (value.began == began) {
        value.ended = now;
        value.effect = effect;
      }
    }
  }

  struct Flush {
    std::uint64_t began;
    std::uint64_t ended;
  };
  void flushed(std::uint64_t began, std::uint64_t ended) { flushes_.push_back({began, ended}); }
  const std::vector<Flush>& flushes() const { return flushes_; }
  // The latest begin of a flush that had ended by `moment`; 0 where there is none.
  std::uint64_t covered(std::uint64_t moment) const {
    std::uint64_t latest = 0;
    for (const Flush& flush : flushes_) {
      if (flush.ended <= moment) latest = std::max(latest, flush.began);
    }
    return latest;
  }

  // Whether a block may hold `word` after a crash at `moment`, with changes durable that ended
  // before `covered`. With both at the present: whether it may hold that now.
  bool allows(std::uint64_t block, std::uint64_t word, std::uint64_t moment,
              std::uint64_t covered) const {
    std::uint64_t barrier = 0;
    for (const Value& value : blocks_[block]) {
      if (value.effect && value.ended < covered) barrier = std::max(barrier, value.began);
    }
    for (const Value& value : blocks_[block]) {
      if (value.began <= moment && value.ended >= barrier &&
          GuestModel::word(value.id, block) == word) {
        return true;
      }
    }
    return false;
  }

 private:
  struct Value {
    std::uint64_t id;
    std::uint64_t began;
    std::uint64_t ended;
    bool effect;
  };

  std::vector<std::vector<Value>> blocks_;
  std::vector<Flush> flushes_;
};

}  // namespace vmm::disk
