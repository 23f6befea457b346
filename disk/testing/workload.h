// SPDX-License-Identifier: Apache-2.0
// Workload: what a guest and the image tools do to a small qcow2 image in memory, decided by a name
// and a seed, run on a FaultStorage and noted in a GuestModel.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/testing/fault_storage.h"
#include "disk/testing/guest_model.h"
#include "disk/testing/memory_storage.h"
#include "vmm/io/event_loop.h"

namespace vmm::disk {

struct GuestOp {
  enum class Kind : std::uint8_t {
    kWrite,
    kWriteZeros,  // a write whose bytes are zeros
    kZeroFree,    // write_zeroes, may unmap
    kZeroKeep,
    kDiscard,
    kFlush,
    // What tools do, and a paused VM; nothing else is under way. `first` chooses: a snapshot, a
    // size, a backing file.
    kTakeSnapshot,
    kApplySnapshot,
    kDeleteSnapshot,
    kGrow,         // by `count` blocks
    kResize,       // to any size
    kPreallocate,  // grows by `count` blocks that have their place; only without a backing file
    kCommit,       // into the backing file, and empties the image
    kRebase,       // onto another backing file, or none, and shows the same
    kReopen,
  };
  static constexpr std::size_t kNrKinds = 15;
  Kind kind = Kind::kWrite;
  std::uint64_t first = 0;  // 512-byte blocks
  std::uint64_t count = 0;
};
const char* name_of(GuestOp::Kind kind);

struct Workload {
  std::string name;
  std::uint64_t seed = 0;
  qcow::FormatOptions format;
  qcow::QcowOptions options;
  std::uint64_t backing_size = 0;  // bytes; 0: no backing file
  std::uint64_t max_size = 0;      // bytes the disk may grow to
  std::uint64_t device_size = 0;   // bytes; not 0: on a block device that was used before
  bool compress = false;           // some clusters of what `setup` wrote
  unsigned max_delay = 0;          // of the storage, in loop turns
  std::vector<GuestOp> setup;      // before the recording
  std::vector<std::vector<GuestOp>> workers;  // at the same time; one after the other within each
};

// What can be asked for by name.
const std::vector<std::string>& workload_names();
// Fails for a name it does not know.
Result<Workload> make_workload(const std::string& name, std::uint64_t seed);

// A snapshot the workload has taken, or tried to.
struct SnapshotRecord {
  std::string name;
  std::uint64_t size = 0;                      // of the disk
  std::vector<std::uint64_t> ids;              // of each block, for GuestModel::word()
  std::uint64_t taken = GuestModel::kNever;    // the moment it was there for certain
  std::uint64_t deleted = GuestModel::kNever;  // the moment its deletion began
};

// A size of the disk.
struct SizeRecord {
  std::uint64_t size = 0;   // bytes
  std::uint64_t began = 0;  // the moment it may have taken effect
  std::uint64_t ended = 0;  // for certain; kNever: not certain
};

// A request that failed.
struct FailedRequest {
  GuestOp op;
  std::uint64_t began = 0;
  std::uint64_t ended = 0;
  std::string why;
};

// What a backing file holds from a moment on.
struct BackingVersion {
  std::uint64_t since = 0;
  std::vector<std::byte> bytes;
};

struct WorkloadRun {
  Workload workload;
  // The image when the recording begins, and its data file; all of it durable.
  std::vector<std::byte> start;
  std::vector<std::byte> start_data;
  // By the names that headers have for them; all that a version holds is durable.
  std::map<std::string, std::vector<BackingVersion>> backings;
  std::shared_ptr<Recording> recording;
  GuestModel model;
  std::vector<SnapshotRecord> snapshots;
  std::vector<SizeRecord> sizes;
  std::vector<FailedRequest> failed;
  bool close_failed = false;
  std::string wrong;  // what a read or the end of the run contradicts, first of all
  // The image when the disk was closed, and its data file.
  std::vector<std::byte> end;
  std::vector<std::byte> end_data;

  // What the file of that name held at `moment`; null: there is none.
  const std::vector<std::byte>* backing_at(const std::string& name, std::uint64_t moment) const;
};

// `fault` may be null. What a fault is to show is in the result; a failure here means that the
// workload itself could not be set up.
Result<WorkloadRun> run_workload(EventLoop& loop, const Workload& workload,
                                 std::shared_ptr<Fault> fault = nullptr);

// Opens `image` as a user would after a crash at `moment` (an image marked dirty is repaired), with
// the backing file that its header names, without a recording.
Result<std::unique_ptr<qcow::QcowDisk>> open_image(EventLoop& loop,
                                                   std::shared_ptr<MemoryStorage::Bytes> image,
                                                   std::shared_ptr<MemoryStorage::Bytes> data,
                                                   const WorkloadRun& run, std::uint64_t moment);
// The bytes of an image as a storage that is what the workload's is: a file or a device.
std::shared_ptr<MemoryStorage::Bytes> storage_of(const Workload& workload,
                                                 std::vector<std::byte> image);

// Reads the whole disk and compares: what a crash at `moment`, or the present (kNever), may have
// left. Empty: all is well.
std::string compare_with_model(EventLoop& loop, Disk& disk, const WorkloadRun& run,
                               std::uint64_t moment);
// The same of a raw data file, which is the disk without the image.
std::string compare_raw(const std::vector<std::byte>& data, std::uint64_t disk_size,
                        const WorkloadRun& run, std::uint64_t moment);
// Which snapshots there are after a crash at `moment`, and by applying one of them (`choice`), what
// it holds.
std::string compare_snapshots(EventLoop& loop, qcow::QcowDisk& disk, const WorkloadRun& run,
                              std::uint64_t moment, std::uint64_t choice);

// Turns some data clusters of a closed image into compressed ones, two to a host cluster.
void compress_clusters(std::vector<std::byte>& image, std::uint64_t seed);

}  // namespace vmm::disk
