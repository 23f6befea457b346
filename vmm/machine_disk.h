// SPDX-License-Identifier: Apache-2.0
// MachineDisk: one disk of a machine: the image, the thread that does its I/O, the virtio-blk
// device on it and how the guest reaches it.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
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

namespace disk {
class Bay;
}
struct AttachedDisk;
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
  // A place for a disk that comes while the machine runs; the guest sees one of no bytes.
  static Result<std::unique_ptr<MachineDisk>> make_bay(std::size_t index, std::uint16_t nr_queues);
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
  // The same, of one made by make_bay(): puts an image in, or closes it and takes it out. The
  // opener in `options` does not block; `kept` has the same files for the machine's next boot. Fail
  // with kBusy where there is one, with kNotFound where there is none.
  Result<void> insert(disk::DiskOptions options, FileId id, std::shared_ptr<AttachedDisk> kept);
  Result<void> eject();
  // What insert() was given, where the disk is still in, once: after close().
  std::shared_ptr<AttachedDisk> take_kept();
  // From any thread.
  bool is_bay() const { return bay_ != nullptr; }
  bool is_empty() const;
  // From any thread, after attach().
  void set_rate_limits(RateLimits limits);
  RateLimits rate_limits() const;

  // From any thread: as the configuration names the image; empty for a bay without one.
  std::string path() const;

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

  struct Image {
    std::string path, format;
    bool read_only = false;
    FileId id;
    std::shared_ptr<AttachedDisk> kept;  // of a bay's
    std::uint64_t nr = 0;                // of those that have been in the place
  };
  using Promise = std::shared_ptr<std::promise<Result<void>>>;
  using Work = std::function<Task<Result<void>>()>;
  Result<void> maintain(Work work, std::string done);
  Task<void> maintain_now(Work work, std::string done, std::uint64_t nr, Promise promise);
  Task<void> insert_now(disk::DiskOptions options, Image image, Promise promise);
  Task<Result<void>> open_and_put(disk::DiskOptions options, Image image);
  Task<Result<void>> put(std::unique_ptr<disk::Disk>& disk, Image image, RateLimits limits);
  Task<Result<void>> take_out();
  Result<void> run(std::function<Task<void>(Promise)> start);
  Result<void> check_snapshots() const;

  Image image() const;
  void set_image(Image image);

  const disk::DiskOptions options_;  // a bay's know of no file
  std::unique_ptr<IoThread> thread_;
  Gate work_;  // what uses the device, on the disk's thread
  std::unique_ptr<disk::Disk> disk_;
  std::unique_ptr<disk::Bay> bay_;
  mutable std::mutex image_mutex_;
  Image image_;
  std::unique_ptr<virtio::Blk> blk_;
  std::unique_ptr<virtio::TransportBase> transport_;
};

}  // namespace vmm
