// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

struct RawHeader {
  Be32 magic;
  Be32 version;
  Be64 backing_file_offset;
  Be32 backing_file_size;
  Be32 cluster_bits;
  Be64 size;
  Be32 crypt_method;
  Be32 l1_size;
  Be64 l1_table_offset;
  Be64 refcount_table_offset;
  Be32 refcount_table_clusters;
  Be32 nb_snapshots;
  Be64 snapshots_offset;
  // Version 3 from here on.
  Be64 incompatible_features;
  Be64 compatible_features;
  Be64 autoclear_features;
  Be32 refcount_order;
  Be32 header_length;
  std::uint8_t compression_type;
  std::uint8_t padding[7];
};
static_assert(sizeof(RawHeader) == 112);
constexpr std::size_t kV2Length = 72;
constexpr std::size_t kV3Length = 104;  // without compression_type

struct RawFeatureName {
  std::uint8_t type;  // 0 incompatible, 1 compatible, 2 autoclear
  std::uint8_t bit;
  char name[46];
};
static_assert(sizeof(RawFeatureName) == 48);

Unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::kInvalid, "qcow2 header: " + message);
}

Result<void> check_table(const char* name, const Geometry& geometry, std::uint64_t offset,
                         std::uint64_t bytes, std::uint64_t file_size) {
  if (bytes == 0) return {};
  if (!geometry.is_cluster_aligned(offset) || offset == 0) {
    return invalid(fmt::format("{} offset {:#x} is not a multiple of the cluster size {}", name,
                               offset, geometry.cluster_size()));
  }
  if (offset >= kMaxOffset || offset > file_size || bytes > file_size - offset) {
    return invalid(
        fmt::format("the {} ({} bytes at {:#x}) lies beyond the file's end at {:#x}; is "
                    "the file truncated?",
                    name, bytes, offset, file_size));
  }
  return {};
}

Result<void> decode_extensions(std::span<const std::byte> bytes, Header& header) {
  while (bytes.size() >= 8) {
    std::uint32_t type = load_be<std::uint32_t>(bytes.data());
    std::uint32_t length = load_be<std::uint32_t>(bytes.data() + 4);
    if (type == static_cast<std::uint32_t>(ExtensionType::kEnd)) return {};
    bytes = bytes.subspan(8);
    if (length > bytes.size()) {
      return invalid(fmt::format("extension {:#x} of {} bytes leaves the header", type, length));
    }
    header.extensions.push_back({type, {bytes.begin(), bytes.begin() + length}});
    bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), (length + 7) & ~7u));
  }
  return {};
}

Result<void> decode_v3_fields(std::span<const std::byte> first_cluster, const RawHeader& raw,
                              Header& header) {
  const std::size_t length = raw.header_length;
  if (length < kV3Length || length % 8 != 0 || length > first_cluster.size()) {
    return invalid(
        fmt::format("header_length is {}, expected at least {}, a multiple of 8 and at "
                    "most a cluster",
                    length, kV3Length));
  }
  header.incompatible = raw.incompatible_features;
  header.compatible = raw.compatible_features;
  header.autoclear = raw.autoclear_features;
  std::uint8_t compression = length > kV3Length ? raw.compression_type : 0;
  if (compression > 1) {
    return fail(
        ErrorKind::kUnsupported,
        fmt::format("compression type {} is not supported (0 is zlib, 1 is zstd)", compression));
  }
  if ((compression != 0) != header.has(Incompatible::kCompression)) {
    return invalid("compression type and its incompatible feature bit contradict each other");
  }
  header.compression_type = static_cast<CompressionType>(compression);
  header.length = static_cast<std::uint32_t>(length);
  if (length > sizeof(RawHeader)) {
    header.further_fields.assign(first_cluster.begin() + sizeof(RawHeader),
                                 first_cluster.begin() + static_cast<std::ptrdiff_t>(length));
  }
  return {};
}

void put(std::vector<std::byte>& out, const void* data, std::size_t size) {
  const std::size_t at = out.size();
  out.resize(at + size);
  if (size > 0) std::memcpy(out.data() + at, data, size);
}

void put_extension(std::vector<std::byte>& out, std::uint32_t type,
                   std::span<const std::byte> data) {
  Be32 words[2] = {Be32(type), Be32(static_cast<std::uint32_t>(data.size()))};
  put(out, words, sizeof words);
  put(out, data.data(), data.size());
  out.resize((out.size() + 7) & ~std::size_t{7});
}

}  // namespace

void Header::set(Incompatible bit, bool on) {
  std::uint64_t mask = std::uint64_t{1} << static_cast<unsigned>(bit);
  incompatible = on ? incompatible | mask : incompatible & ~mask;
}
void Header::set(Autoclear bit, bool on) {
  std::uint64_t mask = std::uint64_t{1} << static_cast<unsigned>(bit);
  autoclear = on ? autoclear | mask : autoclear & ~mask;
}

