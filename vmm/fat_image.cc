// SPDX-License-Identifier: Apache-2.0
#include "vmm/fat_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>

namespace vmm {
namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kSectorsPerCluster = 8;
constexpr std::size_t kCluster = kSector * kSectorsPerCluster;
constexpr std::size_t kNrReserved = 1;  // sectors: the boot sector
constexpr std::size_t kNrFats = 2;
constexpr std::size_t kEntry = 32;         // bytes of a directory entry
constexpr std::size_t kRootEntries = 128;  // of the root directory
constexpr std::size_t kMaxFiles = 16;
constexpr std::size_t kMaxName = 26;        // two entries of a long name
constexpr std::size_t kNameInEntry = 13;    // characters of a long name in one entry
constexpr std::size_t kShortName = 11;      // 8 and 3
constexpr std::size_t kMinClusters = 128;   // readers expect a floppy disk's size rather than less
constexpr std::size_t kMaxClusters = 4084;  // with more it would be taken for FAT16
static_assert(kMaxFatContent / kCluster <= kMaxClusters);

constexpr std::uint8_t kMedia = 0xf8;            // a fixed disk
constexpr std::uint16_t kFirstDay = 1 << 5 | 1;  // 1 January 1980: the same bytes every time
constexpr std::uint8_t kArchive = 0x20, kVolumeLabel = 0x08, kLongName = 0x0f;

class Image {
 public:
  explicit Image(std::size_t nr_clusters)
      : nr_clusters_(std::max(nr_clusters, kMinClusters)),
        fat_sectors_(((nr_clusters_ + 2) * 3 + 2 * kSector - 1) / (2 * kSector)),
        bytes_(nr_sectors() * kSector) {}

  void write_boot_sector(std::string_view label);
  void write_label(std::string_view label);
  void add_file(const FatFile& file, std::size_t number);
  void finish();

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::size_t root_start() const { return kNrReserved + kNrFats * fat_sectors_; }
  std::size_t data_start() const { return root_start() + kRootEntries * kEntry / kSector; }
  std::size_t nr_sectors() const { return data_start() + nr_clusters_ * kSectorsPerCluster; }

  void put8(std::size_t at, std::size_t value) { bytes_[at] = static_cast<std::byte>(value); }
  void put16(std::size_t at, std::size_t value) {
    put8(at, value & 0xff);
    put8(at + 1, value >> 8 & 0xff);
  }
  void put32(std::size_t at, std::size_t value) {
    put16(at, value & 0xffff);
    put16(at + 2, value >> 16);
  }
  void put_text(std::size_t at, std::string_view text, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) {
      put8(at + i, static_cast<unsigned char>(i < text.size() ? text[i] : ' '));
    }
  }
  std::size_t new_entry() { return root_start() * kSector + nr_entries_++ * kEntry; }

  void link(std::size_t cluster, std::size_t next);
  std::size_t store(std::string_view content);
  void write_long_name(const std::string& name, const std::string& short_name);
  void write_entry(const std::string& short_name, std::uint8_t attributes, std::size_t first,
                   std::size_t size);

  const std::size_t nr_clusters_, fat_sectors_;
  std::vector<std::byte> bytes_;
  std::size_t nr_entries_ = 0;
  std::size_t next_cluster_ = 2;  // the first two numbers stand for no cluster
};

void Image::write_boot_sector(std::string_view label) {
  put8(0, 0xeb);  // a jump over the fields
  put8(1, 0x3c);
  put8(2, 0x90);
  put_text(3, "vmm", 8);
  put16(11, kSector);
  put8(13, kSectorsPerCluster);
  put16(14, kNrReserved);
  put8(16, kNrFats);
  put16(17, kRootEntries);
  put16(19, nr_sectors());
  put8(21, kMedia);
  put16(22, fat_sectors_);
  put16(24, 32);   // sectors of a track
  put16(26, 2);    // heads
  put8(36, 0x80);  // the BIOS's number of a first hard disk
  put8(38, 0x29);  // the next three are there
  put32(39, 0x1a2b3c4d);
  put_text(43, label, kShortName);
  put_text(54, "FAT12", 8);
  put16(510, 0xaa55);
}

void Image::write_label(std::string_view label) {
  write_entry(std::string(label), kVolumeLabel, 0, 0);
}

// FAT12 packs two entries into three bytes.
void Image::link(std::size_t cluster, std::size_t next) {
  const std::size_t at = kNrReserved * kSector + cluster * 3 / 2;
  if (cluster % 2 == 0) {
    put8(at, next & 0xff);
    put8(at + 1, (static_cast<std::size_t>(bytes_[at + 1]) & 0xf0) | next >> 8);
  } else {
    put8(at, (static_cast<std::size_t>(bytes_[at]) & 0x0f) | (next & 0xf) << 4);
    put8(at + 1, next >> 4);
  }
}

