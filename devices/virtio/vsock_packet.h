// SPDX-License-Identifier: Apache-2.0
// What goes over the queues of a virtio socket device (virtio 1.2, 5.10.6).
#pragma once

#include <cstdint>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {

// In front of each packet. In those from the driver every field is guest-controlled.
struct VsockHeader {
  Le64 src_cid;
  Le64 dst_cid;
  Le32 src_port;
  Le32 dst_port;
  Le32 len;  // bytes behind the header
  Le16 type;
  Le16 op;
  Le32 flags;
  // Of the sender: how much it takes in, and how much it has handed on so far, modulo 2^32.
  Le32 buf_alloc;
  Le32 fwd_cnt;
};
static_assert(sizeof(VsockHeader) == 44);

inline constexpr std::uint16_t kVsockStream = 1;  // VsockHeader::type
inline constexpr std::uint64_t kVsockHostCid = 2;
inline constexpr std::uint64_t kVsockMinGuestCid = 3;
inline constexpr std::uint64_t kVsockMaxGuestCid = 0xfffffffe;  // 2^32 - 1: any (vsock(7))

enum class VsockOp : std::uint16_t {
  kRequest = 1,
  kResponse = 2,
  kRst = 3,
  kShutdown = 4,
  kRw = 5,
  kCreditUpdate = 6,
  kCreditRequest = 7,
};

// VsockHeader::flags of kShutdown: the sender will take no more, will send no more.
inline constexpr std::uint32_t kVsockNoReceive = 1;
inline constexpr std::uint32_t kVsockNoSend = 2;

}  // namespace vmm::virtio
