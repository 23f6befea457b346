// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/compressed.h"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

namespace vmm::disk::qcow {
namespace {

// Bits of the offset in a descriptor; the rest up to bit 61 counts further sectors.
std::uint32_t offset_bits(const Geometry& geometry) {
  return 62 - (geometry.cluster_bits - 8);
}

struct FreeInflater {
  void operator()(libdeflate_decompressor* inflater) const {
    libdeflate_free_decompressor(inflater);
  }
};
struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

Unexpected<Error> damaged(const char* what) {
  return fail(ErrorKind::kCorrupt, what);
}

Result<std::size_t> deflate_cluster(std::span<const std::byte> cluster,
                                    std::span<std::byte> packed) {
  z_stream stream{};
  // A window of 4 KiB without header: every reader of the format can undo that.
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    return fail(ErrorKind::kIo, "zlib cannot start");
  }
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
  stream.avail_in = static_cast<uInt>(cluster.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int end = deflate(&stream, Z_FINISH);
  const std::size_t size = packed.size() - stream.avail_out;
  deflateEnd(&stream);
  return end == Z_STREAM_END ? size : 0;
}

}  // namespace

CompressedRange compressed_range(std::uint64_t descriptor, const Geometry& geometry) {
  const std::uint32_t bits = offset_bits(geometry);
  const std::uint64_t offset = descriptor & ((std::uint64_t{1} << bits) - 1);
  const std::uint64_t further_sectors =
      descriptor >> bits & ((std::uint64_t{1} << (geometry.cluster_bits - 8)) - 1);
  return {HostOffset(offset), (further_sectors + 1) * 512 - (offset & 511)};
}

std::uint64_t compressed_descriptor(HostOffset offset, std::uint64_t size,
                                    const Geometry& geometry) {
  const std::uint64_t further_sectors = ((offset.value + size - 1) >> 9) - (offset.value >> 9);
  return std::uint64_t{1} << 62 | further_sectors << offset_bits(geometry) | offset.value;
}

std::uint64_t max_compressed_offset(const Geometry& geometry) {
  return std::min(std::uint64_t{1} << offset_bits(geometry), kMaxOffset);
}

Result<void> decompress(CompressionType type, std::span<const std::byte> packed,
                        std::span<std::byte> cluster) {
  if (type == CompressionType::kZstd) {
    // Behind the frame there may be a neighbour's data.
    const std::size_t frame = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
    if (ZSTD_isError(frame) != 0) return damaged("no whole zstd frame is there");
    const std::size_t size = ZSTD_decompress(cluster.data(), cluster.size(), packed.data(), frame);
    if (ZSTD_isError(size) != 0) return damaged(ZSTD_getErrorName(size));
    if (size != cluster.size()) return damaged("the zstd frame is shorter than a cluster");
    return {};
  }
  thread_local std::unique_ptr<libdeflate_decompressor, FreeInflater> inflater(
      libdeflate_alloc_decompressor());
  if (!inflater) return fail(ErrorKind::kIo, "libdeflate cannot start");
  std::size_t used = 0;
  std::size_t size = 0;
  const libdeflate_result result = libdeflate_deflate_decompress_ex(
      inflater.get(), packed.data(), packed.size(), cluster.data(), cluster.size(), &used, &size);
  if (result != LIBDEFLATE_SUCCESS) return damaged("the deflate stream is damaged");
  if (size != cluster.size()) return damaged("the deflate stream is shorter than a cluster");
  return {};
}

Result<std::size_t> compress(CompressionType type, std::span<const std::byte> cluster,
                             std::span<std::byte> packed) {
  if (type == CompressionType::kZlib) return deflate_cluster(cluster, packed);
  thread_local std::unique_ptr<ZSTD_CCtx, FreeZstd> context(ZSTD_createCCtx());
  if (!context) return fail(ErrorKind::kIo, "zstd cannot start");
  const std::size_t size = ZSTD_compressCCtx(context.get(), packed.data(), packed.size(),
                                             cluster.data(), cluster.size(), 3);
  return ZSTD_isError(size) != 0 ? 0 : size;
}

}  // namespace vmm::disk::qcow
