// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/image_info.h"

#include <fmt/core.h>

#include <ctime>

#include "disk/aligned_buffer.h"
#include "disk/file_storage.h"
#include "disk/qcow/header.h"
#include "disk/qcow1/header.h"
#include "vmm/tools/file_name.h"
#include "vmm/tools/image_name.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes

Qcow2Info qcow2_info(const disk::qcow::Header& header) {
  using disk::qcow::Autoclear;
  using disk::qcow::Compatible;
  using disk::qcow::ExtensionType;
  using disk::qcow::Incompatible;
  Qcow2Info info;
  info.version_3 = header.version >= 3;
  info.zstd = header.compression_type == disk::qcow::CompressionType::kZstd;
  info.lazy_refcounts = header.has(Compatible::kLazyRefcounts);
  info.refcount_bits = header.geometry.refcount_bits();
  if (header.has(Incompatible::kDataFile))
    info.data_file = header.text(ExtensionType::kDataFileName);
  info.data_file_raw = header.has(Autoclear::kRawDataFile);
  info.corrupt = header.has(Incompatible::kCorrupt);
  info.extended_l2 = header.geometry.extended_l2;
  return info;
}

std::vector<const char*> flags_of(const disk::qcow::Bitmap& bitmap) {
  std::vector<const char*> flags;
  if (bitmap.in_use) flags.push_back("in-use");
  if (bitmap.automatic) flags.push_back("auto");
  return flags;
}

// image-controlled: what a terminal would obey is shown as ?.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return text;
}

// What is not in the header itself.
Task<Result<void>> read_further(disk::Storage& storage, const disk::qcow::Header& header,
                                Qcow2Info& info) {
  VMM_CO_TRY(info.bitmaps, co_await disk::qcow::load_bitmaps(storage, header));
  info.aes = header.crypt_method == 1;
  if (header.crypt_method == 2) {
    VMM_CO_TRY(info.luks, co_await read_luks_info(storage, header));
  }
  co_return Result<void>();
}

void print_bitmaps(std::FILE* out, const std::vector<disk::qcow::Bitmap>& bitmaps) {
  if (bitmaps.empty()) return;
  fmt::print(out, "    bitmaps:\n");
  for (std::size_t i = 0; i < bitmaps.size(); ++i) {
    fmt::print(out, "        [{}]:\n            flags:\n", i);
    std::size_t nr_flags = 0;
    for (const char* flag : flags_of(bitmaps[i])) {
      fmt::print(out, "                [{}]: {}\n", nr_flags++, flag);
    }
    fmt::print(out, "            name: {}\n            granularity: {}\n",
               printable(bitmaps[i].name), bitmaps[i].granularity);
  }
}

Json bitmaps_json(const std::vector<disk::qcow::Bitmap>& bitmaps) {
  Json list = Json::array();
  for (const disk::qcow::Bitmap& bitmap : bitmaps) {
    Json flags = Json::array();
    for (const char* flag : flags_of(bitmap)) flags.push(flag);
    Json json = Json::object();
    json.add("flags", std::move(flags)).add("name", bitmap.name);
    list.push(std::move(json.add("granularity", bitmap.granularity)));
  }
  return list;
}

// 0: not a qcow image.
Task<Result<std::uint32_t>> probe_version(disk::Storage& storage) {
  disk::AlignedBuffer start(4096);
  const iovec whole = start.as_iovec();
  VMM_CO_CHECK(co_await storage.readv(0, IoVec(&whole, 1)));
  std::uint32_t version = 0;
  co_return disk::qcow::has_qcow_magic(start.bytes(), &version) ? version : 0;
}

