// SPDX-License-Identifier: Apache-2.0
// Balloon: a memory balloon (virtio 1.2, 5.5): the guest gives pages back to the host, on request
// (inflating) or whenever they are free (reporting), and tells how it uses its memory.
//
// The host takes a page back by MADV_DONTNEED: it reads as zeros when the guest uses it again, and
// costs the host nothing until then. Nothing depends on the guest keeping its word: a page that it
// gave back and uses all the same is one that it uses.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "devices/virtio/device.h"
#include "devices/virtio/queue_server.h"
#include "vmm/io/sync.h"

namespace vmm::virtio {

// virtio 1.2, 5.5.3.
inline constexpr std::uint64_t kBalloonStats = 1 << 1;
inline constexpr std::uint64_t kBalloonDeflateOnOom = 1 << 2;
inline constexpr std::uint64_t kBalloonFreePageHint = 1 << 3;
inline constexpr std::uint64_t kBalloonPagePoison = 1 << 4;
inline constexpr std::uint64_t kBalloonReporting = 1 << 5;

struct BalloonStats {
  std::uint64_t target_bytes = 0;    // what the host asked for
  std::uint64_t actual_bytes = 0;    // what the guest says it has given
  std::uint64_t returned_bytes = 0;  // all that was given back so far, reported pages included
  // What the guest tells of its memory, by tag (virtio 1.2, 5.5.6.3): guest-controlled.
  static constexpr std::size_t kNrTags = 10;
  std::array<std::optional<std::uint64_t>, kNrTags> guest;
};

class Balloon final : public Device, private QueueServer::Handler {
 public:
  // Runs on `loop`, which may serve other devices too. Both must outlive the device. The memory
  // must be of ordinary pages (GuestMemory::Pages::kAny).
  Balloon(EventLoop& loop, const GuestMemory& memory);

  // From any thread. In bytes; the guest hears of it and takes its time, or does not follow.
  void set_target(std::uint64_t bytes);
  // From any thread but the loop's: asks the guest for news and waits for them, up to `patience`.
  BalloonStats stats(std::chrono::milliseconds patience);

  DeviceType type() const override { return DeviceType::kBalloon; }
  std::uint32_t pci_class() const override { return 0xff0000; }  // unassigned
  // Hints are offered for the sake of queue numbers (role_of()); the device never asks for any.
  std::uint64_t features() const override {
    return kBalloonStats | kBalloonDeflateOnOom | kBalloonFreePageHint | kBalloonPagePoison |
           kBalloonReporting;
  }
  std::uint16_t nr_queues() const override { return 5; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 128; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override { server_.reset(std::move(done)); }

 private:
  enum class Role { kInflate, kDeflate, kStats, kHint, kReporting, kNone };

  // On the loop's thread.
  void on_activate(const Activation& activation) override;
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;
  void on_stop() override { stats_wanted_.notify_all(); }
  Role role_of(std::uint16_t index) const;
  void inflate(std::span<const iovec> page_numbers);
  void take_reported(std::span<const iovec> pages);
  void take_stats(std::span<const iovec> entries);
  void give_back(std::byte* host, std::size_t size);

  EventLoop& loop_;
  const GuestMemory& memory_;
  std::atomic<std::uint32_t> target_pages_ = 0;
  std::atomic<std::uint32_t> actual_pages_ = 0;  // guest-controlled
  std::atomic<std::uint32_t> poison_ = 0;        // guest-controlled
  std::atomic<std::uint64_t> returned_bytes_ = 0;

  // Only on the loop's thread.
  Transport* transport_ = nullptr;  // once the device was activated; outlives it
  std::vector<Role> roles_;         // by queue
  bool keeps_poison_ = false;
  WaitQueue stats_wanted_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable stats_arrived_;
  std::uint64_t nr_arrivals_ = 0;
  std::array<std::optional<std::uint64_t>, BalloonStats::kNrTags> guest_;

  QueueServer server_;
};

}  // namespace vmm::virtio
