// SPDX-License-Identifier: Apache-2.0
// Blk: virtio-blk (virtio 1.2, 5.2) on a Disk.
//
// It runs on the disk's event loop: a coroutine per queue waits for kicks (serve_queue), one per
// chain carries it out on guest memory itself, without a copy (serve_chain, execute), and once per
// turn of the loop the driver is interrupted if it wants to be. vCPU threads only post activation
// and reset to the loop.
//
//   auto thread = IoThread::start("disk0");
//   auto disk = thread->call(... open_disk ...);
//   Blk blk({.name = "debian.qcow2", .id = "..."}, *disk, thread->loop(), memory);
//   auto transport = PciTransport::create(blk, ...);
// To end: transport->stop(), destroy the transport and the Blk, close the disk on its thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "devices/virtio/blk_request.h"
#include "devices/virtio/device.h"
#include "disk/disk.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::virtio {

struct BlkOptions {
  std::string name;                // in messages: the image as the user named it
  std::string id;                  // GET_ID, /sys/block/vda/serial: the first 20 bytes count
  std::uint16_t nr_queues = 1;     // 1 to PciTransport::kMaxQueues
  std::uint16_t queue_size = 256;  // a power of two, 4 to Virtqueue::kMaxSize
};

class Blk final : public Device {
 public:
  // All must outlive the device. Nothing may use the disk meanwhile.
  Blk(BlkOptions options, disk::Disk& disk, EventLoop& loop, const GuestMemory& memory);
  ~Blk() override;

  DeviceType type() const override { return DeviceType::kBlock; }
  std::uint32_t pci_class() const override { return 0x018000; }  // mass storage, other
  std::uint64_t features() const override { return features_; }
  std::uint16_t nr_queues() const override { return options_.nr_queues; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return options_.queue_size; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;
  void set_driver_features(std::uint64_t features) override;
  void activate(Activation activation) override;
  void reset(std::function<void()> done) override;

 private:
  class Queue;

  // On the loop's thread.
  void start(const Activation& activation);
  internal::Detached finish(std::function<void()> done);
  Task<void> serve_queue(Queue& queue);
  Task<void> serve_chain(Queue& queue, Chain chain);
  Task<BlkStatus> execute(const BlkRequest& request);
  Task<BlkStatus> execute_ranges(const BlkRequest& request);
  BlkStatus get_id(const BlkRequest& request) const;
  BlkStatus judge(const Result<void>& result, const char* what, std::uint64_t offset,
                  std::uint64_t length);
  void give_up(Queue& queue, const Error& error);

  const BlkOptions options_;
  disk::Disk& disk_;
  EventLoop& loop_;
  const GuestMemory& memory_;
  const std::uint64_t features_;
  const std::uint64_t size_;  // bytes, whole sectors

  // A completed write is on stable storage only after a flush; the driver may switch that off.
  std::atomic<bool> write_back_ = true;
  bool write_back_settable_ = false;  // guarded by the transport's lock

  // Only on the loop's thread.
  BlkLimits limits_;
  Transport* transport_ = nullptr;
  std::vector<std::unique_ptr<Queue>> queues_;
  Gate gate_;  // every coroutine of a queue or a chain
  bool stopping_ = false;
  log::RateLimit disk_warnings_;
  log::RateLimit driver_warnings_;
};

}  // namespace vmm::virtio
