// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/serial.h"

#include <algorithm>

namespace vmm::legacy {
namespace {

// Register numbers; some mean another register when read, or while LCR.DLAB is set.
enum Register : std::uint64_t {
  kData = 0,             // RBR and THR; DLL
  kInterruptEnable = 1,  // IER; DLM
  kInterruptIdentification = 2,
  kFifoControl = 2,
  kLineControl = 3,
  kModemControl = 4,
  kLineStatus = 5,
  kModemStatus = 6,
  kScratch = 7,
};

constexpr std::uint8_t kIerReceived = 0x01;
constexpr std::uint8_t kIerTransmitter = 0x02;
constexpr std::uint8_t kIerLineStatus = 0x04;
constexpr std::uint8_t kIerModemStatus = 0x08;

constexpr std::uint8_t kIirNone = 0x01;
constexpr std::uint8_t kIirModemStatus = 0x00;
constexpr std::uint8_t kIirTransmitter = 0x02;
constexpr std::uint8_t kIirReceived = 0x04;
constexpr std::uint8_t kIirLineStatus = 0x06;
constexpr std::uint8_t kIirFifosEnabled = 0xc0;

constexpr std::uint8_t kFcrEnable = 0x01;
constexpr std::uint8_t kFcrClearReceiver = 0x02;

constexpr std::uint8_t kLcrDivisorLatch = 0x80;

constexpr std::uint8_t kMcrRequestToSend = 0x02;
constexpr std::uint8_t kMcrLoopback = 0x10;

constexpr std::uint8_t kLsrDataReady = 0x01;
constexpr std::uint8_t kLsrOverrun = 0x02;
// Bytes leave at once, so both the holding register and the shifter are always empty.
constexpr std::uint8_t kLsrTransmitterEmpty = 0x60;

constexpr std::uint8_t kMsrRingEnded = 0x04;  // the delta bit of RI: trailing edge only
constexpr std::uint8_t kMsrConnected = 0xb0;  // CTS, DSR, DCD

}  // namespace

bool Serial::fifo_enabled() const {
  return (fcr_ & kFcrEnable) != 0;
}
bool Serial::loopback() const {
  return (mcr_ & kMcrLoopback) != 0;
}

std::size_t Serial::input(std::span<const std::byte> bytes) {
  std::lock_guard lock(mutex_);
  std::size_t taken = std::min(bytes.size(), waiting_.room());
  for (std::byte byte : bytes.first(taken)) waiting_.push(byte);
  if (taken < bytes.size()) input_refused_ = true;
  feed_receiver();
  update_interrupt();
  return taken;
}

void Serial::read(std::uint64_t offset, std::span<std::byte> data) {
  bool has_room = false;
  {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < data.size(); ++i) {
      data[i] = std::byte{read_register(offset + i)};
    }
    update_interrupt();
    if (input_refused_ && waiting_.size() <= kInputBuffer / 2) {
      input_refused_ = false;
      has_room = true;
    }
  }
  if (has_room && on_input_room_) on_input_room_();
}

void Serial::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < data.size(); ++i) {
    write_register(offset + i, std::to_integer<std::uint8_t>(data[i]));
  }
  update_interrupt();
}

std::uint8_t Serial::read_register(std::uint64_t reg) {
  bool divisor_latch = (lcr_ & kLcrDivisorLatch) != 0;
  switch (reg) {
    case kData: {
      if (divisor_latch) return static_cast<std::uint8_t>(divisor_);
      if (received_.empty()) return 0;
      auto value = std::to_integer<std::uint8_t>(received_.pop());
      feed_receiver();
      return value;
    }
    case kInterruptEnable:
      return divisor_latch ? static_cast<std::uint8_t>(divisor_ >> 8) : ier_;
    case kInterruptIdentification:
      return interrupt_identification();
    case kLineControl:
      return lcr_;
    case kModemControl:
      return mcr_;
    case kLineStatus:
      return line_status();
    case kModemStatus: {
      std::uint8_t value = modem_status() | modem_delta_;
      modem_delta_ = 0;
      return value;
    }
    default:
      return scr_;
  }
}

