// SPDX-License-Identifier: Apache-2.0
// Opening: what the header promises is checked before anything relies on it.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kMaxDefaultL2Cache = 32 << 20;
constexpr std::uint64_t kDefaultRefcountCache = 256 << 10;
constexpr std::uint32_t kDefaultSlice = 4096;

Result<void> check_features(const Header& header, const QcowOptions& options) {
  if (header.crypt_method != 0) {
    const char* name = header.crypt_method == 1   ? "AES"
                       : header.crypt_method == 2 ? "LUKS"
                                                  : "an unknown method";
    return fail(ErrorKind::kUnsupported,
                fmt::format("the image is encrypted ({}, crypt_method {}), which is not supported",
                            name, header.crypt_method));
  }
  for (unsigned bit = 5; bit < 64; ++bit) {
    if ((header.incompatible >> bit & 1) != 0) {
      return fail(ErrorKind::kUnsupported,
                  fmt::format("the image uses a feature that is not supported: {}",
                              header.feature_name(0, bit)));
    }
  }
  if (options.read_only) return {};
  if (header.has(Incompatible::kCorrupt)) {
    return fail(ErrorKind::kCorrupt,
                "the image is marked corrupt: open it read-only, or repair it with `vmm disk check "
                "-r all`");
  }
  if (header.has(Incompatible::kDirty)) {
    return fail(ErrorKind::kUnsupported,
                "the image was not closed cleanly and its refcounts are out of date (lazy "
                "refcounts): repair it first with `vmm disk check -r all`");
  }
  return {};
}

Result<L2Format> format_of(const Header& header, const QcowOptions& options) {
  L2Format format;
  format.geometry = header.geometry;
  format.zero_flag = header.version >= 3;
  format.data_file = header.has(Incompatible::kDataFile);
  const std::uint64_t cluster_size = header.geometry.cluster_size();
  std::uint64_t slice = options.l2_cache_entry_size;
  if (slice == 0) slice = std::min<std::uint64_t>(kDefaultSlice, cluster_size);
  if (!std::has_single_bit(slice) || slice < 512 || slice > cluster_size) {
    return fail(ErrorKind::kInvalid,
                fmt::format("l2-cache-entry-size {} must be a power of two between 512 and the "
                            "cluster size {}",
                            slice, cluster_size));
  }
  format.slice_bits = static_cast<std::uint32_t>(std::countr_zero(slice));
  return format;
}

std::size_t l2_slices(const Header& header, const L2Format& format, const QcowOptions& options) {
  const std::uint64_t slice = std::uint64_t{1} << format.slice_bits;
  const std::uint64_t needed =
      header.size / format.slice_coverage() + (header.size % format.slice_coverage() != 0);
  const std::uint64_t most = std::max<std::uint64_t>(
      (options.l2_cache_size != 0 ? options.l2_cache_size : kMaxDefaultL2Cache) / slice, 1);
  return std::clamp<std::uint64_t>(needed, 1, most);
}

}  // namespace

Task<Result<Header>> read_header(Storage& storage) {
  AlignedBuffer start = AlignedBuffer::zeroed(4096);
  iovec whole = start.as_iovec();
  Result<void> read = co_await storage.readv(0, IoVec(&whole, 1));
  if (!read) co_return Unexpected(std::move(read).error().with_context("qcow2 header"));
  Result<Geometry> geometry = decode_geometry(start.bytes());
  if (!geometry) co_return Unexpected(std::move(geometry).error());
  AlignedBuffer cluster(std::max<std::uint64_t>(geometry->cluster_size(), 4096));
  whole = cluster.as_iovec();
  read = co_await storage.readv(0, IoVec(&whole, 1));
  if (!read) co_return Unexpected(std::move(read).error().with_context("qcow2 header"));
  co_return decode_header(cluster.bytes().first(geometry->cluster_size()), storage.size());
}

Task<Result<std::unique_ptr<QcowDisk>>> QcowDisk::open(EventLoop& loop,
                                                       std::unique_ptr<Storage> storage,
                                                       Header header, std::unique_ptr<Disk> backing,
                                                       std::unique_ptr<Storage> data_file,
                                                       QcowOptions options) {
  if (storage->read_only()) options.read_only = true;
  VMM_CO_CHECK(check_features(header, options));
  if (header.has(Incompatible::kDataFile) != (data_file != nullptr)) {
    co_return fail(ErrorKind::kUnsupported,
                   "the image keeps its data in an external data file, which is not open");
  }
  VMM_CO_TRY(L2Format format, format_of(header, options));
  const std::size_t slices = l2_slices(header, format, options);
  const std::uint64_t refcount_cache =
      options.refcount_cache_size != 0 ? options.refcount_cache_size : kDefaultRefcountCache;
  const std::uint64_t refcount_slice =
      std::min<std::uint64_t>(kDefaultSlice, header.geometry.cluster_size());
  std::unique_ptr<QcowDisk> disk(new QcowDisk(
      loop, std::move(storage), std::move(header), std::move(backing), std::move(data_file),
      options, format, slices, std::max<std::uint64_t>(refcount_cache / refcount_slice, 2)));
  VMM_CO_CHECK(co_await disk->load());
  if (!options.read_only) {
    VMM_CO_CHECK(co_await disk->prepare_writing());
  }
  co_return disk;
}

