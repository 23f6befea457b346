// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/opened_image.h"

#include <fmt/core.h>

#include <algorithm>

#include "disk/file_storage.h"
#include "disk/open_disk.h"
#include "disk/qcow/compressed.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "disk/raw_disk.h"
#include "disk/writethrough_disk.h"
#include "vmm/io/iovec.h"
#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes

Result<std::uint64_t> size_option(const std::string& name, const std::string& value) {
  const Result<std::uint64_t> size = parse_size(value);
  if (!size) return fail(ErrorKind::kInvalid, fmt::format("{}: {}", name, size.error().message()));
  return *size;
}

Result<void> apply_driver_options(const ImageOptions& from, disk::DiskOptions& to) {
  for (const auto& [name, value] : from.driver_options) {
    if (name == "l2-cache-size") {
      VMM_TRY(to.l2_cache_size, size_option(name, value));
    } else if (name == "l2-cache-entry-size") {
      VMM_TRY(const std::uint64_t size, size_option(name, value));
      to.l2_cache_entry_size =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(size, UINT32_MAX));
    } else if (name == "refcount-cache-size") {
      VMM_TRY(to.refcount_cache_size, size_option(name, value));
    } else if (name == "backing") {
      if (value != "on" && value != "off") {
        return fail(ErrorKind::kInvalid, "backing expects on or off");
      }
      to.backing = value == "on" ? disk::BackingPolicy::kOpen : disk::BackingPolicy::kIgnore;
    } else if (name == "lazy-refcounts" || name.starts_with("pass-discard-") ||
               name == "cache-clean-interval" || name.starts_with("overlap-check")) {
      // Known, and without an effect: the engine always keeps refcounts and checks for overlaps.
    } else if (name == "detect-zeroes") {
      to.detect_zeroes = value == "on" || value == "unmap";
    } else {
      return fail(ErrorKind::kInvalid, fmt::format("'{}' is not an option of an image", name));
    }
  }
  return {};
}

Result<disk::DiskOptions> disk_options(const ImageOptions& options) {
  disk::DiskOptions result;
  result.path = options.path;
  if (!options.format.empty()) {
    VMM_TRY(result.format, disk::parse_format(options.format));
  }
  if (options.force_share && !options.read_only) {
    return fail(ErrorKind::kInvalid, "force-share=on can only be used with read-only images");
  }
  result.read_only = options.read_only;
  result.lock = !options.force_share;
  result.temporary = options.snapshot;
  result.discard = options.discard_unmap;
  result.direct = options.cache.direct;
  if (options.cache.write_through) result.cache = disk::CacheMode::kWritethrough;
  if (options.cache.no_flush) result.cache = disk::CacheMode::kUnsafe;
  VMM_CHECK(apply_driver_options(options, result));
  return result;
}

}  // namespace

OpenedImage::OpenedImage(EventLoop& loop, ImageOptions options, std::unique_ptr<disk::Disk> disk)
    : loop_(loop), options_(std::move(options)), disk_(std::move(disk)) {
}

Task<Result<std::unique_ptr<OpenedImage>>> OpenedImage::open(EventLoop& loop,
                                                             ImageOptions options) {
  VMM_CO_TRY(disk::DiskOptions wanted, disk_options(options));
  VMM_CO_TRY(auto disk, co_await disk::open_disk(loop, std::move(wanted)));
  co_return std::unique_ptr<OpenedImage>(
      new OpenedImage(loop, std::move(options), std::move(disk)));
}

disk::Disk& OpenedImage::format_disk() {
  auto* wrapper = dynamic_cast<disk::WritethroughDisk*>(disk_.get());
  return wrapper == nullptr ? *disk_ : wrapper->inner();
}

disk::qcow::QcowDisk* OpenedImage::qcow2() {
  return dynamic_cast<disk::qcow::QcowDisk*>(&format_disk());
}

disk::qcow1::Qcow1Disk* OpenedImage::qcow1() {
  return dynamic_cast<disk::qcow1::Qcow1Disk*>(&format_disk());
}

std::uint64_t OpenedImage::cluster_size() {
  if (auto* qcow = qcow2()) return qcow->geometry().cluster_size();
  if (auto* qcow = qcow1()) return qcow->header().cluster_size();
  return 0;
}

Result<std::size_t> OpenedImage::pack(std::span<const std::byte> cluster,
                                      std::span<std::byte> packed) {
  auto* qcow = qcow2();
  const auto type =
      qcow == nullptr ? disk::qcow::CompressionType::kZlib : qcow->header().compression_type;
  return disk::qcow::compress(type, cluster, packed);
}

Task<Result<void>> OpenedImage::write_packed(std::uint64_t offset,
                                             std::span<const std::byte> packed, IoVec cluster) {
  if (auto* qcow = qcow1()) return qcow->write_compressed(offset, packed, cluster);
  return qcow2()->write_compressed(offset, packed, cluster);
}

disk::RawDisk* OpenedImage::raw() {
  return dynamic_cast<disk::RawDisk*>(&format_disk());
}

Task<Result<void>> OpenedImage::truncate(std::uint64_t size, std::string preallocation) {
  if (size % kSector != 0) {
    co_return fail(ErrorKind::kInvalid, "The new size must be a multiple of 512");
  }
  if (raw() != nullptr) co_return co_await truncate_raw(size, std::move(preallocation));
  if (auto* qcow = qcow2()) {
    const std::uint64_t before = qcow->size();
    if (preallocation == "off" || size <= before) co_return co_await qcow->resize(size);
    if (qcow->backing() != nullptr) {
      co_return fail(ErrorKind::kUnsupported,
                     "an image with a backing file is not preallocated: leave --preallocation out");
    }
    VMM_CO_CHECK(co_await qcow->resize(size));
    co_return co_await qcow->preallocate(before, preallocation == "falloc",
                                         preallocation == "full");
  }
  co_return fail(ErrorKind::kUnsupported,
                 fmt::format("{} images cannot change their size", disk_->format()));
}

