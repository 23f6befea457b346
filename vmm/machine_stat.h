// SPDX-License-Identifier: Apache-2.0
// What a running machine tells of itself, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/vsock.h"
#include "disk/statistics.h"
#include "vmm/file_id.h"
#include "vmm/kvm/vcpu.h"

namespace vmm {

struct VcpuStat {
  std::uint32_t id = 0;
  bool paused = false;
  kvm::VcpuStats counted;
};

struct DiskStat {
  std::string file;
  FileId file_id;  // when it was opened
  std::string format;
  std::uint64_t size = 0;  // bytes
  bool read_only = false;
  virtio::BlkStats requests;
  RateLimits limits;
  bool waiting = false;  // changes that failed wait to be tried again
  // Nothing where the disk's thread did not answer in time.
  std::optional<std::vector<disk::CacheStatistics>> caches;
};

// How the guest's kernel names the disk: "vda" for 0.
inline std::string device_name(std::size_t index) {
  return std::string("vd") + static_cast<char>('a' + index);
}

struct MachineStat {
  std::uint64_t memory_bytes = 0;
  std::vector<VcpuStat> vcpus;
  std::vector<DiskStat> disks;
  std::optional<virtio::BalloonStats> balloon;
  std::optional<virtio::VsockStats> vsock;
};

}  // namespace vmm
