// SPDX-License-Identifier: Apache-2.0
// MachineDisk: one disk of a machine: the image, the thread that does its I/O, the virtio-blk
// device on it and how the guest reaches it.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "disk/open_disk.h"
#include "disk/qcow/snapshot_table.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"
#include "vmm/file_id.h"
#include "vmm/io/io_thread.h"
#include "vmm/io/throttle.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm {

struct DiskPartitions;
struct DiskStat;
class VirtioSlots;

namespace virtio {
class Blk;
class TransportBase;
}  // namespace virtio

class MachineDisk {
 public:
  // Opens the image; `options` say how many queues; `index` counts the machine's disks from 0 and
  // names the thread.
  static Result<std::unique_ptr<MachineDisk>> open(disk::DiskOptions options, std::size_t index);
  // close() first, where the disk's last state matters.
  ~MachineDisk();

  // Whether the image has an MBR with partitions, or a GPT, and which. Before attach().
  Result<DiskPartitions> partitions();

  // Makes the device and puts it on the bus. All must outlive this. `retry_hint` tells the user
  // how to have retry_writes() called; `on_waiting` is called on the disk's thread when waiting()
  // changes.
  Result<void> attach(const GuestMemory& memory, VirtioSlots& slots, const std::string& retry_hint,
                      std::function<void()> on_waiting);

  // Takes from the disk's thread what it needs no more, now that the image is open. Before any vCPU
  // runs.
  Result<void> confine(const sandbox::SandboxConfig& config);

  // From any thread but the disk's, until close(). Waits for the disk's thread, but not for long.
  DiskStat stat();

  // From any thread but the disk's, between attach() and close(). Waits for the disk's thread, but
  // not for ever: kBusy where it is still at it then, and goes on.
  Result<void> grow(std::uint64_t size);
  // Of the image; the same holds.
  Result<void> create_snapshot(std::string name);
  Result<void> delete_snapshot(std::string id_or_name);
  Result<std::vector<disk::qcow::Snapshot>> snapshots();
  // From any thread, after attach().
  void set_rate_limits(RateLimits limits);
  RateLimits rate_limits() const;

  const std::string& path() const { return options_.path; }

  // From any thread: changes that failed and wait are carried out again. After attach().
  void retry_writes();
  // From any thread: whether there are such changes.
  bool waiting() const;
  // From any thread: whether the guest has read anything.
  bool was_read() const;

  // When no vCPU runs any more: waits for what is in flight, flushes, and closes the image.
  Result<void> close();

 private:
  MachineDisk(disk::DiskOptions options, std::unique_ptr<IoThread> thread);

  using Promise = std::shared_ptr<std::promise<Result<void>>>;
  using Work = std::function<Task<Result<void>>()>;
  Result<void> maintain(Work work, std::string done);
  Task<void> maintain_now(Work work, std::string done, Promise promise);
  Result<void> check_snapshots() const;

  const disk::DiskOptions options_;
  std::unique_ptr<IoThread> thread_;
  Gate work_;  // what uses the device, on the disk's thread
  std::unique_ptr<disk::Disk> disk_;
  FileId file_id_;
  std::unique_ptr<virtio::Blk> blk_;
  std::unique_ptr<virtio::TransportBase> transport_;
};

}  // namespace vmm
