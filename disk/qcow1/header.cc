// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow1/header.h"

#include <fmt/core.h>

#include <cstring>
#include <limits>
#include <vector>

#include "disk/aligned_buffer.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow1 {
namespace {

constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::uint32_t kAes = 1;
// The tables that are in memory as a whole bound the virtual size.
constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max();

struct RawHeader {
  Be32 magic;
  Be32 version;
  Be64 backing_file_offset;
  Be32 backing_file_size;
  Be32 mtime;
  Be64 size;
  std::uint8_t cluster_bits;
  std::uint8_t l2_bits;
  std::uint8_t unused[2];
  Be32 crypt_method;
  Be64 l1_table_offset;
};
static_assert(sizeof(RawHeader) == kHeaderBytes);

template <class T>
Unexpected<Error> out_of_range(const char* field, T value, const char* what) {
  return fail(ErrorKind::kInvalid, fmt::format("header: {} is {}: {}", field, value, what));
}

// image-controlled
Result<Header> decode(const RawHeader& raw, std::uint64_t file_size) {
  if (raw.magic != kMagic || raw.version != 1) {
    return fail(ErrorKind::kInvalid, "not a qcow image of version 1");
  }
  if (raw.crypt_method != 0) {
    return fail(ErrorKind::kUnsupported,
                raw.crypt_method == kAes
                    ? std::string("AES encryption is not supported")
                    : fmt::format("encryption method {} is not supported", +raw.crypt_method));
  }
  Header header;
  header.size = raw.size;
  header.cluster_bits = raw.cluster_bits;
  header.l2_bits = raw.l2_bits;
  header.l1_offset = raw.l1_table_offset;
  if (header.size <= 1 || header.size > kMaxSize) {
    return out_of_range("size", header.size, "at least 2 and at most 2^63 - 1 bytes are expected");
  }
  if (header.cluster_bits < kMinClusterBits || header.cluster_bits > kMaxClusterBits) {
    return out_of_range("cluster_bits", header.cluster_bits, "9 to 16 are expected");
  }
  if (header.l2_bits < kMinL2Bits || header.l2_bits > kMaxL2Bits) {
    return out_of_range("l2_bits", header.l2_bits, "6 to 13 are expected");
  }
  if (header.l1_entries() > kMaxL1Bytes / 8) {
    return out_of_range("size", header.size, "it needs an L1 table of more than 32 MiB");
  }
  if (header.l1_offset < kHeaderBytes || header.l1_offset > file_size ||
      header.l1_entries() * 8 > file_size - header.l1_offset) {
    return out_of_range("l1_table_offset", header.l1_offset,
                        "the table does not lie inside the file");
  }
  // Whole sectors are what a guest sees.
  header.size = header.size / 512 * 512;
  return header;
}

}  // namespace

Task<Result<Header>> read_header(Storage& storage) {
  RawHeader raw;
  iovec whole{&raw, sizeof raw};
  VMM_CO_CHECK(co_await storage.readv(0, IoVec(&whole, 1)));
  VMM_CO_TRY(Header header, decode(raw, storage.size()));
  const std::uint64_t name_offset = raw.backing_file_offset;
  const std::uint32_t name_size = raw.backing_file_size;
  if (name_offset == 0) co_return header;
  if (name_size > kMaxBackingName || name_offset > storage.size() ||
      name_size > storage.size() - name_offset) {
    co_return fail(
        ErrorKind::kInvalid,
        fmt::format("header: backing_file_size is {} at {:#x}: at most 1023 bytes inside "
                    "the file are expected",
                    name_size, name_offset));
  }
  header.backing_file.resize(name_size);
  iovec name{header.backing_file.data(), name_size};
  VMM_CO_CHECK(co_await storage.readv(name_offset, IoVec(&name, 1)));
  co_return header;
}

Result<Header> header_for(std::uint64_t size, const std::string& backing_file) {
  Header header;
  header.size = size;
  header.backing_file = backing_file;
  // With a backing file nothing but the sectors that a guest writes is copied.
  header.cluster_bits = backing_file.empty() ? 12 : 9;
  header.l2_bits = backing_file.empty() ? 9 : 12;
  header.l1_offset = (kHeaderBytes + backing_file.size() + 7) / 8 * 8;
  if (size <= 1 || size > kMaxSize || header.l1_entries() > kMaxL1Bytes / 8) {
    return fail(ErrorKind::kInvalid, fmt::format("a qcow image cannot have {} bytes", size));
  }
  if (backing_file.size() > kMaxBackingName) {
    return fail(ErrorKind::kInvalid, "the backing file's name is longer than 1023 bytes");
  }
  return header;
}

Task<Result<void>> format_image(Storage& storage, const Header& header) {
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = 1;
  raw.size = header.size;
  raw.cluster_bits = static_cast<std::uint8_t>(header.cluster_bits);
  raw.l2_bits = static_cast<std::uint8_t>(header.l2_bits);
  raw.l1_table_offset = header.l1_offset;
  if (!header.backing_file.empty()) {
    raw.backing_file_offset = kHeaderBytes;
    raw.backing_file_size = static_cast<std::uint32_t>(header.backing_file.size());
  }
  // Other programs read whole sectors of the L1 table.
  const std::uint64_t l1_bytes = (header.l1_entries() * 8 + 511) / 512 * 512;
  AlignedBuffer image = AlignedBuffer::zeroed(header.l1_offset + l1_bytes);
  std::memcpy(image.data(), &raw, sizeof raw);
  std::memcpy(image.data() + kHeaderBytes, header.backing_file.data(), header.backing_file.size());
  iovec whole = image.as_iovec();
  VMM_CO_CHECK(co_await storage.writev(0, IoVec(&whole, 1)));
  co_return co_await storage.sync();
}

}  // namespace vmm::disk::qcow1
