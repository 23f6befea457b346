// SPDX-License-Identifier: Apache-2.0
// ResidentTable: a table of 64-bit entries that is in memory as a whole (the L1 table, the refcount
// table) and knows which parts of it the file does not have yet.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "disk/aligned_buffer.h"
#include "disk/qcow/units.h"
#include "disk/storage.h"

namespace vmm::disk::qcow {

class ResidentTable {
 public:
  // Copies of the parts that were dirty at one moment, see TableCache::Batch.
  struct Batch {
    struct Part {
      std::uint64_t chunk;
      AlignedBuffer bytes;
    };
    HostOffset table;
    std::vector<Part> parts;
    bool empty() const { return parts.empty(); }
  };

  // `name` is for errors.
  explicit ResidentTable(std::string name) : name_(std::move(name)) {}

  // `nr_entries` was checked against the limits of the format.
  Task<Result<void>> load(Storage& storage, HostOffset offset, std::uint64_t nr_entries);

  std::uint64_t size() const { return entries_.size(); }
  HostOffset offset() const { return offset_; }
  std::uint64_t operator[](std::uint64_t index) const { return entries_[index]; }
  const std::vector<std::uint64_t>& entries() const { return entries_; }
  void set(std::uint64_t index, std::uint64_t value) {
    entries_[index] = value;
    dirty_.insert(index / kChunkEntries);
  }
  // New entries are 0, and are not dirty. What is cut off is forgotten.
  void resize(std::uint64_t nr_entries);
  // The table at `offset` has these entries; the file has them too.
  void assign(HostOffset offset, std::vector<std::uint64_t> entries);
  // From now on the table is at `offset`, where nothing of it has been written yet.
  void move_to(HostOffset offset);

  bool dirty() const { return !dirty_.empty(); }
  Batch take_dirty();
  void put_back(const Batch& batch);
  // Where that fails, the parts are dirty again.
  Task<Result<void>> write(Storage& storage, Batch batch);

 private:
  static constexpr std::uint64_t kChunkEntries = 64;  // 512 bytes: what a disk writes as a whole

  const std::string name_;
  HostOffset offset_;
  std::vector<std::uint64_t> entries_;  // in the host's byte order
  std::set<std::uint64_t> dirty_;       // chunks
};

}  // namespace vmm::disk::qcow
