// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/cmos_rtc.h"

#include <chrono>

namespace vmm::legacy {
namespace {

enum Register : std::uint8_t {
  kSeconds = 0x00,
  kMinutes = 0x02,
  kHours = 0x04,
  kDayOfWeek = 0x06,
  kDayOfMonth = 0x07,
  kMonth = 0x08,
  kYear = 0x09,
  kStatusA = 0x0a,
  kStatusB = 0x0b,
  kStatusC = 0x0c,
  kStatusD = 0x0d,
};

constexpr std::uint8_t kUpdateInProgress = 0x80;  // status A
constexpr std::uint8_t kDividerAndRate = 0x26;    // status A: 32.768 kHz, 1024 Hz
constexpr std::uint8_t kBinary = 0x04;            // status B: DM
constexpr std::uint8_t kMode24Hours = 0x02;       // status B
constexpr std::uint8_t kTimeValid = 0x80;         // status D: VRT

}  // namespace

CmosRtc::CmosRtc(std::function<std::time_t()> now) : now_(std::move(now)) {
  memory_[kStatusA] = kDividerAndRate;
  memory_[kStatusB] = kMode24Hours;
  memory_[kStatusD] = kTimeValid;
}

void CmosRtc::read(std::uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < data.size(); ++i) {
    bool is_data = offset + i == 1;
    data[i] = std::byte{is_data ? read_register(index_) : std::uint8_t{0xff}};
  }
}

void CmosRtc::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < data.size(); ++i) {
    auto value = std::to_integer<std::uint8_t>(data[i]);
    if (offset + i == 0) {
      index_ = value & 0x7f;  // bit 7 masks NMIs
    } else if (index_ == kStatusA) {
      memory_[index_] = value & static_cast<std::uint8_t>(~kUpdateInProgress);
    } else if (index_ == kStatusB) {
      memory_[index_] = value | kMode24Hours;
    } else if (index_ != kStatusC && index_ != kStatusD) {
      memory_[index_] = value;
    }
  }
}

std::uint8_t CmosRtc::encode(int value) const {
  bool binary = (memory_[kStatusB] & kBinary) != 0;
  return static_cast<std::uint8_t>(binary ? value : value / 10 * 16 + value % 10);
}

std::uint8_t CmosRtc::read_register(std::uint8_t index) const {
  // Not gmtime_r(): it reads the host's time zone from a file, which a vCPU's thread may not.
  namespace chrono = std::chrono;
  const chrono::sys_seconds now{chrono::seconds(now_())};
  const auto today = chrono::floor<chrono::days>(now);
  const chrono::year_month_day date(today);
  const chrono::hh_mm_ss time(now - today);
  switch (index) {
    case kSeconds:
      return encode(static_cast<int>(time.seconds().count()));
    case kMinutes:
      return encode(static_cast<int>(time.minutes().count()));
    case kHours:
      return encode(static_cast<int>(time.hours().count()));
    case kDayOfWeek:
      return encode(static_cast<int>(chrono::weekday(today).c_encoding()) + 1);
    case kDayOfMonth:
      return encode(static_cast<int>(unsigned{date.day()}));
    case kMonth:
      return encode(static_cast<int>(unsigned{date.month()}));
    case kYear:
      return encode(int{date.year()} % 100);
    case kCenturyRegister:
      return encode(int{date.year()} / 100);
    case kStatusC:
      return 0;  // no interrupt happened
    default:
      return memory_[index];
  }
}

}  // namespace vmm::legacy
