// SPDX-License-Identifier: Apache-2.0
// Source: bytes that can be read at any offset, one call at a time. The boot finder runs alone in a
// process of its own and waits for every read, so it sees the disk without coroutines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "vmm/core/result.h"

namespace vmm {
class EventLoop;
namespace disk {
class Disk;
struct DiskOptions;
}  // namespace disk
}  // namespace vmm

namespace vmm::bootfind {

class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() const = 0;  // bytes
  // Fills `to` from `offset` on. kOutOfRange where that does not lie inside size().
  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> to) = 0;
};

// True where [offset, offset + length) lies inside `size`, for numbers an image chose.
constexpr bool lies_inside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

// A disk image of any format, read with blocking calls.
class DiskSource : public Source {
 public:
  // Opens the image for reading, with its backing files and locks as the options say. Errors start
  // with its name.
  static Result<std::unique_ptr<Source>> open(const disk::DiskOptions& options);
  ~DiskSource() override;

  std::uint64_t size() const override;
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override;

 private:
  DiskSource(std::unique_ptr<EventLoop> loop, std::unique_ptr<disk::Disk> disk);

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<disk::Disk> disk_;
};

// Keeps what was read lately, in slots of 64 KiB: file systems ask for one block at a time.
class CachedSource : public Source {
 public:
  static constexpr std::size_t kSlotSize = 64 << 10;

  explicit CachedSource(Source& below, std::size_t nr_slots = 64)
      : below_(below), nr_slots_(nr_slots) {}
  std::uint64_t size() const override { return below_.size(); }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override;

 private:
  struct Slot {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  Result<const Slot*> slot_at(std::uint64_t offset);

  Source& below_;
  const std::size_t nr_slots_;
  std::list<Slot> slots_;  // the latest used first
};

// A part of another source: a partition.
class PartSource : public Source {
 public:
  // What would lie beyond the end of `below` is cut off.
  PartSource(Source& below, std::uint64_t start, std::uint64_t size);
  std::uint64_t size() const override { return size_; }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override;

 private:
  Source& below_;
  const std::uint64_t start_;
  const std::uint64_t size_;
};

}  // namespace vmm::bootfind
