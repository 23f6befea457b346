// SPDX-License-Identifier: Apache-2.0
// Serial: a 16550A UART (National Semiconductor PC16550D), as Linux's 8250 driver knows it.
//
// Sits on the port bus with kNrPorts ports (ttyS0: 0x3f8, IRQ 4, edge). Sent bytes reach the sink
// at once, on the vCPU's thread. Received bytes wait in a bounded buffer until the guest raises
// RTS, so that what was typed before the guest opened the port is not lost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>

#include "vmm/core/bus.h"
#include "vmm/core/interrupt.h"

namespace vmm::legacy {

// Where a guest's console output goes.
class ConsoleSink {
 public:
  virtual ~ConsoleSink() = default;
  // Called on vCPU threads, one at a time per device. A sink that blocks holds up that vCPU.
  virtual void write(std::span<const std::byte> bytes) = 0;
};

// A first-in first-out buffer of bytes with a fixed place to live.
template <std::size_t Capacity>
class ByteFifo {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t room() const { return Capacity - size_; }
  void clear() { size_ = 0; }
  void push(std::byte byte) { bytes_[(head_ + size_++) % Capacity] = byte; }
  std::byte pop() {
    std::byte byte = bytes_[head_];
    head_ = (head_ + 1) % Capacity;
    --size_;
    return byte;
  }

 private:
  std::array<std::byte, Capacity> bytes_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

class Serial final : public BusDevice {
 public:
  static constexpr std::uint64_t kNrPorts = 8;
  static constexpr std::size_t kInputBuffer = 4096;  // bytes

  // Both must outlive the device.
  Serial(Interrupt& interrupt, ConsoleSink& output) : interrupt_(interrupt), output_(output) {}

  // From any thread: hands bytes to the guest. Returns how many fitted; keep the rest until
  // `on_input_room` is called.
  std::size_t input(std::span<const std::byte> bytes);
  // Set before vCPUs run: called without locks, on a vCPU's thread, when input() had refused bytes
  // and at least half of the buffer is free again.
  void set_on_input_room(std::function<void()> on_input_room) {
    on_input_room_ = std::move(on_input_room);
  }

  // BusDevice
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  static constexpr std::size_t kFifo = 16;  // bytes

  std::uint8_t read_register(std::uint64_t reg);
  void write_register(std::uint64_t reg, std::uint8_t value);
  void transmit(std::uint8_t value);
  void set_modem_control(std::uint8_t value);
  std::uint8_t modem_status() const;
  std::uint8_t line_status();
  std::uint8_t interrupt_identification();
  std::uint8_t pending_interrupt() const;
  void feed_receiver();
  void update_interrupt();

  bool fifo_enabled() const;
  bool loopback() const;

  Interrupt& interrupt_;
  ConsoleSink& output_;
  std::function<void()> on_input_room_;

  std::mutex mutex_;  // guards what follows
  std::uint8_t ier_ = 0;
  std::uint8_t fcr_ = 0;
  std::uint8_t lcr_ = 0;
  std::uint8_t mcr_ = 0;
  std::uint8_t scr_ = 0;
  std::uint16_t divisor_ = 12;          // 9600 baud; nothing depends on it
  std::uint8_t modem_delta_ = 0;        // the low four bits of MSR
  bool overrun_ = false;                // LSR.OE; only loopback can overrun
  bool transmitter_interrupt_ = false;  // THRE happened and has not been seen in IIR
  bool line_high_ = false;
  bool input_refused_ = false;
  ByteFifo<kFifo> received_;
  ByteFifo<kInputBuffer> waiting_;
};

}  // namespace vmm::legacy
