// SPDX-License-Identifier: Apache-2.0
#include "disk/open_disk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <vector>

#include "disk/aligned_buffer.h"
#include "disk/file_storage.h"
#include "disk/qcow/check.h"
#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "disk/raw_disk.h"
#include "disk/writethrough_disk.h"
#include "vmm/core/log.h"

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

// The files of a chain that are open already, from the top down.
struct Chain {
  struct File {
    dev_t device;
    ino_t inode;
  };
  std::vector<File> files;
};

constexpr std::size_t kMaxChain = 252;

Result<void> enter(Chain& chain, const FileStorage& file) {
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) return fail_errno(errno, "stat");
  for (const Chain::File& above : chain.files) {
    if (above.device == info.st_dev && above.inode == info.st_ino) {
      return fail(ErrorKind::kInvalid,
                  "the chain of backing files is a circle: this file is in it "
                  "twice");
    }
  }
  if (chain.files.size() >= kMaxChain) {
    return fail(ErrorKind::kInvalid,
                fmt::format("the chain of backing files is longer than {}", kMaxChain));
  }
  chain.files.push_back({info.st_dev, info.st_ino});
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_named(EventLoop& loop, const DiskOptions& options,
                                               Chain& chain);

FileOptions file_options(const DiskOptions& options) {
  FileOptions file;
  file.read_only = options.read_only;
  file.direct = options.direct || options.cache == CacheMode::kNone;
  file.lock = options.lock;
  file.no_follow = options.no_follow;
  file.opener = options.opener;
  file.no_sync = options.cache == CacheMode::kUnsafe;
  return file;
}

bool format_was_told(const DiskOptions& options) {
  return options.format || options.path.ends_with(".qcow2") || options.path.ends_with(".qcow");
}

