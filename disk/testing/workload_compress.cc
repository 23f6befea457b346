// SPDX-License-Identifier: Apache-2.0
// Compressed clusters, made from data clusters of a closed image.
#include <algorithm>
#include <optional>
#include <random>
#include <span>

#include "disk/qcow/compressed.h"
#include "disk/qcow/header.h"
#include "disk/qcow/mapping.h"
#include "disk/qcow/refcounts.h"
#include "disk/testing/workload.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk {
namespace {

struct Packer {
  std::vector<std::byte>& image;
  qcow::Header header;
  // The host cluster that still has room behind its first compressed cluster.
  std::optional<std::uint64_t> open_host;
  std::uint64_t used = 0;

  std::uint64_t be64(std::uint64_t at) const { return load_be<std::uint64_t>(image.data() + at); }

  void set_refcount(std::uint64_t cluster, std::uint64_t value) {
    const qcow::Geometry& geometry = header.geometry;
    const std::uint64_t per_block = geometry.refblock_entries();
    const std::uint64_t block = be64(header.refcount_table_offset.value + cluster / per_block * 8);
    qcow::store_refcount(image.data() + block, cluster % per_block, geometry.refcount_order, value);
  }

  void compress_entry(std::uint64_t entry_at) {
    const qcow::Geometry& geometry = header.geometry;
    const std::uint64_t size = geometry.cluster_size();
    const std::uint64_t host = be64(entry_at) & qcow::kOffsetMask;
    std::vector<std::byte> cluster(size);
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(host),
                std::min<std::uint64_t>(size, image.size() - host), cluster.begin());
    std::vector<std::byte> packed(size);
    Result<std::size_t> length = qcow::compress(header.compression_type, cluster, packed);
    if (!length || *length == 0 || *length > size) return;
    std::uint64_t at = host;
    if (open_host && *open_host != host && used + *length <= size) {
      at = *open_host + used;
      set_refcount(*open_host >> geometry.cluster_bits, 2);
      set_refcount(host >> geometry.cluster_bits, 0);
      open_host.reset();
    } else {
      open_host = host;
      used = *length;
    }
    std::copy_n(packed.begin(), *length, image.begin() + static_cast<std::ptrdiff_t>(at));
    store_be<std::uint64_t>(image.data() + entry_at,
                            qcow::compressed_descriptor(qcow::HostOffset(at), *length, geometry));
  }
};

}  // namespace

void compress_clusters(std::vector<std::byte>& image, std::uint64_t seed) {
  Result<qcow::Header> header =
      qcow::decode_header(std::span<const std::byte>(image).first(
                              std::min<std::size_t>(image.size(), std::size_t{1} << 16)),
                          image.size());
  if (!header) return;
  image.resize((image.size() + header->geometry.cluster_mask()) & ~header->geometry.cluster_mask());
  Packer packer{image, *header, std::nullopt, 0};
  std::mt19937_64 random(seed);
  for (std::uint32_t i = 0; i < header->l1_entries; ++i) {
    const std::uint64_t table = packer.be64(header->l1_offset.value + i * 8) & qcow::kOffsetMask;
    for (std::uint64_t j = 0; table != 0 && j < header->geometry.l2_entries(); ++j) {
      const std::uint64_t entry = packer.be64(table + j * 8);
      const bool data = (entry & qcow::kCopied) != 0 && (entry & qcow::kZeroFlag) == 0;
      if (data && random() % 3 != 0) packer.compress_entry(table + j * 8);
    }
  }
}

}  // namespace vmm::disk
