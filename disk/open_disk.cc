// SPDX-License-Identifier: Apache-2.0
#include "disk/open_disk.h"

#include <fmt/format.h>

#include "disk/aligned_buffer.h"
#include "disk/file_storage.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/raw_disk.h"

namespace vmm::disk {
namespace {

Task<Result<Format>> probe(Storage& storage) {
  AlignedBuffer start(4096);
  iovec whole = start.as_iovec();
  VMM_CO_CHECK(co_await storage.readv(0, IoVec(&whole, 1)));
  std::uint32_t version = 0;
  if (!qcow::has_qcow_magic(start.bytes(), &version)) co_return Format::kRaw;
  co_return version == 1 ? Format::kQcow1 : Format::kQcow2;
}

Task<Result<std::unique_ptr<Disk>>> open_qcow2(EventLoop& loop, std::unique_ptr<Storage> storage,
                                               const DiskOptions& options) {
  if (storage->size() < 104) {
    co_return fail(ErrorKind::kInvalid,
                   fmt::format("the file has {} bytes, less than a qcow2 header: is it truncated?",
                               storage->size()));
  }
  VMM_CO_TRY(qcow::Header header, co_await qcow::read_header(*storage));
  if (!header.backing_file.empty()) {
    co_return fail(ErrorKind::kUnsupported,
                   "the image has a backing file, which is not supported yet: flatten it with "
                   "`qemu-img convert`");
  }
  qcow::QcowOptions qcow_options;
  qcow_options.read_only = options.read_only;
  qcow_options.l2_cache_size = options.l2_cache_size;
  qcow_options.l2_cache_entry_size = options.l2_cache_entry_size;
  qcow_options.refcount_cache_size = options.refcount_cache_size;
  qcow_options.discard = options.discard;
  qcow_options.detect_zeroes = options.detect_zeroes;
  qcow_options.no_sync = options.cache == CacheMode::kUnsafe;
  VMM_CO_TRY(std::unique_ptr<qcow::QcowDisk> disk,
             co_await qcow::QcowDisk::open(loop, std::move(storage), std::move(header), nullptr,
                                           nullptr, qcow_options));
  co_return std::unique_ptr<Disk>(std::move(disk));
}

Task<Result<std::unique_ptr<Disk>>> open_unnamed(EventLoop& loop, const DiskOptions& options) {
  FileOptions file_options;
  file_options.read_only = options.read_only;
  file_options.direct = options.direct || options.cache == CacheMode::kNone;
  file_options.lock = options.lock;
  file_options.no_sync = options.cache == CacheMode::kUnsafe;
  VMM_CO_TRY(std::unique_ptr<FileStorage> file,
             FileStorage::open(loop, options.path, file_options));
  std::unique_ptr<Storage> storage = std::move(file);
  std::optional<Format> format = options.format;
  if (!format) {
    VMM_CO_TRY(Format found, co_await probe(*storage));
    format = found;
  }
  switch (*format) {
    case Format::kRaw:
      co_return std::unique_ptr<Disk>(std::make_unique<RawDisk>(std::move(storage)));
    case Format::kQcow1:
      co_return fail(ErrorKind::kUnsupported,
                     "qcow version 1 is not supported yet: convert it with `qemu-img convert`");
    case Format::kQcow2:
      break;
  }
  co_return co_await open_qcow2(loop, std::move(storage), options);
}

}  // namespace

const char* name_of(Format format) {
  switch (format) {
    case Format::kRaw:
      return "raw";
    case Format::kQcow1:
      return "qcow";
    case Format::kQcow2:
      return "qcow2";
  }
  return "?";
}

Result<Format> parse_format(std::string_view name) {
  if (name == "raw") return Format::kRaw;
  if (name == "qcow" || name == "qcow1") return Format::kQcow1;
  if (name == "qcow2") return Format::kQcow2;
  return fail(ErrorKind::kInvalid,
              fmt::format("unknown disk format '{}': expected raw, qcow or qcow2", name));
}

Result<CacheMode> parse_cache_mode(std::string_view name) {
  if (name == "writeback") return CacheMode::kWriteback;
  if (name == "none") return CacheMode::kNone;
  if (name == "writethrough") return CacheMode::kWritethrough;
  if (name == "unsafe") return CacheMode::kUnsafe;
  return fail(
      ErrorKind::kInvalid,
      fmt::format("unknown cache mode '{}': expected writeback, none, writethrough or unsafe",
                  name));
}

Task<Result<std::unique_ptr<Disk>>> open_disk(EventLoop& loop, DiskOptions options) {
  Result<std::unique_ptr<Disk>> disk = co_await open_unnamed(loop, options);
  if (!disk) co_return Unexpected(std::move(disk).error().with_context(options.path));
  co_return disk;
}

}  // namespace vmm::disk
