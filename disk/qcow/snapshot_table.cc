// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/snapshot_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "disk/aligned_buffer.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

struct RawSnapshot {
  Be64 l1_table_offset;
  Be32 l1_size;
  Be16 id_size;
  Be16 name_size;
  Be32 date_seconds;
  Be32 date_nanoseconds;
  Be64 vm_clock_nanoseconds;
  Be32 vm_state_size;
  Be32 extra_data_size;
};
static_assert(sizeof(RawSnapshot) == 40);
constexpr std::size_t kKnownExtra = 24;  // vm_state_size, disk_size, icount
constexpr std::size_t kMaxExtra = 1024;  // bytes
constexpr std::size_t kReadAhead = 1
                                   << 16;  // bytes; no entry is longer than three strings of 64 KiB

Unexpected<Error> invalid(std::size_t index, std::string what) {
  return fail(ErrorKind::kInvalid, fmt::format("snapshot table entry {}: {}", index, what));
}

// image-controlled
Result<void> check_l1(const Snapshot& snapshot, std::size_t index, const Geometry& geometry,
                      std::uint64_t file_size) {
  const std::uint64_t bytes = std::uint64_t{snapshot.l1_entries} * 8;
  const std::uint64_t at = snapshot.l1_offset.value;
  if (bytes > kMaxL1Bytes) {
    return invalid(index, fmt::format("its L1 table has {} entries, at most {} are supported",
                                      snapshot.l1_entries, kMaxL1Bytes / 8));
  }
  if (bytes > 0 && (!geometry.is_cluster_aligned(at) || at > file_size || bytes > file_size - at)) {
    return invalid(index, fmt::format("its L1 table cannot be at {:#x}", at));
  }
  return {};
}

// Reads one entry from `bytes`; gives its length, or 0 where there are too few bytes.
Result<std::size_t> decode(std::span<const std::byte> bytes, std::size_t index, Snapshot& out) {
  RawSnapshot raw;
  if (bytes.size() < sizeof raw) return std::size_t{0};
  std::memcpy(&raw, bytes.data(), sizeof raw);
  const std::size_t extra = raw.extra_data_size;
  if (extra > kMaxExtra) return invalid(index, fmt::format("{} bytes of extra data", extra));
  const std::size_t length = sizeof raw + extra + raw.id_size + raw.name_size;
  if (bytes.size() < length) return std::size_t{0};
  out.l1_offset = HostOffset(raw.l1_table_offset);
  out.l1_entries = raw.l1_size;
  out.date_seconds = raw.date_seconds;
  out.date_nanoseconds = raw.date_nanoseconds;
  out.vm_clock_nanoseconds = raw.vm_clock_nanoseconds;
  out.vm_state_size = raw.vm_state_size;
  const std::byte* at = bytes.data() + sizeof raw;
  if (extra >= 8) out.vm_state_size = load_be<std::uint64_t>(at);
  if (extra >= 16) out.disk_size = load_be<std::uint64_t>(at + 8);
  if (extra >= 24) out.instruction_count = load_be<std::uint64_t>(at + 16);
  if (extra > kKnownExtra) out.further_fields.assign(at + kKnownExtra, at + extra);
  at += extra;
  out.id.assign(reinterpret_cast<const char*>(at), raw.id_size);
  out.name.assign(reinterpret_cast<const char*>(at + raw.id_size), raw.name_size);
  return (length + 7) & ~std::size_t{7};
}

}  // namespace

Snapshot new_snapshot(std::string name) {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  Snapshot snapshot;
  snapshot.name = std::move(name);
  snapshot.date_seconds = static_cast<std::uint32_t>(now.tv_sec);
  snapshot.date_nanoseconds = static_cast<std::uint32_t>(now.tv_nsec);
  return snapshot;
}

Task<Result<std::vector<Snapshot>>> load_snapshots(Storage& storage, const Header& header) {
  std::vector<Snapshot> snapshots;
  std::uint64_t at = header.snapshots_offset.value;
  const std::uint64_t end = std::min(storage.size(), at + kMaxSnapshotTableBytes);
  AlignedBuffer window(3 * kReadAhead);
  for (std::uint32_t i = 0; i < header.nr_snapshots; ++i) {
    // One read for each entry: tables are small.
    const std::uint64_t there = std::min<std::uint64_t>(window.size(), end > at ? end - at : 0);
    iovec part{window.data(), there};
    Result<void> read = co_await storage.readv(at, IoVec(&part, 1));
    if (!read) co_return Unexpected(std::move(read).error().with_context("snapshot table"));
    Snapshot snapshot;
    snapshot.disk_size = header.size;
    VMM_CO_TRY(std::size_t length, decode(window.bytes().first(there), i, snapshot));
    if (length == 0) {
      Result<void> cut = invalid(i, "the table leaves the file or its limit of 64 MiB");
      co_return Unexpected(std::move(cut).error());
    }
    VMM_CO_CHECK(check_l1(snapshot, i, header.geometry, storage.size()));
    snapshots.push_back(std::move(snapshot));
    at += length;
  }
  co_return snapshots;
}

Result<std::vector<std::byte>> encode_snapshots(const std::vector<Snapshot>& snapshots) {
  std::vector<std::byte> bytes;
  auto put = [&](const void* data, std::size_t size) {
    const std::size_t at = bytes.size();
    bytes.resize(at + size);
    if (size > 0) std::memcpy(bytes.data() + at, data, size);
  };
  if (snapshots.size() > kMaxSnapshots) {
    return fail(ErrorKind::kNoSpace,
                fmt::format("an image has at most {} snapshots", kMaxSnapshots));
  }
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.name.size() > 0xffff || snapshot.id.size() > 0xffff) {
      return fail(ErrorKind::kInvalid, "a snapshot's name has more than 65535 bytes");
    }
    RawSnapshot raw{};
    raw.l1_table_offset = snapshot.l1_offset.value;
    raw.l1_size = snapshot.l1_entries;
    raw.id_size = static_cast<std::uint16_t>(snapshot.id.size());
    raw.name_size = static_cast<std::uint16_t>(snapshot.name.size());
    raw.date_seconds = snapshot.date_seconds;
    raw.date_nanoseconds = snapshot.date_nanoseconds;
    raw.vm_clock_nanoseconds = snapshot.vm_clock_nanoseconds;
    raw.vm_state_size = snapshot.vm_state_size > 0xffffffff
                            ? 0u
                            : static_cast<std::uint32_t>(snapshot.vm_state_size);
    raw.extra_data_size = static_cast<std::uint32_t>(kKnownExtra + snapshot.further_fields.size());
    put(&raw, sizeof raw);
    const Be64 extra[3] = {snapshot.vm_state_size, snapshot.disk_size, snapshot.instruction_count};
    put(extra, sizeof extra);
    put(snapshot.further_fields.data(), snapshot.further_fields.size());
    put(snapshot.id.data(), snapshot.id.size());
    put(snapshot.name.data(), snapshot.name.size());
    bytes.resize((bytes.size() + 7) & ~std::size_t{7});
  }
  if (bytes.size() > kMaxSnapshotTableBytes) {
    return fail(ErrorKind::kNoSpace, "the snapshot table would exceed 64 MiB");
  }
  return bytes;
}

}  // namespace vmm::disk::qcow