Task<Result<ImageInfo>> read_info(EventLoop& loop, const ImageOptions& options) {
  disk::FileOptions file_options;
  file_options.read_only = true;
  file_options.lock = !options.force_share;
  VMM_CO_TRY(const auto storage, disk::FileStorage::open(loop, options.path, file_options));

  ImageInfo info{.path = options.path};
  info.actual_size = storage->allocated_size();
  std::uint32_t version = 0;
  if (options.format != "raw") {
    VMM_CO_TRY(version, co_await probe_version(*storage));
    if (version == 0 && !options.format.empty()) {
      co_return fail(ErrorKind::kInvalid, fmt::format("Image is not in {} format", options.format));
    }
  }
  if (version == 0) {
    info.format = "raw";
    info.virtual_size = (storage->size() + kSector - 1) / kSector * kSector;
    co_return info;
  }
  if (version == 1) {
    VMM_CO_TRY(const disk::qcow1::Header header, co_await disk::qcow1::read_header(*storage));
    info.format = "qcow";
    info.virtual_size = header.size;
    info.cluster_size = header.cluster_size();
    info.backing_file = header.backing_file;
    co_return info;
  }
  VMM_CO_TRY(const disk::qcow::Header header, co_await disk::qcow::read_header(*storage));
  info.format = "qcow2";
  info.virtual_size = header.size;
  info.cluster_size = header.geometry.cluster_size();
  info.encrypted = header.crypt_method != 0;
  info.dirty = header.has(disk::qcow::Incompatible::kDirty);
  info.backing_file = header.backing_file;
  info.backing_format = header.text(disk::qcow::ExtensionType::kBackingFormat).value_or("");
  info.qcow2 = qcow2_info(header);
  VMM_CO_CHECK(co_await read_further(*storage, header, *info.qcow2));
  VMM_CO_TRY(info.snapshots, co_await disk::qcow::load_snapshots(*storage, header));
  co_return info;
}

