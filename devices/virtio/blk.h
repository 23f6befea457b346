// SPDX-License-Identifier: Apache-2.0
// Blk: virtio-blk (virtio 1.2, 5.2) on a Disk.
//
// It runs on the disk's event loop: QueueServer starts a coroutine per chain, which carries it out
// on guest memory itself, without a copy (serve_chain, execute). vCPU threads only post activation
// and reset to the loop.
//
//   auto thread = IoThread::start("disk0");
//   auto disk = thread->call(... open_disk ...);
//   Blk blk({.name = "debian.qcow2", .id = "..."}, *disk, thread->loop(), memory);
//   auto transport = PciTransport::create(blk, ...);
// To end: transport->stop(), destroy the transport and the Blk, close the disk on its thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "devices/virtio/blk_request.h"
#include "devices/virtio/device.h"
#include "devices/virtio/queue_server.h"
#include "disk/disk.h"
#include "disk/write_errors.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/io/budget.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"
#include "vmm/io/throttle.h"

namespace vmm::virtio {

struct BlkOptions {
  std::string name;                // in messages: the image as the user named it
  std::string id;                  // GET_ID, /sys/block/vda/serial: the first 20 bytes count
  std::uint16_t nr_queues = 1;     // 1 to PciTransport::kMaxQueues
  std::uint16_t queue_size = 256;  // a power of two, 4 to Virtqueue::kMaxSize
  RateLimits limits;
  disk::WriteErrors write_errors = disk::WriteErrors::kReport;
  std::string retry_hint;  // in messages: what makes somebody call retry()
  // Called on the loop's thread when waiting() changes.
  std::function<void()> on_waiting = [] {};
};

// What the guest has asked for so far, and got an answer to. Bytes are those of good answers.
struct BlkStats {
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t writes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;  // and requests to write zeros
  std::uint64_t failures = 0;  // of any kind, also refused ones
  // Sums over good answers, in nanoseconds, from when a request was taken from its queue to its
  // answer.
  std::uint64_t read_ns = 0;
  std::uint64_t write_ns = 0;
  std::uint64_t flush_ns = 0;
};

class Blk final : public Device, private QueueServer::Handler {
 public:
  // All must outlive the device. Nothing may use the disk meanwhile.
  // `timer`: of Throttle::make_timer().
  Blk(BlkOptions options, disk::Disk& disk, EventLoop& loop, const GuestMemory& memory,
      UniqueFd timer);

  DeviceType type() const override { return DeviceType::kBlock; }
  std::uint32_t pci_class() const override { return 0x018000; }  // mass storage, other
  std::uint64_t features() const override;
  std::uint16_t nr_queues() const override { return options_.nr_queues; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return options_.queue_size; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;
  void set_driver_features(std::uint64_t features) override;
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override { server_.reset(std::move(done)); }

  BlkStats stats() const;                       // from any thread
  std::uint64_t size() const { return size_; }  // bytes, as the driver sees it; from any thread
  // From any thread: requests that wait because they failed (BlkOptions::write_errors) are carried
  // out again.
  void retry();
  // From any thread: whether requests wait for retry().
  bool waiting() const { return nr_waiting_.load() != 0; }

  // From any thread. Requests that wait for their turn are judged by the new limits.
  void set_rate_limits(RateLimits limits);
  RateLimits rate_limits() const;

  // On the loop's thread: does `work` on the disk while no request is under way. Those that have
  // come are carried out before, whatever the rate; those that come meanwhile wait. If the disk has
  // another size then, the driver is told. Fails with kBusy, and does nothing, while requests wait
  // for retry(). The device must stay until it is done.
  Task<Result<void>> maintain(std::function<Task<Result<void>>()> work);
  // For `work`: another disk is in the place now, or none. Requests that came for the one before
  // fail.
  void disk_replaced() { ++nr_replaced_; }

 private:
  // Written on the loop's thread alone.
  struct Counters {
    std::atomic<std::uint64_t> reads = 0, read_bytes = 0, writes = 0, written_bytes = 0,
                               flushes = 0, discards = 0, failures = 0, read_ns = 0, write_ns = 0,
                               flush_ns = 0;
  };
  using Clock = std::chrono::steady_clock;
  // On the loop's thread.
  void on_activate(const Activation& activation) override;
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;
  Task<BlkStatus> execute_in_turn(const BlkRequest& request);
  Task<BlkStatus> execute(const BlkRequest& request);
  Task<BlkStatus> execute_ranges(const BlkRequest& request);
  void count(const BlkRequest& request, BlkStatus answer, Clock::time_point taken);
  Task<Result<void>> write(const BlkRequest& request);
  bool starts_at_once(const BlkRequest& request) const;
  Task<Result<void>> transfer(const BlkRequest& request);
  Task<Result<void>> transfer_pieces(const BlkRequest& request);
  Task<Result<void>> change_piece(BlkType type, std::uint64_t offset, std::uint64_t length,
                                  bool unmap);
  Task<BlkStatus> flush();
  Task<Result<void>> change_range(BlkType type, BlkRange range);
  Task<bool> wait_for_retry(const Error& error, const char* what, std::uint64_t offset,
                            std::uint64_t length);
  void on_stop() override;
  BlkStatus get_id(const BlkRequest& request) const;
  BlkStatus judge(const Result<void>& result, const char* what, std::uint64_t offset,
                  std::uint64_t length);

  const BlkOptions options_;
  disk::Disk& disk_;
  const std::uint64_t features_;
  std::atomic<std::uint64_t> size_;  // bytes, whole sectors; written on the loop's thread alone

  // A completed write is on stable storage only after a flush; the driver may switch that off.
  std::atomic<bool> write_back_ = true;
  bool write_back_settable_ = false;  // guarded by the transport's lock

  // Only on the loop's thread.
  BlkLimits limits_;
  log::RateLimit disk_warnings_;
  Counters counters_;
  unsigned nr_told_ = 0;  // lines about requests that wait, since the last retry()
  EventLoop& loop_;
  Throttle throttle_;
  std::atomic<std::uint64_t> max_operations_, max_bytes_;  // the throttle's, for other threads
  Transport* transport_ = nullptr;  // once the device was activated; outlives it
  // Requests that are the present disk's: they wait for their turn, use it, or wait to be retried.
  unsigned nr_executing_ = 0;
  bool held_ = false;              // no request becomes one: maintain() is at work
  std::uint64_t nr_replaced_ = 0;  // tells the disk that a request was made for
  Budget in_flight_;               // bytes of the requests that the disk is at
  WaitQueue unheld_, drained_;
  AsyncMutex maintenance_;
  WaitQueue failed_;  // those that wait to be retried
  std::atomic<unsigned> nr_waiting_ = 0;
  QueueServer server_;
};

}  // namespace vmm::virtio
