// SPDX-License-Identifier: Apache-2.0
// A virtio-pci driver with one queue of kQueueSize entries, polled (virtio 1.2, 4.1 and 2.7). Its
// rings and registers are open, so that a hostile guest can be written with it.
#pragma once

#include <cstdint>

namespace guest {

inline constexpr std::uint16_t kQueueSize = 8;
inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kIndirectDesc = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;

inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

inline constexpr std::uint8_t kAcknowledge = 1;
inline constexpr std::uint8_t kDriver = 2;
inline constexpr std::uint8_t kDriverOk = 4;
inline constexpr std::uint8_t kFeaturesOk = 8;
inline constexpr std::uint8_t kNeedsReset = 64;

struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};

struct alignas(4096) Rings {
  Descriptor descriptors[kQueueSize];
  struct {
    std::uint16_t flags, index, entries[kQueueSize], used_event;
  } avail;
  alignas(4) struct {
    std::uint16_t flags, index;
    struct {
      std::uint32_t id, length;
    } entries[kQueueSize];
    std::uint16_t avail_event;
  } used;
};

// Offsets in the common configuration.
enum Common : unsigned {
  kDeviceFeatureSelect = 0,
  kDeviceFeature = 4,
  kDriverFeatureSelect = 8,
  kDriverFeature = 12,
  kConfigVector = 16,
  kNumQueues = 18,
  kStatus = 20,
  kQueueSelect = 22,
  kQueueSizeRegister = 24,
  kQueueVector = 26,
  kQueueEnable = 28,
  kQueueNotifyOff = 30,
  kQueueDesc = 32,
  kQueueDriver = 40,
  kQueueDevice = 48,
};

class VirtioDevice {
 public:
  // Finds the first device of this type (2: block) from `from_slot` on; false where there is none.
  bool find(unsigned type, unsigned from_slot = 1);
  unsigned slot() const { return slot_; }
  std::uint64_t config() const { return config_; }
  std::uint64_t common(unsigned reg) const { return common_ + reg; }
  std::uint64_t notify(unsigned queue = 0) const { return notify_ + queue * notify_step_; }
  std::uint64_t isr() const { return isr_; }

  std::uint8_t status() const;
  void set_status(std::uint8_t status) const;
  std::uint64_t features() const;

  // Writes 0 and waits for it to read 0; false where it does not in time.
  bool reset() const;
  // Resets and negotiates; false where the device refuses.
  bool negotiate(std::uint64_t features) const;
  void set_up_queue(Rings& rings, std::uint16_t vector = 0xffff, std::uint16_t queue = 0) const;
  void driver_ok() const;
  // All of it.
  bool start(std::uint64_t features, Rings& rings, std::uint16_t vector = 0xffff) const;

  void enable_msix() const;
  void set_vector(unsigned vector, std::uint64_t address, std::uint32_t data, bool masked) const;

 private:
  unsigned slot_ = 0;
  std::uint64_t common_ = 0;
  std::uint64_t notify_ = 0;
  std::uint32_t notify_step_ = 0;
  std::uint64_t isr_ = 0;
  std::uint64_t config_ = 0;
};

// The driver's side of the rings.
class Queue {
 public:
  Queue(const VirtioDevice& device, Rings& rings, std::uint16_t index = 0)
      : device_(&device), rings_(rings), index_(index) {}
  // Kicked by a 32-bit store to a register that all queues of a device share (virtio-mmio).
  Queue(std::uint64_t notify, Rings& rings, std::uint16_t index = 0)
      : notify_(notify), rings_(rings), index_(index) {}

  void clear();
  void set(unsigned index, std::uint64_t address, std::uint32_t length, std::uint16_t flags,
           std::uint16_t next = 0);
  void make_available(std::uint16_t head);
  void kick() const;
  // Waits for the next used chain; false where none comes in time.
  bool wait_used(std::uint32_t* length = nullptr);
  std::uint16_t used_index() const;

 private:
  const VirtioDevice* device_ = nullptr;
  std::uint64_t notify_ = 0;
  Rings& rings_;
  const std::uint16_t index_;
  std::uint16_t next_used_ = 0;
};

// A block request in one chain of up to three descriptors, and its answer.
enum BlkType : std::uint32_t {
  kIn = 0,
  kOut = 1,
  kFlush = 4,
  kGetId = 8,
  kDiscard = 11,
  kWriteZeroes = 13,
};
inline constexpr std::uint8_t kBlkOk = 0;
inline constexpr std::uint8_t kBlkIoError = 1;
inline constexpr std::uint8_t kBlkUnsupported = 2;
inline constexpr std::uint8_t kNoAnswer = 0xee;

// Puts the request into descriptors 0 to 2 and makes it available. One at a time.
void send_blk(Queue& queue, std::uint32_t type, std::uint64_t sector, void* data,
              std::uint32_t length);
std::uint8_t blk_status();
// The same with a kick, and waits: its status, or kNoAnswer.
std::uint8_t run_blk(Queue& queue, std::uint32_t type, std::uint64_t sector, void* data,
                     std::uint32_t length);

}  // namespace guest