Json snapshots_json(const std::vector<disk::qcow::Snapshot>& snapshots) {
  Json list = Json::array();
  for (const disk::qcow::Snapshot& snapshot : snapshots) {
    Json json = Json::object();
    if (snapshot.instruction_count != ~std::uint64_t{0}) {
      json.add("icount", snapshot.instruction_count);
    }
    json.add("vm-clock-nsec", snapshot.vm_clock_nanoseconds % 1'000'000'000)
        .add("name", snapshot.name)
        .add("date-sec", snapshot.date_seconds)
        .add("date-nsec", snapshot.date_nanoseconds)
        .add("vm-clock-sec", snapshot.vm_clock_nanoseconds / 1'000'000'000)
        .add("id", snapshot.id)
        .add("vm-state-size", snapshot.vm_state_size);
    list.push(std::move(json));
  }
  return list;
}

}  // namespace

std::string ImageInfo::full_backing_file() const {
  return resolve_against(path, backing_file);
}

Task<Result<ImageInfo>> read_image_info(EventLoop& loop, ImageOptions options) {
  VMM_CO_CHECK(resolve_image_name(options));
  Result<ImageInfo> info = co_await read_info(loop, options);
  if (!info) {
    co_return Unexpected(
        std::move(info).error().with_context(fmt::format("Could not open '{}'", options.path)));
  }
  co_return info;
}

void print_qcow2_info(const Console& console, const Qcow2Info& info) {
  std::FILE* out = console.out;
  fmt::print(out, "    compat: {}\n", info.version_3 ? "1.1" : "0.10");
  fmt::print(out, "    compression type: {}\n", info.zstd ? "zstd" : "zlib");
  if (info.version_3) fmt::print(out, "    lazy refcounts: {}\n", info.lazy_refcounts);
  print_bitmaps(out, info.bitmaps);
  fmt::print(out, "    refcount bits: {}\n", info.refcount_bits);
  if (info.aes) fmt::print(out, "    encrypt:\n        format: aes\n");
  if (info.luks) {
    fmt::print(out, "    encrypt:\n");
    print_luks_info(console, *info.luks);
  }
  if (info.data_file) {
    fmt::print(out, "    data file: {}\n", *info.data_file);
    fmt::print(out, "    data file raw: {}\n", info.data_file_raw);
  }
  if (!info.version_3) return;
  fmt::print(out, "    corrupt: {}\n", info.corrupt);
  fmt::print(out, "    extended l2: {}\n", info.extended_l2);
}

void print_snapshots(const Console& console, const std::vector<disk::qcow::Snapshot>& snapshots) {
  if (snapshots.empty()) return;
  std::FILE* out = console.out;
  fmt::print(out, "Snapshot list:\n{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE",
             "DATE", "VM CLOCK", "ICOUNT");
  for (const disk::qcow::Snapshot& snapshot : snapshots) {
    const std::time_t seconds = snapshot.date_seconds;
    std::tm local{};
    localtime_r(&seconds, &local);
    char date[32];
    std::strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
    const std::uint64_t clock = snapshot.vm_clock_nanoseconds / 1'000'000;  // ms
    const std::string clock_text =
        fmt::format("{:02}:{:02}:{:02}.{:03}", clock / 3'600'000, clock / 60'000 % 60,
                    clock / 1000 % 60, clock % 1000);
    const bool counted = snapshot.instruction_count != ~std::uint64_t{0};
    fmt::print(out, "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", snapshot.id, snapshot.name,
               format_size_short(snapshot.vm_state_size), date, clock_text,
               counted ? std::to_string(snapshot.instruction_count) : "");
  }
}

void print_image_info(const Console& console, const ImageInfo& info) {
  std::FILE* out = console.out;
  fmt::print(out, "image: {}\n", info.path);
  fmt::print(out, "file format: {}\n", info.format);
  fmt::print(out, "virtual size: {} ({} bytes)\n", format_size_short(info.virtual_size),
             info.virtual_size);
  fmt::print(out, "disk size: {}\n", format_size_short(info.actual_size));
  if (info.encrypted) fmt::print(out, "encrypted: yes\n");
  if (info.cluster_size != 0) fmt::print(out, "cluster_size: {}\n", info.cluster_size);
  if (info.dirty) fmt::print(out, "cleanly shut down: no\n");
  if (!info.backing_file.empty()) {
    const std::string full = info.full_backing_file();
    fmt::print(out, "backing file: {}{}\n", info.backing_file,
               full == info.backing_file ? "" : fmt::format(" (actual path: {})", full));
    if (!info.backing_format.empty()) {
      fmt::print(out, "backing file format: {}\n", info.backing_format);
    }
  }
  print_snapshots(console, info.snapshots);
  if (!info.qcow2) return;
  fmt::print(out, "Format specific information:\n");
  print_qcow2_info(console, *info.qcow2);
}

Json image_info_json(const ImageInfo& info) {
  Json json = Json::object();
  if (!info.snapshots.empty()) json.add("snapshots", snapshots_json(info.snapshots));
  if (!info.backing_format.empty()) json.add("backing-filename-format", info.backing_format);
  json.add("virtual-size", info.virtual_size).add("filename", info.path);
  if (info.cluster_size != 0) json.add("cluster-size", info.cluster_size);
  json.add("format", info.format).add("actual-size", info.actual_size);
  if (info.encrypted) json.add("encrypted", true);
  if (info.qcow2) {
    Json data = Json::object();
    data.add("compat", info.qcow2->version_3 ? "1.1" : "0.10");
    data.add("compression-type", info.qcow2->zstd ? "zstd" : "zlib");
    if (info.qcow2->version_3) data.add("lazy-refcounts", info.qcow2->lazy_refcounts);
    if (!info.qcow2->bitmaps.empty()) data.add("bitmaps", bitmaps_json(info.qcow2->bitmaps));
    data.add("refcount-bits", info.qcow2->refcount_bits);
    if (info.qcow2->aes) data.add("encrypt", Json(Json::object().add("format", "aes")));
    if (info.qcow2->luks) data.add("encrypt", luks_info_json(*info.qcow2->luks));
    if (info.qcow2->data_file) {
      data.add("data-file", *info.qcow2->data_file);
      data.add("data-file-raw", info.qcow2->data_file_raw);
    }
    if (info.qcow2->version_3) {
      data.add("corrupt", info.qcow2->corrupt).add("extended-l2", info.qcow2->extended_l2);
    }
    Json specific = Json::object();
    specific.add("type", "qcow2").add("data", std::move(data));
    json.add("format-specific", std::move(specific));
  }
  if (!info.backing_file.empty()) {
    json.add("full-backing-filename", info.full_backing_file());
    json.add("backing-filename", info.backing_file);
  }
  json.add("dirty-flag", info.dirty);
  return json;
}

}  // namespace vmm::tools
