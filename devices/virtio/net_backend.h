// SPDX-License-Identifier: Apache-2.0
// NetBackend: the host's end of a virtual network cable: a tap device (vmm/net_tap.h), or the
// program passt on a socket (net_stream.h).
//
// All calls come from one thread, and none of them blocks.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {

// What stands before each frame in the rings (virtio 1.2, 5.1.6).
struct NetHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  Le16 hdr_len;
  Le16 gso_size;
  Le16 csum_start;
  Le16 csum_offset;
  Le16 num_buffers;
};
static_assert(sizeof(NetHeader) == 12);

inline constexpr std::size_t kMinFrame = 14;  // bytes: an Ethernet header
// Bytes: what a segmentation offload makes at most, and headers.
inline constexpr std::size_t kMaxFrame = 65536 + 64;

class NetBackend {
 public:
  virtual ~NetBackend() = default;

  // For messages: "tap0", "passt".
  virtual const char* name() const = 0;
  // Feature bits of checksums and segmentation (virtio 1.2, 5.1.3) that it can do.
  virtual std::uint64_t offloads() const { return 0; }
  // The driver accepted these feature bits.
  virtual void accept_offloads(std::uint64_t /*features*/) {}

  // Takes the next frame from the host, with its header in front. Gives their length, 0 at the end
  // of the cable, or a negative errno; -EAGAIN: none is there, wait for descriptor().
  virtual ssize_t receive(std::span<std::byte> header_and_frame) = 0;
  // Gives a frame of kMinFrame to kMaxFrame bytes with its header to the host, or drops it as a
  // switch would. After flush() gave 0. May change the bytes. 0, or a negative errno: -EAGAIN: not
  // now, wait for descriptor().
  virtual int send(std::span<std::byte> header_and_frame) = 0;
  // Sends what a send() left behind. As send().
  virtual int flush() { return 0; }

  // To be waited on with poll(2).
  virtual int descriptor() const = 0;
};

}  // namespace vmm::virtio
