// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/fat_file_system.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "vmm/bootfind/fat_directory.h"
#include "vmm/bootfind/source.h"
#include "vmm/core/byte_order.h"

namespace vmm::bootfind {
namespace {

constexpr std::size_t kBootSector = 512;
constexpr std::size_t kEntrySize = 32;
constexpr std::size_t kMaxDirectoryBytes = 2 << 20;  // 65536 entries, FAT's own limit
constexpr unsigned kMaxDepth = 32;

// Where things lie, in bytes. All of it was checked against the source's size.
struct Layout {
  unsigned fat_bits = 0;  // 12, 16 or 32
  std::uint32_t cluster_size = 0;
  std::uint32_t nr_clusters = 0;  // numbered from 2
  std::uint64_t fat = 0, fat_size = 0;
  std::uint64_t root = 0, root_size = 0;  // the fixed root directory of FAT12 and FAT16
  std::uint64_t data = 0;
  std::uint32_t root_cluster = 0;  // FAT32
  std::string uuid;
};

// FAT's type follows from the number of clusters and from nothing else.
unsigned fat_bits_for(std::uint64_t nr_clusters) {
  if (nr_clusters < 4085) return 12;
  return nr_clusters < 65525 ? 16 : 32;
}

std::optional<Layout> read_layout(Source& source) {
  std::array<std::byte, kBootSector> raw;
  if (!source.read(0, raw)) return std::nullopt;
  auto u8 = [&](std::size_t at) { return std::to_integer<std::uint32_t>(raw[at]); };
  auto u16 = [&](std::size_t at) { return std::uint64_t{load_le<std::uint16_t>(&raw[at])}; };
  auto u32 = [&](std::size_t at) { return std::uint64_t{load_le<std::uint32_t>(&raw[at])}; };
  if (u16(510) != 0xaa55 || (u8(0) != 0xeb && u8(0) != 0xe9)) return std::nullopt;

  const std::uint64_t sector = u16(11), per_cluster = u8(13), reserved = u16(14), nr_fats = u8(16);
  const bool good = (sector == 512 || sector == 1024 || sector == 2048 || sector == 4096) &&
                    std::has_single_bit(per_cluster) && reserved > 0 && nr_fats > 0 && nr_fats <= 4;
  if (!good) return std::nullopt;
  const std::uint64_t nr_sectors = u16(19) != 0 ? u16(19) : u32(32);
  const std::uint64_t fat_sectors = u16(22) != 0 ? u16(22) : u32(36);
  const std::uint64_t root_sectors = (u16(17) * kEntrySize + sector - 1) / sector;
  const std::uint64_t data_sector = reserved + nr_fats * fat_sectors + root_sectors;
  if (fat_sectors == 0 || data_sector >= nr_sectors || nr_sectors > source.size() / sector) {
    return std::nullopt;
  }

  Layout layout;
  const std::uint64_t nr_clusters = (nr_sectors - data_sector) / per_cluster;
  layout.fat_bits = fat_bits_for(nr_clusters);
  layout.cluster_size = static_cast<std::uint32_t>(sector * per_cluster);
  layout.fat = reserved * sector;
  layout.fat_size = fat_sectors * sector;
  layout.root = (reserved + nr_fats * fat_sectors) * sector;
  layout.root_size = u16(17) * kEntrySize;
  layout.data = data_sector * sector;
  // Clusters that the table has no room for do not exist.
  const std::uint64_t nr_entries = layout.fat_size * 8 / layout.fat_bits;
  if (nr_entries < 3) return std::nullopt;
  layout.nr_clusters = static_cast<std::uint32_t>(std::min(nr_clusters, nr_entries - 2));
  const bool fat32 = layout.fat_bits == 32;
  if (fat32) layout.root_cluster = static_cast<std::uint32_t>(u32(44));
  if (fat32 != (layout.root_size == 0)) return std::nullopt;
  const std::uint64_t serial = u32(fat32 ? 67 : 39);
  layout.uuid = fmt::format("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
  return layout;
}

// Contiguous bytes of a file or directory.
struct Run {
  std::uint64_t offset, length;
};

class FatFile : public File {
 public:
  FatFile(Source& source, std::vector<Run> runs, std::uint64_t size)
      : source_(source), runs_(std::move(runs)), size_(size) {}

  std::uint64_t size() const override { return size_; }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    if (!lies_inside(offset, to.size(), size_)) {
      return fail(ErrorKind::kOutOfRange, "a read beyond the end of a file");
    }
    for (const Run& run : runs_) {
      if (to.empty()) break;
      if (offset >= run.length) {
        offset -= run.length;
        continue;
      }
      const auto length = std::min<std::uint64_t>(to.size(), run.length - offset);
      VMM_CHECK(source_.read(run.offset + offset, to.first(length)));
      to = to.subspan(length);
      offset = 0;
    }
    return {};
  }

 private:
  Source& source_;
  const std::vector<Run> runs_;
  const std::uint64_t size_;
};

class FatFileSystem : public FileSystem {
 public:
  FatFileSystem(Source& source, Layout layout) : source_(source), layout_(std::move(layout)) {}

  const char* type() const override { return "vfat"; }
  const std::string& uuid() const override { return layout_.uuid; }

