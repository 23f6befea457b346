// SPDX-License-Identifier: Apache-2.0
#include "guest-tests/bare/lib/virtio.h"

#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/pci.h"
#include "guest-tests/bare/lib/timer.h"

namespace guest {
namespace {

struct BlkHeader {
  std::uint32_t type;
  std::uint32_t reserved;
  std::uint64_t sector;
};

BlkHeader header;
volatile std::uint8_t answer;

std::uint64_t part(unsigned slot, unsigned capability) {
  unsigned bar = read_config8(slot, capability + 4);
  return bar_address(slot, bar) + read_config(slot, capability + 8);
}

}  // namespace

bool VirtioDevice::find(unsigned type, unsigned from_slot) {
  slot_ = find_device((0x1040u + type) << 16 | 0x1af4, from_slot);
  if (slot_ == kNoSlot) return false;
  write_config16(slot_, 4, 6);  // memory, bus master
  common_ = part(slot_, find_capability(slot_, 9, 1));
  unsigned notify = find_capability(slot_, 9, 2);
  notify_ = part(slot_, notify);
  notify_step_ = read_config(slot_, notify + 16);
  isr_ = part(slot_, find_capability(slot_, 9, 3));
  config_ = part(slot_, find_capability(slot_, 9, 4));
  return true;
}

std::uint8_t VirtioDevice::status() const {
  return read<std::uint8_t>(common(kStatus));
}
void VirtioDevice::set_status(std::uint8_t status) const {
  write<std::uint8_t>(common(kStatus), status);
}

std::uint64_t VirtioDevice::features() const {
  write<std::uint32_t>(common(kDeviceFeatureSelect), 0);
  std::uint64_t low = read<std::uint32_t>(common(kDeviceFeature));
  write<std::uint32_t>(common(kDeviceFeatureSelect), 1);
  return low | std::uint64_t{read<std::uint32_t>(common(kDeviceFeature))} << 32;
}

bool VirtioDevice::reset() const {
  set_status(0);
  return wait_until([this] { return status() == 0; });
}

bool VirtioDevice::negotiate(std::uint64_t features) const {
  if (!reset()) return false;
  set_status(kAcknowledge | kDriver);
  write<std::uint32_t>(common(kDriverFeatureSelect), 0);
  write<std::uint32_t>(common(kDriverFeature), static_cast<std::uint32_t>(features));
  write<std::uint32_t>(common(kDriverFeatureSelect), 1);
  write<std::uint32_t>(common(kDriverFeature), static_cast<std::uint32_t>(features >> 32));
  set_status(kAcknowledge | kDriver | kFeaturesOk);
  return (status() & kFeaturesOk) != 0;
}

void VirtioDevice::set_up_queue(Rings& rings, std::uint16_t vector, std::uint16_t queue) const {
  write<std::uint16_t>(common(kQueueSelect), queue);
  write<std::uint16_t>(common(kQueueSizeRegister), kQueueSize);
  write<std::uint16_t>(common(kQueueVector), vector);
  write<std::uint32_t>(common(kQueueDesc), static_cast<std::uint32_t>(address_of(rings)));
  write<std::uint32_t>(common(kQueueDesc) + 4, 0);
  write<std::uint32_t>(common(kQueueDriver), static_cast<std::uint32_t>(address_of(rings.avail)));
  write<std::uint32_t>(common(kQueueDriver) + 4, 0);
  write<std::uint32_t>(common(kQueueDevice), static_cast<std::uint32_t>(address_of(rings.used)));
  write<std::uint32_t>(common(kQueueDevice) + 4, 0);
  write<std::uint16_t>(common(kQueueEnable), 1);
}

void VirtioDevice::driver_ok() const {
  set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
}

bool VirtioDevice::start(std::uint64_t features, Rings& rings, std::uint16_t vector) const {
  if (!negotiate(features)) return false;
  set_up_queue(rings, vector);
  driver_ok();
  return true;
}

void VirtioDevice::enable_msix() const {
  unsigned at = find_capability(slot_, 0x11);
  write_config16(slot_, at + 2, 0x8000);
}

void VirtioDevice::set_vector(unsigned vector, std::uint64_t address, std::uint32_t data,
                              bool masked) const {
  unsigned at = find_capability(slot_, 0x11);
  std::uint32_t table = read_config(slot_, at + 4);
  std::uint64_t entry = bar_address(slot_, table & 7) + (table & ~7u) + 16 * vector;
  write<std::uint32_t>(entry, static_cast<std::uint32_t>(address));
  write<std::uint32_t>(entry + 4, static_cast<std::uint32_t>(address >> 32));
  write<std::uint32_t>(entry + 8, data);
  write<std::uint32_t>(entry + 12, masked ? 1 : 0);
}

void Queue::clear() {
  auto* words = reinterpret_cast<volatile std::uint64_t*>(&rings_);
  for (unsigned i = 0; i < (sizeof(Rings::descriptors) + 256) / 8; ++i) words[i] = 0;
  next_used_ = 0;
}

void Queue::set(unsigned index, std::uint64_t address, std::uint32_t length, std::uint16_t flags,
                std::uint16_t next) {
  rings_.descriptors[index] = {address, length, flags, next};
}

void Queue::make_available(std::uint16_t head) {
  std::uint16_t index = rings_.avail.index;
  rings_.avail.entries[index % kQueueSize] = head;
  barrier();
  write<std::uint16_t>(address_of(rings_.avail.index), static_cast<std::uint16_t>(index + 1));
  barrier();
}

void Queue::kick() const {
  if (device_ != nullptr) {
    write<std::uint16_t>(device_->notify(index_), index_);
  } else {
    write<std::uint32_t>(notify_, index_);
  }
}

std::uint16_t Queue::used_index() const {
  return read<std::uint16_t>(address_of(rings_.used.index));
}

bool Queue::wait_used(std::uint32_t* length) {
  if (!wait_until([this] { return used_index() != next_used_; })) return false;
  if (length != nullptr) *length = rings_.used.entries[next_used_ % kQueueSize].length;
  ++next_used_;
  rings_.avail.used_event = next_used_;
  return true;
}

void send_blk(Queue& queue, std::uint32_t type, std::uint64_t sector, void* data,
              std::uint32_t length) {
  header = {type, 0, sector};
  answer = kNoAnswer;
  bool from_device = type == kIn || type == kGetId;
  queue.set(0, address_of(header), sizeof header, kNext, length > 0 ? 1 : 2);
  if (length > 0) {
    auto flags = static_cast<std::uint16_t>(from_device ? kNext | kWrite : kNext);
    queue.set(1, reinterpret_cast<std::uint64_t>(data), length, flags, 2);
  }
  queue.set(2, address_of(answer), 1, kWrite);
  queue.make_available(0);
}

std::uint8_t blk_status() {
  return answer;
}

std::uint8_t run_blk(Queue& queue, std::uint32_t type, std::uint64_t sector, void* data,
                     std::uint32_t length) {
  send_blk(queue, type, sector, data, length);
  queue.kick();
  return queue.wait_used() ? blk_status() : kNoAnswer;
}

}  // namespace guest
