// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/transport_base.h"

#include <sys/eventfd.h>

#include <bit>
#include <cassert>

#include "vmm/core/log.h"

namespace vmm::virtio {
namespace {

constexpr std::uint64_t kRingFeatures = kFeatureIndirectDesc | kFeatureEventIdx | kFeatureVersion1;

}  // namespace

std::uint32_t half(std::uint64_t value, std::uint32_t select) {
  return select > 1 ? 0 : static_cast<std::uint32_t>(value >> (32 * select));
}

void set_half(std::uint64_t& value, std::uint32_t select, std::uint32_t part) {
  if (select > 1) return;
  value &= ~(std::uint64_t{0xffffffff} << (32 * select));
  value |= std::uint64_t{part} << (32 * select);
}

TransportBase::TransportBase(virtio::Device& device, KickRegistrar* kicks)
    : device_(device), kicks_(kicks) {
}

TransportBase::~TransportBase() {
  assert(!activated_ && "stop() must come first");
}

Result<void> TransportBase::create_queues() {
  assert(device_.nr_queues() <= kMaxQueues);
  for (std::uint16_t i = 0; i < device_.nr_queues(); ++i) {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
    if (!fd) return fail_errno(errno, "eventfd for a virtio queue");
    queues_.push_back(std::make_unique<Queue>());
    queues_.back()->kick_fd = std::move(fd);
    queues_.back()->layout.size = device_.max_queue_size(i);
  }
  return {};
}

// What the device has to say, on any thread.

void TransportBase::config_changed() {
  config_generation_.fetch_add(1, std::memory_order_release);
  isr_.fetch_or(kIsrConfig, std::memory_order_release);
  signal_config();
}

void TransportBase::needs_reset() {
  needs_reset_.store(true, std::memory_order_release);
  isr_.fetch_or(kIsrConfig, std::memory_order_release);
  signal_config();
}

void TransportBase::kick(std::uint64_t index) {
  if (index < queues_.size()) ::eventfd_write(queues_[index]->kick_fd.get(), 1);
}

// Registers.

std::uint8_t TransportBase::config_generation() const {
  return config_generation_.load(std::memory_order_acquire);
}

std::uint32_t TransportBase::device_feature() const {
  return half(device_.features() | kRingFeatures, device_feature_select_);
}

std::uint32_t TransportBase::driver_feature() const {
  return half(driver_features_, driver_feature_select_);
}

void TransportBase::write_driver_feature(std::uint32_t value) {
  if ((status_ & kStatusFeaturesOk) != 0) return;
  set_half(driver_features_, driver_feature_select_, value);
}

TransportBase::Queue* TransportBase::selected_queue() {
  return queue_select_ < queues_.size() ? queues_[queue_select_].get() : nullptr;
}

// A queue must not change under the device's feet: its layout is fixed once it is enabled, and
// queues are enabled before DRIVER_OK (virtio 1.2, 4.1.4.3.2 and 4.2.2.2).
TransportBase::Queue* TransportBase::configurable_queue() {
  Queue* queue = selected_queue();
  bool fixed = queue == nullptr || queue->enabled || (status_ & kStatusDriverOk) != 0;
  return fixed ? nullptr : queue;
}

void TransportBase::write_queue_size(Queue& queue, std::uint32_t value) {
  auto index = static_cast<std::uint16_t>(queue_select_);
  if (std::has_single_bit(value) && value <= device_.max_queue_size(index)) {
    queue.layout.size = static_cast<std::uint16_t>(value);
  }
}

// Device status (virtio 1.2, 2.1 and 3.1).

std::uint8_t TransportBase::status() const {
  bool broken = needs_reset_.load(std::memory_order_acquire);
  return static_cast<std::uint8_t>(status_ | (broken ? kStatusNeedsReset : 0));
}

void TransportBase::write_status(std::uint8_t value) {
  if (value == 0) return start_reset();
  std::uint8_t added = value & static_cast<std::uint8_t>(~status_ & ~kStatusNeedsReset);
  if ((added & kStatusFeaturesOk) != 0) {
    bool subset = (driver_features_ & ~(device_.features() | kRingFeatures)) == 0;
    if (subset && (driver_features_ & kFeatureVersion1) != 0) {
      device_.set_driver_features(driver_features_);
    } else {
      added &= static_cast<std::uint8_t>(~kStatusFeaturesOk);  // so the driver sees the refusal
    }
  }
  bool features_agreed = ((status_ | added) & kStatusFeaturesOk) != 0;
  if (!features_agreed) added &= static_cast<std::uint8_t>(~kStatusDriverOk);
  status_ |= added;  // only a reset clears bits
  if ((added & kStatusDriverOk) != 0) activate();
}

void TransportBase::activate() {
  activated_ = true;
  Activation activation{.features = driver_features_, .queues = {}, .transport = this};
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = *queues_[i];
    if (!queue.enabled) continue;
    activation.queues.push_back(ActiveQueue{.index = i,
                                            .layout = queue.layout,
                                            .kick_fd = queue.kick_fd.get(),
                                            .interrupt = &queue_interrupt(i)});
  }
  bind_kicks();
  device_.activate(std::move(activation));
}

// The promise is shared because the device's thread may still be inside set_value() when we go on.
void TransportBase::start_reset() {
  unbind_kicks();
  if (!activated_) return clear();
  resetting_ = true;
  auto over = std::make_shared<std::promise<void>>();
  reset_over_ = over->get_future();
  device_.reset([over] { over->set_value(); });
}

// The status reads as it was until nothing is in flight; a driver waits for the 0
// (virtio 1.2, 2.4.2).
void TransportBase::settle_reset() {
  wait_for_reset(std::chrono::milliseconds(0));
}

bool TransportBase::wait_for_reset(std::chrono::milliseconds patience) {
  if (resetting_ && reset_over_.wait_for(patience) == std::future_status::ready) clear();
  return !resetting_;
}

void TransportBase::clear() {
  resetting_ = false;
  activated_ = false;
  status_ = 0;
  device_feature_select_ = driver_feature_select_ = 0;
  driver_features_ = 0;
  queue_select_ = 0;
  needs_reset_.store(false, std::memory_order_relaxed);
  isr_.store(0, std::memory_order_relaxed);
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    queues_[i]->layout = QueueLayout{.size = device_.max_queue_size(i)};
    queues_[i]->enabled = false;
  }
  on_clear();
}

void TransportBase::stop() {
  {
    std::lock_guard lock(registers_mutex_);
    unbind_kicks();
  }
  // A reset that the guest began is over before this one.
  auto over = std::make_shared<std::promise<void>>();
  device_.reset([over] { over->set_value(); });
  over->get_future().wait();
  std::lock_guard lock(registers_mutex_);
  clear();
}

void TransportBase::bind_kicks() {
  if (kicks_ == nullptr || !activated_ || resetting_ || !fix_notify_addresses()) return;
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = *queues_[i];
    if (!queue.enabled) continue;
    Result<void> bound = bind_kick(i, queue.kick_fd.get());
    queue.bound = bound.has_value();
    if (bound) continue;
    // Kicks then arrive as stores to a register, slower.
    static log::RateLimit limit;
    limit.warn("virtio queue {}: {}", i, bound.error().message());
  }
}

void TransportBase::unbind_kicks() {
  for (std::uint16_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = *queues_[i];
    if (!queue.bound) continue;
    queue.bound = false;
    Result<void> undone = unbind_kick(i, queue.kick_fd.get());
    if (!undone) log::warn("virtio queue {}: {}", i, undone.error().message());
  }
}

}  // namespace vmm::virtio