  Result<std::unique_ptr<File>> open(const std::string& path) override {
    VMM_TRY(FatEntry entry, find(path));
    if (entry.directory) return fail(ErrorKind::kNotFound, path + ": not a regular file");
    VMM_TRY(std::vector<Run> runs, chain(entry.first_cluster, entry.size));
    return std::unique_ptr<File>(std::make_unique<FatFile>(source_, std::move(runs), entry.size));
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    VMM_TRY(FatEntry directory, find(path));
    VMM_TRY(std::vector<FatEntry> entries, entries_of(directory));
    std::vector<std::string> names;
    for (FatEntry& entry : entries) {
      if (names.size() >= kMaxNames) break;
      names.push_back(std::move(entry.name));
    }
    return names;
  }

  bool has_directory(const std::string& path) override {
    Result<FatEntry> entry = find(path);
    return entry && entry->directory;
  }

 private:
  // The root directory of FAT12 and FAT16 has no cluster: 0 stands for it.
  FatEntry root() const {
    return {
        .name = "/", .short_name = "/", .directory = true, .first_cluster = layout_.root_cluster};
  }

  Result<FatEntry> find(const std::string& path) {
    if (path.size() > kMaxPath) return fail(ErrorKind::kInvalid, "a path is too long");
    FatEntry at = root();
    unsigned depth = 0;
    for (std::size_t start = 0; start < path.size();) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      const std::string name = path.substr(start, end - start);
      start = end + 1;
      if (name.empty() || name == ".") continue;
      if (!at.directory || ++depth > kMaxDepth) return missing(path);
      VMM_TRY(std::vector<FatEntry> entries, entries_of(at));
      auto found = std::find_if(entries.begin(), entries.end(), [&](const FatEntry& entry) {
        return same_fat_name(entry.name, name) || same_fat_name(entry.short_name, name);
      });
      if (found == entries.end()) return missing(path);
      at = std::move(*found);
    }
    return at;
  }

  static Unexpected<Error> missing(const std::string& path) {
    return fail(ErrorKind::kNotFound, path + ": not found");
  }

  Result<std::vector<FatEntry>> entries_of(const FatEntry& directory) {
    if (!directory.directory) return fail(ErrorKind::kNotFound, "not a directory");
    std::vector<Run> runs;
    if (directory.first_cluster == 0) {
      runs.push_back({layout_.root, layout_.root_size});
    } else {
      VMM_TRY(runs, chain(directory.first_cluster, std::nullopt));
    }
    std::vector<std::byte> bytes;
    for (const Run& run : runs) {
      const std::size_t old_size = bytes.size();
      const auto length = std::min<std::uint64_t>(run.length, kMaxDirectoryBytes - old_size);
      bytes.resize(old_size + length);
      VMM_CHECK(source_.read(run.offset, std::span(bytes).subspan(old_size)));
    }
    return parse_fat_directory(bytes);
  }

  // The runs of the chain that starts at `cluster`: as many bytes as `size` says, or up to the
  // chain's end or a directory's limit. A chain that comes back to itself is longer than its limit.
  Result<std::vector<Run>> chain(std::uint32_t cluster, std::optional<std::uint64_t> size) {
    std::vector<Run> runs;
    std::uint64_t left = size.value_or(kMaxDirectoryBytes);
    for (std::uint32_t count = 0; left > 0; ++count) {
      if (count > layout_.nr_clusters)
        return fail(ErrorKind::kInvalid, "a cluster chain is a loop");
      if (cluster < 2 || cluster - 2 >= layout_.nr_clusters) {
        if (!size && cluster >= 2) break;  // the end mark
        return fail(ErrorKind::kInvalid, "a cluster chain ends too early");
      }
      const std::uint64_t offset = layout_.data + std::uint64_t{cluster - 2} * layout_.cluster_size;
      const auto length = std::min<std::uint64_t>(left, layout_.cluster_size);
      if (!runs.empty() && runs.back().offset + runs.back().length == offset) {
        runs.back().length += length;
      } else {
        runs.push_back({offset, length});
      }
      left -= length;
      if (left > 0) {
        VMM_TRY(cluster, next(cluster));
      }
    }
    return runs;
  }

  Result<std::uint32_t> next(std::uint32_t cluster) {
    std::byte raw[4]{};
    const std::uint64_t at = std::uint64_t{cluster} * layout_.fat_bits / 8;
    const std::size_t length = layout_.fat_bits == 32 ? 4 : 2;
    VMM_CHECK(source_.read(layout_.fat + at, std::span(raw).first(length)));
    const auto value = load_le<std::uint32_t>(raw);
    if (layout_.fat_bits == 32) return value & 0x0fffffff;
    if (layout_.fat_bits == 16) return value;
    return (cluster % 2 == 0 ? value : value >> 4) & 0xfff;
  }

  Source& source_;
  const Layout layout_;
};

}  // namespace

bool is_fat(Source& source) {
  return read_layout(source).has_value();
}

Result<std::unique_ptr<FileSystem>> open_fat(Source& source) {
  std::optional<Layout> layout = read_layout(source);
  if (!layout) return fail(ErrorKind::kInvalid, "the FAT boot sector contradicts itself");
  return std::unique_ptr<FileSystem>(std::make_unique<FatFileSystem>(source, std::move(*layout)));
}

}  // namespace vmm::bootfind