const Extension* Header::find(ExtensionType type) const {
  for (const Extension& extension : extensions) {
    if (extension.type == static_cast<std::uint32_t>(type)) return &extension;
  }
  return nullptr;
}

std::optional<std::string> Header::text(ExtensionType type) const {
  const Extension* extension = find(type);
  if (extension == nullptr) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(extension->data.data()), extension->data.size());
}

void Header::set_text(ExtensionType type, const std::string& value) {
  const auto number = static_cast<std::uint32_t>(type);
  std::erase_if(extensions, [&](const Extension& e) { return e.type == number; });
  if (value.empty()) return;
  Extension extension{number, {}};
  put(extension.data, value.data(), value.size());
  extensions.insert(extensions.begin(), std::move(extension));
}

std::string Header::feature_name(unsigned type, unsigned bit) const {
  if (const Extension* table = find(ExtensionType::kFeatureNames)) {
    for (std::size_t at = 0; at + sizeof(RawFeatureName) <= table->data.size();
         at += sizeof(RawFeatureName)) {
      RawFeatureName entry;
      std::memcpy(&entry, table->data.data() + at, sizeof entry);
      if (entry.type != type || entry.bit != bit) continue;
      std::string name(entry.name, ::strnlen(entry.name, sizeof entry.name));
      // image-controlled: must not play with the terminal
      std::replace_if(
          name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
      return fmt::format("'{}'", name);
    }
  }
  static constexpr const char* kKinds[] = {"incompatible", "compatible", "autoclear"};
  return fmt::format("{} feature bit {}", kKinds[type % 3], bit);
}

std::uint64_t Header::l1_entries_for(const Geometry& geometry, std::uint64_t virtual_size) {
  const std::uint64_t coverage = geometry.l2_coverage();
  return virtual_size / coverage + (virtual_size % coverage != 0);
}

bool has_qcow_magic(std::span<const std::byte> start, std::uint32_t* version) {
  if (start.size() < 8 || load_be<std::uint32_t>(start.data()) != kMagic) return false;
  *version = load_be<std::uint32_t>(start.data() + 4);
  return true;
}

Result<Geometry> decode_geometry(std::span<const std::byte> start) {
  RawHeader raw{};
  std::memcpy(&raw, start.data(), sizeof raw);
  if (raw.magic != kMagic) return invalid("the magic number is missing: not a qcow2 image");
  if (raw.version != 2 && raw.version != 3) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("qcow version {} is not supported (2 and 3 are)", +raw.version));
  }
  Geometry geometry;
  geometry.cluster_bits = raw.cluster_bits;
  if (geometry.cluster_bits < kMinClusterBits || geometry.cluster_bits > kMaxClusterBits) {
    return invalid(fmt::format("cluster_bits is {}, expected {} to {}", geometry.cluster_bits,
                               kMinClusterBits, kMaxClusterBits));
  }
  if (raw.version == 3) {
    geometry.refcount_order = raw.refcount_order;
    if (geometry.refcount_order > 6) {
      return invalid(fmt::format("refcount_order is {}, expected 0 to 6", geometry.refcount_order));
    }
    const auto bit = static_cast<unsigned>(Incompatible::kExtendedL2);
    geometry.extended_l2 = (raw.incompatible_features >> bit & 1) != 0;
    if (geometry.extended_l2 && geometry.cluster_bits < 14) {
      return invalid(
          fmt::format("extended L2 entries need clusters of at least 16 KiB, cluster_bits is {}",
                      geometry.cluster_bits));
    }
  }
  return geometry;
}