void Serial::write_register(std::uint64_t reg, std::uint8_t value) {
  bool divisor_latch = (lcr_ & kLcrDivisorLatch) != 0;
  switch (reg) {
    case kData:
      if (divisor_latch) {
        divisor_ = static_cast<std::uint16_t>((divisor_ & 0xff00) | value);
      } else {
        transmit(value);
      }
      break;
    case kInterruptEnable:
      if (divisor_latch) {
        divisor_ = static_cast<std::uint16_t>((divisor_ & 0x00ff) | value << 8);
        break;
      }
      // Enabling it while the transmitter is empty interrupts at once: this is how drivers start to
      // send.
      if ((value & ~ier_ & kIerTransmitter) != 0) transmitter_interrupt_ = true;
      ier_ = value & 0x0f;
      break;
    case kFifoControl:
      // Changing the mode empties the FIFO too.
      if ((value & kFcrClearReceiver) != 0 || ((value ^ fcr_) & kFcrEnable) != 0) {
        received_.clear();
      }
      fcr_ = value;
      feed_receiver();
      break;
    case kLineControl:
      lcr_ = value;
      break;
    case kModemControl:
      set_modem_control(value);
      break;
    case kScratch:
      scr_ = value;
      break;
    default:
      break;  // LSR and MSR are read-only
  }
}

void Serial::transmit(std::uint8_t value) {
  std::byte byte{value};
  if (!loopback()) {
    output_.write(std::span(&byte, 1));
  } else if (received_.size() < (fifo_enabled() ? kFifo : 1)) {
    received_.push(byte);
  } else {
    overrun_ = true;
  }
  transmitter_interrupt_ = true;  // it is empty again
}

void Serial::set_modem_control(std::uint8_t value) {
  std::uint8_t before = modem_status();
  mcr_ = value & 0x1f;
  std::uint8_t after = modem_status();
  auto changed = static_cast<std::uint8_t>((before ^ after) >> 4);
  // RI counts only when it goes away.
  if ((before & ~after & 0x40) == 0) changed &= static_cast<std::uint8_t>(~kMsrRingEnded);
  modem_delta_ |= changed;
  feed_receiver();
}

std::uint8_t Serial::modem_status() const {
  if (!loopback()) return kMsrConnected;
  // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
  unsigned mcr = mcr_;
  return static_cast<std::uint8_t>((mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 0x0c) << 4);
}

std::uint8_t Serial::line_status() {
  std::uint8_t value = kLsrTransmitterEmpty;
  if (!received_.empty()) value |= kLsrDataReady;
  if (overrun_) value |= kLsrOverrun;
  overrun_ = false;
  return value;
}

std::uint8_t Serial::pending_interrupt() const {
  if (overrun_ && (ier_ & kIerLineStatus) != 0) return kIirLineStatus;
  if (!received_.empty() && (ier_ & kIerReceived) != 0) return kIirReceived;
  if (transmitter_interrupt_ && (ier_ & kIerTransmitter) != 0) return kIirTransmitter;
  if (modem_delta_ != 0 && (ier_ & kIerModemStatus) != 0) return kIirModemStatus;
  return kIirNone;
}

std::uint8_t Serial::interrupt_identification() {
  std::uint8_t value = pending_interrupt();
  if (value == kIirTransmitter) transmitter_interrupt_ = false;
  if (fifo_enabled()) value |= kIirFifosEnabled;
  return value;
}

void Serial::feed_receiver() {
  if (loopback() || (mcr_ & kMcrRequestToSend) == 0) return;
  std::size_t depth = fifo_enabled() ? kFifo : 1;
  while (received_.size() < depth && !waiting_.empty()) received_.push(waiting_.pop());
}

void Serial::update_interrupt() {
  bool high = pending_interrupt() != kIirNone;
  // Edge-triggered: drivers read IIR until nothing is pending, so a line that stays high is seen.
  if (high && !line_high_) interrupt_.signal();
  line_high_ = high;
}

}  // namespace vmm::legacy