// Whether what `image` names, a `what` called `name`, may be opened.
Result<void> check_policy(const DiskOptions& image, const char* what, const std::string& name) {
  if (image.backing == BackingPolicy::kRefuse) {
    return fail(
        ErrorKind::kPermission,
        fmt::format("the image has {} ('{}') and backing=off forbids to open it", what, name));
  }
  if (image.backing == BackingPolicy::kOpenIfTold && !format_was_told(image)) {
    return fail(
        ErrorKind::kPermission,
        fmt::format("the image looks like qcow2 and names {} ('{}'), which a guest could have "
                    "written into a raw disk: give format=qcow2 if it is one, format=raw if not",
                    what, name));
  }
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_backing(EventLoop& loop, const DiskOptions& overlay,
                                                 const std::string& name,
                                                 std::optional<std::string> format, Chain& chain) {
  VMM_CO_CHECK(check_policy(overlay, "a backing file", name));
  DiskOptions options = overlay;
  options.read_only = true;
  options.format.reset();
  options.l2_cache_entry_size = 0;  // its clusters may be smaller than the overlay's
  VMM_CO_TRY(options.path, resolve_name(overlay.path, name));
  if (format) {
    VMM_CO_TRY(options.format, parse_format(*format));
  }
  Result<std::unique_ptr<Disk>> disk = co_await open_named(loop, options, chain);
  if (!disk) co_return Unexpected(std::move(disk).error().with_context("backing file"));
  co_return disk;
}

Task<Result<std::unique_ptr<Storage>>> open_data_file(EventLoop& loop, const DiskOptions& image,
                                                      std::optional<std::string> name) {
  if (!name || name->empty()) {
    co_return fail(ErrorKind::kInvalid, "the image has an external data file but does not name it");
  }
  VMM_CO_CHECK(check_policy(image, "an external data file", *name));
  VMM_CO_TRY(std::string path, resolve_name(image.path, *name));
  Result<std::unique_ptr<FileStorage>> file = FileStorage::open(loop, path, file_options(image));
  if (!file) {
    co_return Unexpected(std::move(file).error().with_context("data file " + path));
  }
  co_return std::unique_ptr<Storage>(*std::move(file));
}

qcow::QcowOptions qcow_options(const DiskOptions& options) {
  qcow::QcowOptions qcow;
  qcow.read_only = options.read_only;
  qcow.l2_cache_size = options.l2_cache_size;
  qcow.l2_cache_entry_size = options.l2_cache_entry_size;
  qcow.refcount_cache_size = options.refcount_cache_size;
  qcow.discard = options.discard;
  qcow.detect_zeroes = options.detect_zeroes;
  qcow.no_sync = options.cache == CacheMode::kUnsafe;
  return qcow;
}

Task<Result<std::unique_ptr<Disk>>> open_qcow2(EventLoop& loop, std::unique_ptr<Storage> storage,
                                               const DiskOptions& options, Chain& chain) {
  if (storage->size() < 104) {
    co_return fail(ErrorKind::kInvalid,
                   fmt::format("the file has {} bytes, less than a qcow2 header: is it truncated?",
                               storage->size()));
  }
  VMM_CO_TRY(qcow::Header header, co_await qcow::read_header(*storage));
  if (header.has(qcow::Incompatible::kDirty) && !storage->read_only()) {
    log::warn("{}: was not closed cleanly, its refcounts are repaired", options.path);
    Result<qcow::CheckReport> report =
        co_await qcow::check_image(loop, *storage, header, qcow::Repair::kAll);
    if (!report) co_return Unexpected(std::move(report).error().with_context("repair"));
    VMM_CO_TRY(header, co_await qcow::read_header(*storage));
  }
  std::unique_ptr<Storage> data_file;
  if (header.has(qcow::Incompatible::kDataFile)) {
    VMM_CO_TRY(data_file, co_await open_data_file(loop, options,
                                                  header.text(qcow::ExtensionType::kDataFileName)));
  }
  std::unique_ptr<Disk> backing;
  if (!header.backing_file.empty() && options.backing != BackingPolicy::kIgnore) {
    VMM_CO_TRY(backing,
               co_await open_backing(loop, options, header.backing_file,
                                     header.text(qcow::ExtensionType::kBackingFormat), chain));
  }
  VMM_CO_TRY(
      std::unique_ptr<qcow::QcowDisk> disk,
      co_await qcow::QcowDisk::open(loop, std::move(storage), std::move(header), std::move(backing),
                                    std::move(data_file), qcow_options(options)));
  co_return std::unique_ptr<Disk>(std::move(disk));
}

Task<Result<std::unique_ptr<Disk>>> open_qcow1(EventLoop& loop, std::unique_ptr<Storage> storage,
                                               const DiskOptions& options, Chain& chain) {
  VMM_CO_TRY(qcow1::Header header, co_await qcow1::read_header(*storage));
  std::unique_ptr<Disk> backing;
  if (!header.backing_file.empty() && options.backing != BackingPolicy::kIgnore) {
    VMM_CO_TRY(backing,
               co_await open_backing(loop, options, header.backing_file, std::nullopt, chain));
  }
  const qcow1::Options qcow1{options.detect_zeroes, options.l2_cache_size};
  VMM_CO_TRY(std::unique_ptr<qcow1::Qcow1Disk> disk,
             co_await qcow1::Qcow1Disk::open(loop, std::move(storage), std::move(header),
                                             std::move(backing), qcow1));
  co_return std::unique_ptr<Disk>(std::move(disk));
}

Result<void> check_raw_options(const DiskOptions& options, const Chain& chain) {
  const bool top = chain.files.size() == 1;  // those of a backing file are its overlay's
  if (top && !options.temporary &&
      (options.l2_cache_size | options.l2_cache_entry_size | options.refcount_cache_size) != 0) {
    return fail(ErrorKind::kInvalid, "the image is raw, and only qcow2 has caches to size");
  }
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_unnamed(EventLoop& loop, const DiskOptions& options,
                                                 Chain& chain) {
  VMM_CO_TRY(std::unique_ptr<FileStorage> file,
             FileStorage::open(loop, options.path, file_options(options)));
  VMM_CO_CHECK(enter(chain, *file));
  std::unique_ptr<Storage> storage = std::move(file);
  std::optional<Format> format = options.format;
  if (!format) {
    VMM_CO_TRY(format, co_await probe(*storage));
  }
  if (*format == Format::kRaw) {
    VMM_CO_CHECK(check_raw_options(options, chain));
  }
  switch (*format) {
    case Format::kRaw:
      co_return std::unique_ptr<Disk>(std::make_unique<RawDisk>(
          std::move(storage), RawOptions{options.discard, options.detect_zeroes}));
    case Format::kQcow1:
      co_return co_await open_qcow1(loop, std::move(storage), options, chain);
    case Format::kQcow2:
      break;
  }
  co_return co_await open_qcow2(loop, std::move(storage), options, chain);
}

Task<Result<std::unique_ptr<Disk>>> open_named(EventLoop& loop, const DiskOptions& options,
                                               Chain& chain) {
  Result<std::unique_ptr<Disk>> disk = co_await open_unnamed(loop, options, chain);
  if (!disk) co_return Unexpected(std::move(disk).error().with_context(options.path));
  co_return disk;
}

// An overlay without a name over `base`.
Task<Result<std::unique_ptr<Disk>>> make_temporary(EventLoop& loop, std::unique_ptr<Disk> base,
                                                   DiskOptions options) {
  VMM_CO_TRY(std::unique_ptr<FileStorage> file, FileStorage::create_temporary(loop));
  qcow::FormatOptions format;
  format.size = base->size();
  VMM_CO_CHECK(co_await qcow::format_image(*file, format));
  VMM_CO_TRY(qcow::Header header, co_await qcow::read_header(*file));
  options.read_only = false;
  qcow::QcowOptions overlay = qcow_options(options);
  VMM_CO_TRY(std::unique_ptr<qcow::QcowDisk> disk,
             co_await qcow::QcowDisk::open(loop, std::move(file), std::move(header),
                                           std::move(base), nullptr, overlay));
  co_return std::unique_ptr<Disk>(std::move(disk));
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

Result<std::string> resolve_name(const std::string& image, const std::string& given) {
  std::string name = given;
  // QEMU's own way to name a file whose name has a colon.
  if (constexpr std::string_view kFile = "file:"; name.starts_with(kFile)) {
    name.erase(0, kFile.size());
    if (!name.starts_with('/')) name.insert(0, "./");
  }
  const std::size_t colon = name.find(':');
  if (colon != std::string::npos && colon < name.find('/')) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("'{}' names a protocol; only local files are supported", name));
  }
  if (name.find('\0') != std::string::npos) {
    return fail(ErrorKind::kInvalid, "the name of a file in the image contains a zero byte");
  }
  const std::size_t slash = image.rfind('/');
  if (name.starts_with('/') || slash == std::string::npos) return name;
  return image.substr(0, slash + 1) + name;
}

Task<Result<std::unique_ptr<Disk>>> open_disk(EventLoop& loop, DiskOptions options) {
  Chain chain;
  if (options.temporary) options.read_only = true;
  Result<std::unique_ptr<Disk>> disk = co_await open_named(loop, options, chain);
  if (!disk) co_return disk;
  if (options.temporary) {
    disk = co_await make_temporary(loop, *std::move(disk), options);
    if (!disk) {
      co_return Unexpected(
          std::move(disk).error().with_context("temporary overlay for " + options.path));
    }
  }
  if (options.cache == CacheMode::kWritethrough) {
    co_return std::unique_ptr<Disk>(std::make_unique<WritethroughDisk>(*std::move(disk)));
  }
  co_return disk;
}

}  // namespace vmm::disk