QcowDisk::QcowDisk(EventLoop& loop, std::unique_ptr<Storage> storage, Header header,
                   std::unique_ptr<Disk> backing, std::unique_ptr<Storage> data_file,
                   const QcowOptions& options, const L2Format& format, std::size_t l2_slices,
                   std::size_t refcount_slices)
    : loop_(loop),
      storage_(std::move(storage)),
      data_file_(std::move(data_file)),
      backing_(std::move(backing)),
      header_(loop, *storage_, std::move(header)),
      size_(this->header().size),
      geometry_(this->header().geometry),
      format_(format),
      options_(options),
      l1_("L1 table"),
      l2_(loop, *storage_, "L2 table", 1u << format.slice_bits, l2_slices, this),
      refcounts_(loop, *storage_, geometry_, metadata_,
                 std::min<std::uint32_t>(kDefaultSlice,
                                         static_cast<std::uint32_t>(geometry_.cluster_size())),
                 refcount_slices),
      allocator_(loop, refcounts_, metadata_),
      passages_(loop),
      table_mutex_(loop),
      background_(loop),
      commit_mutex_(loop),
      punching_(loop),
      maintenance_(loop),
      partial_mutex_(loop) {
}

QcowDisk::~QcowDisk() = default;

Task<Result<void>> QcowDisk::load() {
  VMM_CO_TRY(snapshots_, co_await load_snapshots(*storage_, header()));
  co_return co_await l1_.load(*storage_, header().l1_offset, header().l1_entries);
}

Task<Result<void>> QcowDisk::prepare_writing() {
  VMM_CO_CHECK(
      co_await refcounts_.load(header().refcount_table_offset, header().refcount_table_clusters));
  note_metadata();
  allocator_.init(storage_->size());
  // Features this program does not keep up to date must be declared out of date before the first
  // write. A raw data file stays one.
  const std::uint64_t kept =
      data_file_ ? std::uint64_t{1} << static_cast<unsigned>(Autoclear::kRawDataFile) : 0;
  if ((header().autoclear & ~kept) != 0) {
    const HeaderFile::Change clear = [kept](Header& header) { header.autoclear &= kept; };
    VMM_CO_CHECK(co_await header_.update(clear));
  }
  co_return Result<void>();
}

// image-controlled: entries that point nowhere are not noted, their users will complain.
void QcowDisk::note_metadata() {
  const std::uint64_t file_clusters = geometry_.clusters_for(storage_->size());
  auto note = [&](HostOffset at, std::uint64_t bytes, MetadataKind kind) {
    const HostRun run{geometry_.cluster_of(at), geometry_.clusters_for(bytes)};
    if (run.first.index < file_clusters) metadata_.stage(run, kind);
  };
  metadata_.clear();
  metadata_.stage({HostCluster(0), 1}, MetadataKind::kHeader);
  note(header().l1_offset, std::uint64_t{header().l1_entries} * 8, MetadataKind::kL1Table);
  note(header().refcount_table_offset, refcounts_.table().size() * 8, MetadataKind::kRefcountTable);
  if (header().nr_snapshots > 0) {
    Result<std::vector<std::byte>> table = encode_snapshots(snapshots_);
    note(header().snapshots_offset, table ? table->size() : 1, MetadataKind::kSnapshotTable);
  }
  for (const Snapshot& snapshot : snapshots_) {
    if (snapshot.l1_entries == 0) continue;
    note(snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8,
         MetadataKind::kInactiveL1Table);
  }
  for (std::uint64_t entry : refcounts_.table().entries()) {
    if (entry != 0) note(HostOffset(entry), 1, MetadataKind::kRefcountBlock);
  }
  for (std::uint64_t entry : l1_.entries()) {
    if ((entry & kOffsetMask) != 0)
      note(HostOffset(entry & kOffsetMask), 1, MetadataKind::kL2Table);
  }
  metadata_.seal();
}

Statistics QcowDisk::statistics() const {
  return {l2_.stats(), const_cast<QcowDisk*>(this)->refcounts_.cache().stats(),
          std::uint64_t{l2_.capacity()} * l2_.slice_size(), l2_.slice_size()};
}

namespace {

// Bytes from `at` on, at most `length`, whose clusters have a host cluster or have none as the
// first one does.
std::uint64_t alike_allocated(const std::byte* slice, const L2Format& format, GuestOffset at,
                              std::uint64_t length) {
  const Geometry& geometry = format.geometry;
  const std::uint64_t first = format.entry_index(at);
  const bool allocated = load_entry(slice, first, geometry).offset() != 0;
  std::uint64_t covered = geometry.cluster_size() - (at.value & geometry.cluster_mask());
  for (std::uint64_t i = first + 1; covered < length && !allocated; ++i) {
    if (load_entry(slice, i, geometry).offset() != 0) break;
    covered += geometry.cluster_size();
  }
  return std::min(covered, length);
}

}  // namespace

Task<Result<Extent>> QcowDisk::extent_at(std::uint64_t offset) {
  const GuestOffset at(offset);
  VMM_CO_TRY(TableCache::Ref slice, co_await get_slice(at));
  Extent extent;
  extent.start = offset;
  extent.length = std::min(size() - offset, to_slice_end(at));
  if (!slice) co_return extent;
  const Mapping mapping = map_slice(slice.data(), format_, at, extent.length);
  if (mapping.kind == MappingKind::kCorrupt) {
    co_return fail(ErrorKind::kCorrupt,
                   fmt::format("the L2 entry for guest offset {:#x} is {:#x}, which means nothing",
                               offset, mapping.descriptor));
  }
  extent.length = mapping.length;
  extent.zero = mapping.kind == MappingKind::kZero;
  extent.compressed = mapping.kind == MappingKind::kCompressed;
  extent.data = mapping.kind == MappingKind::kData || extent.compressed;
  extent.allocated = mapping.kind != MappingKind::kUnallocated;
  extent.has_offset = mapping.allocated && !extent.compressed;
  if (!extent.data) {
    extent.length = alike_allocated(slice.data(), format_, at, extent.length);
  }
  extent.offset = extent.has_offset ? mapping.host.value : 0;
  co_return extent;
}

}  // namespace vmm::disk::qcow
