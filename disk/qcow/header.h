// SPDX-License-Identifier: Apache-2.0
// The header of a qcow2 image, versions 2 and 3: decoded, checked against limits, and encoded
// again with everything this program does not know left as it was.
//
// Source of every field: QEMU's docs/interop/qcow2.txt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "disk/qcow/units.h"
#include "disk/storage.h"
#include "vmm/core/result.h"

namespace vmm::disk::qcow {

// What an image may ask for at most; more is an attack or damage, never a real image.
inline constexpr std::uint32_t kMinClusterBits = 9;
inline constexpr std::uint32_t kMaxClusterBits = 21;
inline constexpr std::uint64_t kMaxL1Bytes = 32 << 20;
inline constexpr std::uint64_t kMaxRefcountTableBytes = 8 << 20;
inline constexpr std::uint32_t kMaxSnapshots = 65536;
inline constexpr std::uint64_t kMaxSnapshotTableBytes = 64 << 20;
inline constexpr std::uint32_t kMaxBackingName = 1023;
inline constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 56;  // of anything in the file

enum class Incompatible : unsigned {
  kDirty = 0,        // refcounts may be wrong: repair before relying on them
  kCorrupt = 1,      // must not be written before a repair
  kDataFile = 2,     // guest clusters are in another file
  kCompression = 3,  // compression_type is not zlib
  kExtendedL2 = 4,   // subclusters
};
enum class Compatible : unsigned { kLazyRefcounts = 0 };
enum class Autoclear : unsigned {
  kBitmaps = 0,      // the bitmaps extension is consistent
  kRawDataFile = 1,  // the data file is a raw image of the disk
};

enum class CompressionType : std::uint8_t { kZlib = 0, kZstd = 1 };

enum class ExtensionType : std::uint32_t {
  kEnd = 0,
  kBackingFormat = 0xe2792aca,
  kFeatureNames = 0x6803f857,
  kBitmaps = 0x23852875,
  kFullDiskEncryption = 0x0537be77,
  kDataFileName = 0x44415441,
};

struct Extension {
  std::uint32_t type = 0;
  std::vector<std::byte> data;
};

struct Header {
  std::uint32_t version = 3;
  Geometry geometry;
  std::uint64_t size = 0;  // virtual size in bytes
  std::uint32_t crypt_method = 0;
  std::uint32_t l1_entries = 0;
  HostOffset l1_offset;
  HostOffset refcount_table_offset;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t nr_snapshots = 0;
  HostOffset snapshots_offset;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  CompressionType compression_type = CompressionType::kZlib;
  std::uint32_t length = 112;             // of the fields, version 3: 104, 112 or more
  std::vector<std::byte> further_fields;  // of a longer header than this program knows
  std::vector<Extension> extensions;      // all of them, in order, without the end marker
  std::string backing_file;               // empty: none

  bool has(Incompatible bit) const { return (incompatible >> static_cast<unsigned>(bit) & 1) != 0; }
  bool has(Compatible bit) const { return (compatible >> static_cast<unsigned>(bit) & 1) != 0; }
  bool has(Autoclear bit) const { return (autoclear >> static_cast<unsigned>(bit) & 1) != 0; }
  void set(Incompatible bit, bool on);
  void set(Autoclear bit, bool on);

  const Extension* find(ExtensionType type) const;
  // A text extension; nothing where it is absent.
  std::optional<std::string> text(ExtensionType type) const;
  void set_text(ExtensionType type, const std::string& value);  // empty: removes it

  // What the image calls a feature bit ("incompatible feature 5"), by its own table of names.
  std::string feature_name(unsigned type, unsigned bit) const;

  // L1 entries that `virtual_size` needs.
  static std::uint64_t l1_entries_for(const Geometry& geometry, std::uint64_t virtual_size);
};

// True where the bytes start like a qcow image; then *version is 1, 2, 3 or what stands there.
bool has_qcow_magic(std::span<const std::byte> start, std::uint32_t* version);

// The cluster size a header claims, so that the caller knows how much to read: `start` has at least
// 112 bytes.
Result<Geometry> decode_geometry(std::span<const std::byte> start);

// `first_cluster`: the file's first cluster, zeros where the file is shorter. `file_size` in bytes.
Result<Header> decode_header(std::span<const std::byte> first_cluster, std::uint64_t file_size);

// Reads and checks the header; changes nothing, opens nothing the image names.
Task<Result<Header>> read_header(Storage& storage);

// At most one cluster long. Leaves the names of features out where they do not fit, and fails where
// other extensions and the backing file's name do not.
Result<std::vector<std::byte>> encode_header(const Header& header);

// The names of the feature bits above, for images made here.
Extension feature_name_table();

}  // namespace vmm::disk::qcow
