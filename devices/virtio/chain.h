// SPDX-License-Identifier: Apache-2.0
// Chain: one descriptor chain that the driver made available: the guest's buffers, already checked
// to lie in guest memory. It is move-only and must be completed exactly once.
//
// A chain belongs to its Virtqueue's thread, and the queue must outlive it.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "vmm/io/iovec.h"

namespace vmm::virtio {

class Virtqueue;

// What a chain is made of. The queue keeps these and hands them out again, so that a request
// allocates nothing.
struct ChainBuffers {
  std::uint16_t head = 0;
  // Device-readable buffers, then device-writable ones. Neighbours that meet in host memory are
  // one entry: nothing may depend on how a driver cuts its buffers (virtio 1.2, 2.7.4).
  std::vector<iovec> iov;
  std::size_t nr_readable = 0;  // entries
};

class Chain {
 public:
  Chain(Virtqueue& queue, ChainBuffers& buffers) : queue_(&queue), buffers_(&buffers) {}
  Chain(Chain&& other) noexcept
      : queue_(other.queue_), buffers_(std::exchange(other.buffers_, nullptr)) {}
  Chain& operator=(Chain&&) = delete;
  ~Chain() { assert(buffers_ == nullptr && "a chain was dropped: its driver would wait forever"); }

  // The entries may be changed by their user: requests cut off their headers in place.
  std::span<iovec> readable() { return std::span(buffers_->iov).first(buffers_->nr_readable); }
  std::span<iovec> writable() { return std::span(buffers_->iov).subspan(buffers_->nr_readable); }

  // Returns the chain to the driver. `written`: at least so many bytes were written from the start
  // of the writable buffers on.
  void complete(std::uint32_t written);

 private:
  Virtqueue* queue_;
  ChainBuffers* buffers_;
};

}  // namespace vmm::virtio
