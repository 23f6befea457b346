// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/net_stream.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

namespace vmm::virtio {
namespace {

constexpr std::size_t kLength = sizeof(std::uint32_t);
constexpr std::size_t kInBuffer = 128 << 10;  // bytes: one frame of the largest, and many small
static_assert(kInBuffer > kLength + NetStream::kMaxStreamFrame);

}  // namespace

NetStream::NetStream(UniqueFd socket, std::string name)
    : socket_(std::move(socket)), name_(std::move(name)), in_(kInBuffer) {
}

ssize_t NetStream::receive(std::span<std::byte> header_and_frame) {
  assert(header_and_frame.size() >= sizeof(NetHeader) + kMaxStreamFrame);
  while (true) {
    const std::size_t waiting = in_end_ - in_begin_;
    std::uint32_t length = 0;
    if (waiting >= kLength) {
      std::memcpy(&length, in_.data() + in_begin_, kLength);
      length = ntohl(length);
      // Where the next one begins is not known then.
      if (length > kMaxStreamFrame) return -EBADMSG;
    }
    if (waiting < kLength || waiting < kLength + length) {
      const ssize_t got = fill();
      if (got <= 0) return got;
      continue;
    }
    const std::byte* frame = in_.data() + in_begin_ + kLength;
    in_begin_ += kLength + length;
    if (length < kMinFrame) continue;
    std::memset(header_and_frame.data(), 0, sizeof(NetHeader));
    std::memcpy(header_and_frame.data() + sizeof(NetHeader), frame, length);
    return static_cast<ssize_t>(sizeof(NetHeader) + length);
  }
}

// As read(2).
ssize_t NetStream::fill() {
  std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
  in_end_ -= in_begin_;
  in_begin_ = 0;
  ssize_t got;
  do {
    got = ::read(socket_.get(), in_.data() + in_end_, in_.size() - in_end_);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  in_end_ += static_cast<std::size_t>(got);
  return got;
}

int NetStream::send(std::span<std::byte> header_and_frame) {
  assert(out_begin_ == out_.size());
  std::span<std::byte> frame = header_and_frame.subspan(sizeof(NetHeader));
  if (frame.size() > kMaxStreamFrame) return 0;  // dropped
  // The length takes the place of the header's end.
  const std::span<std::byte> bytes = header_and_frame.subspan(sizeof(NetHeader) - kLength);
  const std::uint32_t length = htonl(static_cast<std::uint32_t>(frame.size()));
  std::memcpy(bytes.data(), &length, kLength);
  ssize_t put;
  do {
    put = ::write(socket_.get(), bytes.data(), bytes.size());
  } while (put < 0 && errno == EINTR);
  if (put < 0) return -errno;
  // The rest must follow before anything else does.
  out_.assign(bytes.begin() + put, bytes.end());
  out_begin_ = 0;
  return 0;
}

int NetStream::flush() {
  while (out_begin_ < out_.size()) {
    const ssize_t put = ::write(socket_.get(), out_.data() + out_begin_, out_.size() - out_begin_);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    out_begin_ += static_cast<std::size_t>(put);
  }
  return 0;
}

}  // namespace vmm::virtio
