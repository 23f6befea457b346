// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/rng.h"

#include <sys/random.h>

#include <algorithm>

namespace vmm::virtio {

void Rng::read_config(std::uint64_t /*offset*/, std::span<std::byte> data) const {
  std::fill(data.begin(), data.end(), std::byte{0});
}

// getrandom() does not wait: the host's pool was ready long before any guest.
Task<void> Rng::serve_chain(QueueServer::Queue& queue, Chain chain) {
  std::uint32_t nr_written = 0;
  for (const iovec& buffer : chain.writable()) {
    std::size_t length = std::min<std::size_t>(buffer.iov_len, kMaxBytes - nr_written);
    ssize_t got = ::getrandom(buffer.iov_base, length, 0);
    if (got > 0) nr_written += static_cast<std::uint32_t>(got);
    if (got < 0 || static_cast<std::size_t>(got) < buffer.iov_len) break;
  }
  server_.complete(queue, chain, nr_written);
  co_return;
}

}  // namespace vmm::virtio