Result<Header> decode_header(std::span<const std::byte> first_cluster, std::uint64_t file_size) {
  VMM_TRY(Geometry geometry, decode_geometry(first_cluster));
  RawHeader raw{};
  std::memcpy(&raw, first_cluster.data(), sizeof raw);
  Header header;
  header.version = raw.version;
  header.geometry = geometry;
  header.size = raw.size;
  header.crypt_method = raw.crypt_method;
  header.l1_entries = raw.l1_size;
  header.l1_offset = HostOffset(raw.l1_table_offset);
  header.refcount_table_offset = HostOffset(raw.refcount_table_offset);
  header.refcount_table_clusters = raw.refcount_table_clusters;
  header.nr_snapshots = raw.nb_snapshots;
  header.snapshots_offset = HostOffset(raw.snapshots_offset);
  std::size_t length = kV2Length;
  if (header.version == 3) {
    VMM_CHECK(decode_v3_fields(first_cluster, raw, header));
    length = raw.header_length;
  }

  const std::uint64_t l1_bytes = std::uint64_t{header.l1_entries} * 8;
  if (l1_bytes > kMaxL1Bytes) {
    return invalid(fmt::format("the L1 table has {} entries, at most {} are supported",
                               header.l1_entries, kMaxL1Bytes / 8));
  }
  if (Header::l1_entries_for(geometry, header.size) > header.l1_entries) {
    return invalid(fmt::format("a virtual size of {} bytes needs {} L1 entries, there are {}",
                               header.size, Header::l1_entries_for(geometry, header.size),
                               header.l1_entries));
  }
  VMM_CHECK(check_table("L1 table", geometry, header.l1_offset.value, l1_bytes, file_size));
  const std::uint64_t table_bytes = std::uint64_t{header.refcount_table_clusters}
                                    << geometry.cluster_bits;
  if (table_bytes == 0) return invalid("the refcount table is missing (refcount_table_clusters 0)");
  if (table_bytes > kMaxRefcountTableBytes) {
    return invalid(fmt::format("the refcount table has {} bytes, at most {} are supported",
                               table_bytes, kMaxRefcountTableBytes));
  }
  VMM_CHECK(check_table("refcount table", geometry, header.refcount_table_offset.value, table_bytes,
                        file_size));
  if (header.nr_snapshots > kMaxSnapshots) {
    return invalid(
        fmt::format("{} snapshots, at most {} are supported", header.nr_snapshots, kMaxSnapshots));
  }
  // An entry has at least 40 bytes.
  VMM_CHECK(check_table("snapshot table", geometry, header.snapshots_offset.value,
                        std::uint64_t{header.nr_snapshots} * 40, file_size));

  std::size_t extensions_end = first_cluster.size();
  if (raw.backing_file_offset != 0) {
    const std::uint64_t offset = raw.backing_file_offset;
    const std::uint32_t size = raw.backing_file_size;
    if (size > kMaxBackingName || offset > first_cluster.size() ||
        size > first_cluster.size() - offset || offset < length) {
      return invalid(fmt::format(
          "the backing file's name ({} bytes at {:#x}) must have at most {} bytes and lie between "
          "the header and the end of the first cluster",
          size, offset, kMaxBackingName));
    }
    header.backing_file.assign(reinterpret_cast<const char*>(first_cluster.data() + offset), size);
    extensions_end = offset;
  }
  VMM_CHECK(decode_extensions(first_cluster.subspan(length, extensions_end - length), header));
  return header;
}

namespace {

std::vector<std::byte> encode(const Header& header, bool with_names) {
  const Geometry& geometry = header.geometry;
  RawHeader raw{};
  raw.magic = kMagic;
  raw.version = header.version;
  raw.cluster_bits = geometry.cluster_bits;
  raw.size = header.size;
  raw.crypt_method = header.crypt_method;
  raw.l1_size = header.l1_entries;
  raw.l1_table_offset = header.l1_offset.value;
  raw.refcount_table_offset = header.refcount_table_offset.value;
  raw.refcount_table_clusters = header.refcount_table_clusters;
  raw.nb_snapshots = header.nr_snapshots;
  raw.snapshots_offset = header.snapshots_offset.value;
  raw.incompatible_features = header.incompatible;
  raw.compatible_features = header.compatible;
  raw.autoclear_features = header.autoclear;
  raw.refcount_order = geometry.refcount_order;
  raw.header_length = header.length;
  raw.compression_type = static_cast<std::uint8_t>(header.compression_type);

  std::vector<std::byte> bytes;
  if (header.version == 2) {
    put(bytes, &raw, kV2Length);
  } else {
    put(bytes, &raw, std::min<std::size_t>(header.length, sizeof raw));
    put(bytes, header.further_fields.data(), header.further_fields.size());
  }
  for (const Extension& extension : header.extensions) {
    if (!with_names && extension.type == static_cast<std::uint32_t>(ExtensionType::kFeatureNames)) {
      continue;
    }
    put_extension(bytes, extension.type, extension.data);
  }
  put_extension(bytes, static_cast<std::uint32_t>(ExtensionType::kEnd), {});
  if (!header.backing_file.empty()) {
    auto* out = reinterpret_cast<RawHeader*>(bytes.data());
    out->backing_file_offset = bytes.size();
    out->backing_file_size = static_cast<std::uint32_t>(header.backing_file.size());
    put(bytes, header.backing_file.data(), header.backing_file.size());
  }
  return bytes;
}

}  // namespace

Result<std::vector<std::byte>> encode_header(const Header& header) {
  const std::uint64_t room = header.geometry.cluster_size();
  std::vector<std::byte> bytes = encode(header, true);
  if (bytes.size() <= room) return bytes;
  bytes = encode(header, false);  // the names of features are for error messages only
  if (bytes.size() <= room) return bytes;
  return fail(ErrorKind::kInvalid,
              fmt::format("the header needs {} bytes and a cluster has only {}: use a shorter "
                          "backing file name or larger clusters",
                          bytes.size(), room));
}

Extension feature_name_table() {
  static constexpr RawFeatureName kNames[] = {
      {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
      {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
      {2, 0, "bitmaps"},          {2, 1, "raw external data"},
  };
  Extension table{static_cast<std::uint32_t>(ExtensionType::kFeatureNames), {}};
  put(table.data, kNames, sizeof kNames);
  return table;
}

}  // namespace vmm::disk::qcow
