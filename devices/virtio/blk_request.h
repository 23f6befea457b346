// SPDX-License-Identifier: Apache-2.0
// BlkRequest: what a driver asks of a block device (virtio 1.2, 5.2.6), read from a descriptor
// chain and checked. Parsing does no I/O; all of what it reads is guest-controlled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/io/iovec.h"

namespace vmm::virtio {

inline constexpr std::uint64_t kSectorSize = 512;  // bytes; the unit of all requests

// virtio 1.2, 5.2.3.
inline constexpr std::uint64_t kBlkSegMax = 1 << 2;
inline constexpr std::uint64_t kBlkReadOnly = 1 << 5;
inline constexpr std::uint64_t kBlkBlockSize = 1 << 6;
inline constexpr std::uint64_t kBlkFlush = 1 << 9;
inline constexpr std::uint64_t kBlkTopology = 1 << 10;
inline constexpr std::uint64_t kBlkConfigWce = 1 << 11;
inline constexpr std::uint64_t kBlkMultiQueue = 1 << 12;
inline constexpr std::uint64_t kBlkDiscard = 1 << 13;
inline constexpr std::uint64_t kBlkWriteZeroes = 1 << 14;

enum class BlkType : std::uint32_t {
  kIn = 0,
  kOut = 1,
  kFlush = 4,
  kGetId = 8,
  kDiscard = 11,
  kWriteZeroes = 13,
};

enum class BlkStatus : std::uint8_t {
  kOk = 0,
  kIoError = 1,
  kUnsupported = 2,
};

inline constexpr std::size_t kBlkIdSize = 20;  // bytes
// What one request may carry; more gets kIoError.
inline constexpr std::uint64_t kBlkMaxBytes = std::uint64_t{1} << 30;
// For one segment of DISCARD and WRITE_ZEROES, and how many there may be.
inline constexpr std::uint32_t kBlkMaxRangeSectors = 1 << 21;
inline constexpr std::uint32_t kBlkMaxRanges = 16;

// What requests are checked against.
struct BlkLimits {
  std::uint64_t nr_sectors = 0;
  bool read_only = false;
  std::uint64_t features = 0;  // negotiated
};

// A range of DISCARD or WRITE_ZEROES.
struct BlkRange {
  BlkStatus verdict = BlkStatus::kOk;  // anything else: touch nothing
  std::uint64_t offset = 0;            // bytes
  std::uint64_t length = 0;            // bytes
  bool unmap = false;
};

struct BlkRequest {
  BlkType type = BlkType::kIn;
  BlkStatus verdict = BlkStatus::kOk;  // anything else: answer this and do nothing
  std::uint64_t offset = 0;            // bytes, for kIn and kOut
  std::uint64_t length = 0;            // bytes of `data`
  std::span<const iovec> data;         // kOut, kDiscard, kWriteZeroes: readable; else writable
  std::byte* status = nullptr;         // where the answer goes; null where the chain has no place
  std::uint64_t status_offset = 0;     // bytes of writable buffers in front of it

  // Cuts header and status off the lists, which it changes for that, and leaves the data.
  static BlkRequest parse(std::span<iovec> readable, std::span<iovec> writable,
                          const BlkLimits& limits);

  // Of kDiscard and kWriteZeroes.
  std::size_t nr_ranges() const;
  BlkRange range(std::size_t index, const BlkLimits& limits) const;

  // How many bytes from the start of the writable buffers on were written, status byte included.
  std::uint32_t nr_written(BlkStatus status) const;
};

}  // namespace vmm::virtio