// One cluster after the other. Gives the first, 0 for no bytes.
std::size_t Image::store(std::string_view content) {
  if (content.empty()) return 0;
  const std::size_t first = next_cluster_;
  const std::size_t count = (content.size() + kCluster - 1) / kCluster;
  std::memcpy(&bytes_[data_start() * kSector + (first - 2) * kCluster], content.data(),
              content.size());
  next_cluster_ += count;
  for (std::size_t i = first; i < next_cluster_; ++i) {
    link(i, i + 1 < next_cluster_ ? i + 1 : 0xfff);
  }
  return first;
}

std::uint8_t checksum(const std::string& short_name) {
  unsigned sum = 0;
  for (unsigned char c : short_name) sum = (((sum & 1) << 7 | sum >> 1) + c) & 0xff;
  return static_cast<std::uint8_t>(sum);
}

// The last part comes first, and each names the short entry that follows by its checksum.
void Image::write_long_name(const std::string& name, const std::string& short_name) {
  constexpr std::size_t kPlaces[kNameInEntry] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
  const std::size_t count = (name.size() + kNameInEntry - 1) / kNameInEntry;
  for (std::size_t part = count; part > 0; --part) {
    const std::size_t at = new_entry();
    put8(at, part | (part == count ? 0x40 : 0));
    put8(at + 11, kLongName);
    put8(at + 13, checksum(short_name));
    for (std::size_t i = 0; i < kNameInEntry; ++i) {
      const std::size_t from = (part - 1) * kNameInEntry + i;
      std::size_t unit = 0xffff;  // behind the final zero
      if (from < name.size()) unit = static_cast<unsigned char>(name[from]);
      if (from == name.size()) unit = 0;
      put16(at + kPlaces[i], unit);
    }
  }
}

void Image::write_entry(const std::string& short_name, std::uint8_t attributes, std::size_t first,
                        std::size_t size) {
  const std::size_t at = new_entry();
  put_text(at, short_name, kShortName);
  put8(at + 11, attributes);
  put16(at + 16, kFirstDay);  // made
  put16(at + 18, kFirstDay);  // read
  put16(at + 24, kFirstDay);  // written
  put16(at + 26, first);
  put32(at + 28, size);
}

// "USER-D~1   ", which only has to be this file's alone.
std::string short_name_of(const std::string& name, std::size_t number) {
  const std::string tail = fmt::format("~{}", number + 1);
  std::string base;
  for (unsigned char c : name) {
    if (base.size() + tail.size() == 8) break;
    base += std::isalnum(c) != 0 ? static_cast<char>(std::toupper(c)) : '_';
  }
  base += tail;
  base.resize(kShortName, ' ');
  return base;
}

void Image::add_file(const FatFile& file, std::size_t number) {
  const std::string short_name = short_name_of(file.name, number);
  write_long_name(file.name, short_name);
  write_entry(short_name, kArchive, store(file.content), file.content.size());
}

void Image::finish() {
  link(0, 0xf00 | kMedia);
  link(1, 0xfff);
  const std::size_t first = kNrReserved * kSector, size = fat_sectors_ * kSector;
  for (std::size_t copy = 1; copy < kNrFats; ++copy) {
    std::memcpy(&bytes_[first + copy * size], &bytes_[first], size);
  }
}

}  // namespace

Result<std::vector<std::byte>> make_fat_image(std::string_view label,
                                              std::span<const FatFile> files) {
  if (label.size() > kShortName || files.size() > kMaxFiles) {
    return fail(ErrorKind::kInvalid, "too long a label, or too many files, for a FAT image");
  }
  std::size_t nr_clusters = 0;
  for (const FatFile& file : files) {
    if (file.name.empty() || file.name.size() > kMaxName) {
      return fail(ErrorKind::kInvalid, fmt::format("'{}' cannot be a file's name here", file.name));
    }
    nr_clusters += (file.content.size() + kCluster - 1) / kCluster;
  }
  if (nr_clusters > kMaxFatContent / kCluster) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{} KiB are too much, {} MiB is the limit",
                            nr_clusters * kCluster >> 10, kMaxFatContent >> 20));
  }
  Image image(nr_clusters);
  image.write_boot_sector(label);
  image.write_label(label);
  for (std::size_t i = 0; i < files.size(); ++i) image.add_file(files[i], i);
  image.finish();
  return image.take();
}

}  // namespace vmm