namespace {

Task<Result<void>> resize_raw(disk::Storage& storage, std::uint64_t size,
                              std::string preallocation) {
  const std::uint64_t before = storage.size();
  VMM_CO_CHECK(co_await storage.truncate(size));
  if (size <= before || preallocation == "off") co_return Result<void>();
  if (preallocation == "falloc") co_return co_await storage.allocate(before, size - before);
  co_return co_await storage.write_zeroes(before, size - before);
}

}  // namespace

Task<Result<void>> OpenedImage::truncate_raw(std::uint64_t size, std::string preallocation) {
  if (preallocation != "off" && preallocation != "falloc" && preallocation != "full") {
    co_return fail(ErrorKind::kInvalid,
                   fmt::format("Unsupported preallocation mode '{}'", preallocation));
  }
  // A disk knows its size from when it was opened.
  VMM_CO_CHECK(co_await disk_->close());
  disk_.reset();
  VMM_CO_TRY(disk::DiskOptions wanted, disk_options(options_));
  wanted.format = disk::Format::kRaw;
  const disk::FileOptions file_options;
  VMM_CO_TRY(auto file, disk::FileStorage::open(loop_, options_.path, file_options));
  const Result<void> resized = co_await resize_raw(*file, size, std::move(preallocation));
  file.reset();  // with its lock
  VMM_CO_TRY(disk_, co_await disk::open_disk(loop_, std::move(wanted)));
  co_return resized;
}

Task<Result<void>> OpenedImage::write_compressed(std::uint64_t offset, IoVec iov) {
  if (!can_compress()) {
    co_return fail(ErrorKind::kUnsupported,
                   fmt::format("{} images are not written compressed", disk_->format()));
  }
  const std::uint64_t cluster_size = this->cluster_size();
  const std::uint64_t length = total_size(iov);
  if (offset % cluster_size != 0 ||
      (length % cluster_size != 0 && offset + length != disk_->size())) {
    co_return fail(ErrorKind::kInvalid, "compressed writes take whole clusters");
  }
  AlignedBuffer cluster(cluster_size);
  AlignedBuffer packed(cluster_size);
  if (!cluster || !packed) co_return fail(ErrorKind::kInvalid, "no memory for a cluster");
  for (std::uint64_t done = 0; done < length; done += cluster_size) {
    const std::uint64_t size = std::min(cluster_size, length - done);
    cluster.fill(std::byte{0});
    copy_from_iovec(iov, done, cluster.span().first(size));
    VMM_CO_TRY(const std::size_t packed_size,
               pack(cluster.span(), packed.span().first(cluster_size - 1)));
    const iovec whole{cluster.data(), size};
    VMM_CO_CHECK(
        co_await write_packed(offset + done, packed.span().first(packed_size), IoVec(&whole, 1)));
  }
  co_return Result<void>();
}

Task<Result<Allocation>> OpenedImage::allocation_at(std::uint64_t offset) {
  if (auto* qcow = qcow2()) {
    VMM_CO_TRY(const disk::qcow::Extent extent, co_await qcow->extent_at(offset));
    co_return Allocation{extent.start + extent.length, extent.allocated};
  }
  if (auto* qcow = qcow1()) {
    VMM_CO_TRY(const disk::qcow1::Extent extent, co_await qcow->extent_at(offset));
    co_return Allocation{offset + extent.length, extent.allocated};
  }
  // A raw image has no layer below: all of it is its own.
  co_return Allocation{disk_->size(), true};
}

std::vector<std::string> OpenedImage::info_lines() {
  std::vector<std::string> lines = {fmt::format("format name: {}", disk_->format())};
  auto* qcow = qcow2();
  if (qcow == nullptr) {
    lines.push_back(
        fmt::format("cluster size: {}", format_size(static_cast<double>(cluster_size()))));
    lines.emplace_back("vm state offset: 0 bytes");
    return lines;
  }
  const disk::qcow::Header& header = qcow->header();
  const disk::qcow::Geometry& geometry = header.geometry;
  const std::uint64_t vm_state =
      disk::qcow::Header::l1_entries_for(geometry, header.size) * geometry.l2_coverage();
  lines.push_back(
      fmt::format("cluster size: {}", format_size(static_cast<double>(geometry.cluster_size()))));
  lines.push_back(fmt::format("vm state offset: {}", format_size(static_cast<double>(vm_state))));
  lines.emplace_back("Format specific information:");
  const auto yes_no = [](bool value) { return value ? "true" : "false"; };
  using disk::qcow::Compatible;
  using disk::qcow::Incompatible;
  if (header.version < 3) {
    lines.emplace_back("    compat: 0.10");
    lines.emplace_back("    compression type: zlib");
    lines.emplace_back("    refcount bits: 16");
    return lines;
  }
  const bool zstd = header.compression_type == disk::qcow::CompressionType::kZstd;
  lines.emplace_back("    compat: 1.1");
  lines.push_back(fmt::format("    compression type: {}", zstd ? "zstd" : "zlib"));
  lines.push_back(
      fmt::format("    lazy refcounts: {}", yes_no(header.has(Compatible::kLazyRefcounts))));
  lines.push_back(fmt::format("    refcount bits: {}", 1U << geometry.refcount_order));
  lines.push_back(fmt::format("    corrupt: {}", yes_no(header.has(Incompatible::kCorrupt))));
  lines.push_back(fmt::format("    extended l2: {}", yes_no(geometry.extended_l2)));
  return lines;
}

}  // namespace vmm::tools
