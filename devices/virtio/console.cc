// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/console.h"

#include <algorithm>

namespace vmm::virtio {
namespace {

constexpr std::uint16_t kReceiveQueue = 0;  // virtio 1.2, 5.3.2: towards the guest

}  // namespace

Console::Console(legacy::ConsoleSink& output, EventLoop& loop, const GuestMemory& memory)
    : output_(output), loop_(loop), arrived_(loop), server_(*this, "virtio-console", loop, memory) {
}

void Console::read_config(std::uint64_t /*offset*/, std::span<std::byte> data) const {
  // Columns and rows, which count only with a feature that is not offered.
  std::fill(data.begin(), data.end(), std::byte{0});
}

std::size_t Console::input(std::span<const std::byte> bytes) {
  std::size_t taken;
  {
    std::lock_guard lock(mutex_);
    taken = std::min(bytes.size(), waiting_.room());
    for (std::byte byte : bytes.first(taken)) waiting_.push(byte);
    if (taken < bytes.size()) input_refused_ = true;
  }
  if (taken > 0) loop_.post([this] { arrived_.notify_one(); });
  return taken;
}

Task<void> Console::serve_chain(QueueServer::Queue& queue, Chain chain) {
  std::uint32_t nr_written = 0;
  if (QueueServer::index_of(queue) != kReceiveQueue) {
    send(chain.readable());
  } else if (!chain.writable().empty()) {
    // Which of the waiting chains takes the bytes does not matter: they are used in that order.
    while (!server_.stopping() && (nr_written = take_input(chain.writable())) == 0) {
      co_await arrived_.wait();
    }
    // There may be more than fitted into this one.
    if (nr_written > 0) arrived_.notify_one();
  }
  server_.complete(queue, chain, nr_written);
}

void Console::send(std::span<const iovec> buffers) {
  for (const iovec& buffer : buffers) {
    output_.write(std::span(static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len));
  }
}

std::uint32_t Console::take_input(std::span<const iovec> buffers) {
  std::uint32_t nr_taken = 0;
  bool has_room = false;
  {
    std::lock_guard lock(mutex_);
    for (const iovec& buffer : buffers) {
      auto* at = static_cast<std::byte*>(buffer.iov_base);
      std::size_t length = std::min(buffer.iov_len, waiting_.size());
      for (std::size_t i = 0; i < length; ++i) at[i] = waiting_.pop();
      nr_taken += static_cast<std::uint32_t>(length);
    }
    if (input_refused_ && waiting_.size() <= kInputBuffer / 2) {
      input_refused_ = false;
      has_room = true;
    }
  }
  if (has_room && on_input_room_) on_input_room_();
  return nr_taken;
}

}  // namespace vmm::virtio
