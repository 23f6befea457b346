// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/fat_directory.h"

#include <algorithm>
#include <array>
#include <utility>

#include "vmm/core/byte_order.h"

namespace vmm::bootfind {
namespace {

constexpr std::size_t kEntrySize = 32;
constexpr std::uint8_t kDeleted = 0xe5, kEnd = 0x00, kKanjiE5 = 0x05;
constexpr std::uint8_t kVolumeLabel = 0x08, kDirectory = 0x10, kLongName = 0x0f;
constexpr std::uint8_t kLastLongEntry = 0x40;
constexpr std::uint8_t kLowerBase = 0x08,
                       kLowerExtension = 0x10;  // as Windows NT and Linux keep it
constexpr std::size_t kUnitsPerEntry = 13, kMaxLongEntries = 20;
constexpr std::size_t kUnitOffsets[kUnitsPerEntry] = {1,  3,  5,  7,  9,  14, 16,
                                                      18, 20, 22, 24, 28, 30};

std::uint8_t byte_at(const std::byte* entry, std::size_t at) {
  return std::to_integer<std::uint8_t>(entry[at]);
}

void append_utf8(std::string& text, std::uint32_t point) {
  auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

std::string utf8(std::span<const std::uint16_t> units) {
  std::string text;
  for (std::size_t i = 0; i < units.size(); ++i) {
    std::uint32_t point = units[i];
    const bool high = point >= 0xd800 && point < 0xdc00;
    if (high && i + 1 < units.size() && units[i + 1] >= 0xdc00 && units[i + 1] < 0xe000) {
      point = 0x10000 + ((point - 0xd800) << 10) + (units[++i] - 0xdc00U);
    } else if (point >= 0xd800 && point < 0xe000) {
      point = 0xfffd;  // half a surrogate pair
    }
    append_utf8(text, point);
  }
  return text;
}

std::uint8_t short_name_checksum(const std::byte* entry) {
  std::uint8_t sum = 0;
  for (std::size_t i = 0; i < 11; ++i) {
    const auto rotated = static_cast<std::uint8_t>((sum << 7) | (sum >> 1));
    sum = static_cast<std::uint8_t>(rotated + byte_at(entry, i));
  }
  return sum;
}

std::string short_part(const std::byte* entry, std::size_t first, std::size_t length, bool lower) {
  std::string part;
  for (std::size_t i = first; i < first + length; ++i) {
    std::uint8_t c = byte_at(entry, i);
    if (i == 0 && c == kKanjiE5) c = 0xe5;
    if (lower && c >= 'A' && c <= 'Z') c = static_cast<std::uint8_t>(c - 'A' + 'a');
    part += static_cast<char>(c);
  }
  part.erase(part.find_last_not_of(' ') + 1);
  return part;
}

std::string short_name(const std::byte* entry) {
  const std::uint8_t flags = byte_at(entry, 12);
  const std::string base = short_part(entry, 0, 8, (flags & kLowerBase) != 0);
  const std::string extension = short_part(entry, 8, 3, (flags & kLowerExtension) != 0);
  return extension.empty() ? base : base + "." + extension;
}

// The long name that the entries before a short one spell, last part first. A sequence that is out
// of order, or whose checksum is another entry's, counts for nothing.
class LongName {
 public:
  void add(const std::byte* entry) {
    const std::uint8_t order = byte_at(entry, 0);
    const std::size_t number = order & 0x1f;
    if ((order & kLastLongEntry) != 0) {
      next_ = number;
      units_.assign(number * kUnitsPerEntry, 0xffff);
      checksum_ = byte_at(entry, 13);
    }
    if (number == 0 || number > kMaxLongEntries || number != next_ ||
        checksum_ != byte_at(entry, 13)) {
      clear();
      return;
    }
    for (std::size_t i = 0; i < kUnitsPerEntry; ++i) {
      units_[(number - 1) * kUnitsPerEntry + i] = load_le<std::uint16_t>(entry + kUnitOffsets[i]);
    }
    --next_;
  }

  std::string take(const std::byte* short_entry) {
    std::string name;
    if (!units_.empty() && next_ == 0 && checksum_ == short_name_checksum(short_entry)) {
      const auto end = std::find_if(units_.begin(), units_.end(),
                                    [](std::uint16_t unit) { return unit == 0 || unit == 0xffff; });
      name = utf8(std::span(units_.begin(), end));
    }
    clear();
    return name;
  }

  void clear() {
    units_.clear();
    next_ = 0;
  }

 private:
  std::vector<std::uint16_t> units_;
  std::size_t next_ = 0;  // the part that must come next; 0: none is missing
  std::uint8_t checksum_ = 0;
};

}  // namespace

std::vector<FatEntry> parse_fat_directory(std::span<const std::byte> bytes) {
  std::vector<FatEntry> entries;
  LongName long_name;
  for (; bytes.size() >= kEntrySize; bytes = bytes.subspan(kEntrySize)) {
    const std::byte* raw = bytes.data();
    const std::uint8_t first = byte_at(raw, 0), attributes = byte_at(raw, 11);
    if (first == kEnd) break;
    if (first == kDeleted) {
      long_name.clear();
    } else if ((attributes & 0x3f) == kLongName) {
      long_name.add(raw);
    } else if ((attributes & kVolumeLabel) != 0 || first == '.') {
      long_name.clear();
    } else {
      FatEntry entry{.name = long_name.take(raw),
                     .short_name = short_name(raw),
                     .directory = (attributes & kDirectory) != 0,
                     .first_cluster = (std::uint32_t{load_le<std::uint16_t>(raw + 20)} << 16) |
                                      load_le<std::uint16_t>(raw + 26),
                     .size = load_le<std::uint32_t>(raw + 28)};
      if (entry.name.empty()) entry.name = entry.short_name;
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

bool same_fat_name(const std::string& a, const std::string& b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace vmm::bootfind
