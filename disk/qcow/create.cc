// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/create.h"

#include <fmt/format.h>

#include <bit>

#include "disk/aligned_buffer.h"
#include "disk/qcow/refcounts.h"
#include "disk/zeroing.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

Unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::kInvalid, std::move(message));
}

Result<Geometry> geometry_for(const FormatOptions& options) {
  if (!std::has_single_bit(options.cluster_size) ||
      options.cluster_size < (1u << kMinClusterBits) ||
      options.cluster_size > (1u << kMaxClusterBits)) {
    return invalid(fmt::format("cluster_size {} must be a power of two between {} and {}",
                               options.cluster_size, 1u << kMinClusterBits, 1u << kMaxClusterBits));
  }
  if (!std::has_single_bit(options.refcount_bits) || options.refcount_bits > 64) {
    return invalid(
        fmt::format("refcount_bits {} must be a power of two, at most 64", options.refcount_bits));
  }
  Geometry geometry;
  geometry.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(options.cluster_size));
  geometry.refcount_order = static_cast<std::uint32_t>(std::countr_zero(options.refcount_bits));
  geometry.extended_l2 = options.extended_l2;
  if (options.extended_l2 && options.cluster_size < 16384) {
    return invalid("extended_l2 needs a cluster_size of at least 16384");
  }
  return geometry;
}

Result<void> check_version_2(const FormatOptions& options) {
  if (options.version == 3) return {};
  if (options.version != 2) return invalid("compat must be 0.10 or 1.1");
  const char* needs_3 = options.refcount_bits != 16  ? "refcount_bits other than 16"
                        : options.lazy_refcounts     ? "lazy_refcounts"
                        : options.extended_l2        ? "extended_l2"
                        : !options.data_file.empty() ? "data_file"
                        : options.compression_type != CompressionType::kZlib
                            ? "compression_type other than zlib"
                            : nullptr;
  if (needs_3 == nullptr) return {};
  return invalid(fmt::format("{} needs compat=1.1 or newer", needs_3));
}

}  // namespace

Result<Header> header_for(const FormatOptions& options) {
  VMM_TRY(Geometry geometry, geometry_for(options));
  VMM_CHECK(check_version_2(options));
  Header header;
  header.version = options.version;
  header.geometry = geometry;
  header.size = options.size;
  const std::uint64_t l1_entries = Header::l1_entries_for(geometry, options.size);
  if (l1_entries * 8 > kMaxL1Bytes) {
    return invalid(fmt::format("a size of {} bytes needs a larger cluster_size than {}",
                               options.size, options.cluster_size));
  }
  header.l1_entries = static_cast<std::uint32_t>(l1_entries);
  if (options.backing_file.size() > kMaxBackingName) {
    return invalid(fmt::format("the backing file's name has {} bytes, at most {} fit",
                               options.backing_file.size(), kMaxBackingName));
  }
  header.backing_file = options.backing_file;
  if (!options.backing_file.empty()) {
    header.set_text(ExtensionType::kBackingFormat, options.backing_format);
  }
  if (options.version == 2) return header;

  if (options.lazy_refcounts) header.compatible |= 1;
  header.set(Incompatible::kExtendedL2, options.extended_l2);
  header.compression_type = options.compression_type;
  header.set(Incompatible::kCompression, options.compression_type != CompressionType::kZlib);
  if (!options.data_file.empty()) {
    if (options.data_file_raw && !options.backing_file.empty()) {
      return invalid("data_file_raw and a backing file exclude each other");
    }
    header.set(Incompatible::kDataFile, true);
    header.set(Autoclear::kRawDataFile, options.data_file_raw);
    header.set_text(ExtensionType::kDataFileName, options.data_file);
  } else if (options.data_file_raw) {
    return invalid("data_file_raw needs a data_file");
  }
  header.extensions.push_back(feature_name_table());
  return header;
}

// Cluster 0 is the header; then the refcount table, its blocks, and the L1 table.
Task<Result<void>> format_image(Storage& storage, const FormatOptions& options) {
  VMM_CO_TRY(Header header, header_for(options));
  const Geometry& geometry = header.geometry;
  const std::uint64_t cluster_size = geometry.cluster_size();
  const std::uint64_t l1_clusters = geometry.clusters_for(std::uint64_t{header.l1_entries} * 8);
  std::uint64_t blocks = 0, table_clusters = 1, all = 0;
  do {
    ++blocks;
    table_clusters = geometry.clusters_for(blocks * 8);
    all = 1 + table_clusters + blocks + l1_clusters;
  } while (blocks * geometry.refblock_entries() < all);
  header.refcount_table_offset = HostOffset(cluster_size);
  header.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  const HostCluster first_block(1 + table_clusters);
  if (l1_clusters > 0) header.l1_offset = geometry.start_of(first_block + blocks);

  AlignedBuffer bytes = AlignedBuffer::zeroed((1 + table_clusters + blocks) * cluster_size);
  VMM_CO_TRY(std::vector<std::byte> encoded, encode_header(header));
  std::copy(encoded.begin(), encoded.end(), bytes.data());
  for (std::uint64_t i = 0; i < blocks; ++i) {
    store_be<std::uint64_t>(bytes.data() + cluster_size + i * 8,
                            geometry.start_of(first_block + i).value);
  }
  // Blocks lie one behind the other, so they are one array of counts.
  for (std::uint64_t i = 0; i < all; ++i) {
    store_refcount(bytes.data() + geometry.start_of(first_block).value, i, geometry.refcount_order,
                   1);
  }
  VMM_CO_CHECK(co_await storage.truncate(0));
  VMM_CO_CHECK(co_await storage.truncate(all * cluster_size));
  if (!storage.fresh_is_zero()) {  // in a file the L1 table is a hole now
    VMM_CO_CHECK(co_await make_zero(storage, header.l1_offset.value, l1_clusters * cluster_size));
  }
  iovec whole = bytes.as_iovec();
  VMM_CO_CHECK(co_await storage.writev(0, IoVec(&whole, 1)));
  co_return co_await storage.sync();
}

}  // namespace vmm::disk::qcow
