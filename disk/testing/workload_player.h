// SPDX-License-Identifier: Apache-2.0
// The player of a workload: what workload.cc and workload_tools.cc have in common.
#pragma once

#include <memory>
#include <string>

#include "disk/testing/workload.h"

namespace vmm::disk {

struct Player {
  EventLoop& loop;
  WorkloadRun& run;
  std::shared_ptr<MemoryStorage::Bytes> image;
  std::shared_ptr<MemoryStorage::Bytes> data;  // of the data file
  std::shared_ptr<Fault> fault;                // may be null
  bool recorded = false;                       // on a FaultStorage
  std::unique_ptr<qcow::QcowDisk> disk;
  // Of the backing file of `disk`; null: it has none.
  std::shared_ptr<MemoryStorage::Bytes> backing;
  std::uint64_t next_id = 1;
  // The image could not be closed and opened again, as a user would: nothing more is done to it.
  bool over = false;

  // Opens the image, without faults: that a disk cannot be opened is for the user to see.
  Task<Result<void>> open();
  // The request has ended: notes it where it failed.
  std::uint64_t note(const GuestOp& op, std::uint64_t began, const Result<void>& done);
  // The whole disk, by the id of the change that wrote each block. Empty: it cannot be read.
  Task<std::vector<std::uint64_t>> ids();
};

bool is_maintenance(GuestOp::Kind kind);
Task<void> maintain(Player& player, GuestOp op);

// Words of `count` blocks that the change `id` wrote.
std::vector<std::uint64_t> words_of(std::uint64_t id, std::uint64_t first, std::uint64_t count);

}  // namespace vmm::disk
