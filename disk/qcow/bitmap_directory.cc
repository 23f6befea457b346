// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/bitmap_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "disk/aligned_buffer.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {

namespace {

constexpr std::size_t kExtensionSize = 24;
constexpr std::size_t kEntrySize = 24;  // without extra data and name
constexpr std::uint32_t kMaxBitmaps = 65535;
constexpr std::uint64_t kMaxDirectory = 64 << 20;              // bytes
constexpr std::uint16_t kMaxName = 1023;                       // bytes
constexpr unsigned kMinGranularity = 9, kMaxGranularity = 31;  // powers of two
constexpr std::uint8_t kDirtyTracking = 1;

Unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::kInvalid, "bitmap directory: " + std::move(message));
}

// image-controlled: all of it.
struct Directory {
  std::uint32_t nr_bitmaps = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

Result<Directory> find_directory(const Extension& extension, const Geometry& geometry,
                                 std::uint64_t file_size) {
  if (extension.data.size() < kExtensionSize) return invalid("its header extension is too short");
  const std::byte* at = extension.data.data();
  const Directory found{load_be<std::uint32_t>(at), load_be<std::uint64_t>(at + 8),
                        load_be<std::uint64_t>(at + 16)};
  if (found.nr_bitmaps == 0 || found.nr_bitmaps > kMaxBitmaps) {
    return invalid(fmt::format("{} bitmaps, 1 to {} are possible", found.nr_bitmaps, kMaxBitmaps));
  }
  if (found.size > kMaxDirectory || found.size < found.nr_bitmaps * std::uint64_t{kEntrySize}) {
    return invalid(fmt::format("{} bytes for {} bitmaps", found.size, found.nr_bitmaps));
  }
  if (!geometry.is_cluster_aligned(found.offset) || found.offset == 0 || found.offset > file_size ||
      found.size > file_size - found.offset) {
    return invalid(fmt::format("it cannot be at {:#x}", found.offset));
  }
  return found;
}

// Takes the first entry off `rest`.
Result<Bitmap> take_entry(std::span<const std::byte>& rest) {
  if (rest.size() < kEntrySize) return invalid("it ends inside an entry");
  const std::byte* at = rest.data();
  const auto flags = load_be<std::uint32_t>(at + 12);
  const auto type = std::to_integer<unsigned>(at[16]);
  const auto granularity_bits = std::to_integer<unsigned>(at[17]);
  const auto name_size = load_be<std::uint16_t>(at + 18);
  const auto extra = load_be<std::uint32_t>(at + 20);
  const std::uint64_t used = kEntrySize + std::uint64_t{extra} + name_size;
  if (used > rest.size()) return invalid("it ends inside an entry");
  if (name_size == 0 || name_size > kMaxName || type != kDirtyTracking ||
      granularity_bits < kMinGranularity || granularity_bits > kMaxGranularity) {
    return invalid("an entry has values that mean nothing");
  }
  Bitmap bitmap;
  bitmap.name.assign(reinterpret_cast<const char*>(at) + kEntrySize + extra, name_size);
  bitmap.granularity = std::uint64_t{1} << granularity_bits;
  bitmap.in_use = (flags & 1) != 0;
  bitmap.automatic = (flags & 2) != 0;
  rest = rest.subspan(std::min<std::uint64_t>((used + 7) / 8 * 8, rest.size()));
  return bitmap;
}

}  // namespace

Task<Result<std::vector<Bitmap>>> load_bitmaps(Storage& storage, const Header& header) {
  std::vector<Bitmap> bitmaps;
  const Extension* extension = header.find(ExtensionType::kBitmaps);
  if (extension == nullptr || !header.has(Autoclear::kBitmaps)) co_return bitmaps;
  VMM_CO_TRY(const Directory directory,
             find_directory(*extension, header.geometry, storage.size()));
  AlignedBuffer bytes = AlignedBuffer::zeroed((directory.size + 511) / 512 * 512);
  const iovec whole = bytes.as_iovec();
  VMM_CO_CHECK(co_await storage.readv(directory.offset, IoVec(&whole, 1)));
  std::span<const std::byte> rest = bytes.bytes().first(directory.size);
  for (std::uint32_t i = 0; i < directory.nr_bitmaps; ++i) {
    VMM_CO_TRY(Bitmap bitmap, take_entry(rest));
    bitmaps.push_back(std::move(bitmap));
  }
  co_return bitmaps;
}

}  // namespace vmm::disk::qcow
