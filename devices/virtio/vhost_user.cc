// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vhost_user.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "devices/virtio/vhost_rings.h"

namespace vmm::virtio {
namespace {

// All integers are in the byte order of the machine, which both sides run on.
struct Header {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;  // of the payload, in bytes
};
constexpr std::uint32_t kVersion = 1, kVersionMask = 3;
constexpr std::uint32_t kIsAnswer = 1 << 2;
constexpr std::uint32_t kNeedsAnswer = 1 << 3;

// Protocol features.
constexpr std::uint64_t kReplyAck = std::uint64_t{1} << 3;

constexpr std::uint64_t kWantedFeatures = kVhostWantedFeatures | VhostUser::kProtocolFeatures;

struct State {
  std::uint32_t queue;
  std::uint32_t value;
};

struct MemoryRegion {
  std::uint64_t guest_address, size, host_address, offset;
};
constexpr std::size_t kMaxRegions = 8;
struct MemoryTable {
  std::uint32_t nr_regions, padding;
  std::array<MemoryRegion, kMaxRegions> regions;
};

template <class T>
std::span<const std::byte> bytes_of(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

Unexpected<Error> gone() {
  return fail(ErrorKind::kIo, "the back-end has closed the connection");
}

}  // namespace

VhostUser::VhostUser(UniqueFd socket, std::chrono::milliseconds patience)
    : socket_(std::move(socket)), patience_(patience) {
}

Result<std::uint64_t> VhostUser::begin() {
  VMM_TRY(const std::uint64_t features, get(Request::kGetFeatures));
  if ((features & kWantedFeatures) != kWantedFeatures) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("the back-end is too old: it has features {:#x} and needs {:#x}",
                            features, kWantedFeatures));
  }
  VMM_TRY(const std::uint64_t protocol, get(Request::kGetProtocolFeatures));
  VMM_CHECK(set_number(Request::kSetProtocolFeatures, protocol & kReplyAck));
  acknowledges_ = (protocol & kReplyAck) != 0;
  VMM_CHECK(set(Request::kSetOwner, {}));
  return features & ~kProtocolFeatures;
}

Result<void> VhostUser::set_driver_features(std::uint64_t features) {
  return set_number(Request::kSetFeatures, features | kProtocolFeatures);
}

Result<void> VhostUser::set_memory(const GuestMemory& memory) {
  MemoryTable table{};
  std::vector<int> fds;
  for (const GuestMemory::Region& region : memory.regions()) {
    if (table.nr_regions == kMaxRegions) return fail(ErrorKind::kUnsupported, "too many regions");
    table.regions[table.nr_regions++] = {region.start.value, region.size,
                                         reinterpret_cast<std::uint64_t>(region.host),
                                         region.offset};
    fds.push_back(memory.shared_file());
  }
  const std::size_t size = offsetof(MemoryTable, regions) + table.nr_regions * sizeof(MemoryRegion);
  return set(Request::kSetMemoryTable, bytes_of(table).first(size), fds);
}

Result<void> VhostUser::start_queue(std::uint16_t index, const QueueLayout& layout,
                                    const GuestMemory& memory, int kick_fd, int call_fd) {
  VMM_TRY(const vhost_vring_addr address, vhost_ring_addresses(index, layout, memory));
  VMM_CHECK(set_state(Request::kSetVringSize, index, layout.size));
  VMM_CHECK(set_state(Request::kSetVringBase, index, 0));
  VMM_CHECK(set(Request::kSetVringAddress, bytes_of(address)));
  VMM_CHECK(set_descriptor(Request::kSetVringCall, index, call_fd));
  VMM_CHECK(set_descriptor(Request::kSetVringKick, index, kick_fd));
  return set_state(Request::kSetVringEnable, index, 1);
}

Result<void> VhostUser::stop_queue(std::uint16_t index) {
  const State state = {index, 0};
  VMM_TRY([[maybe_unused]] std::uint64_t base, get(Request::kGetVringBase, bytes_of(state)));
  return {};
}

Result<void> VhostUser::set_number(Request request, std::uint64_t number) {
  return set(request, bytes_of(number));
}

Result<void> VhostUser::set_state(Request request, std::uint16_t queue, std::uint32_t value) {
  const State state = {queue, value};
  return set(request, bytes_of(state));
}

Result<void> VhostUser::set_descriptor(Request request, std::uint16_t queue, int fd) {
  const std::uint64_t number = queue;
  return set(request, bytes_of(number), std::span(&fd, 1));
}

Result<void> VhostUser::set(Request request, std::span<const std::byte> payload,
                            std::span<const int> fds) {
  VMM_CHECK(send(request, payload, fds, acknowledges_));
  if (!acknowledges_) return {};
  VMM_TRY(const std::uint64_t status, receive(request));
  if (status == 0) return {};
  return fail(ErrorKind::kIo, fmt::format("the back-end refuses request {} with {}",
                                          static_cast<std::uint32_t>(request), status));
}

Result<std::uint64_t> VhostUser::get(Request request, std::span<const std::byte> payload) {
  VMM_CHECK(send(request, payload, {}, false));
  return receive(request);
}

Result<void> VhostUser::send(Request request, std::span<const std::byte> payload,
                             std::span<const int> fds, bool wants_answer) {
  const Header header = {static_cast<std::uint32_t>(request),
                         kVersion | (wants_answer ? kNeedsAnswer : 0),
                         static_cast<std::uint32_t>(payload.size())};
  std::vector<std::byte> message(sizeof header + payload.size());
  std::memcpy(message.data(), &header, sizeof header);
  if (!payload.empty()) {
    std::memcpy(message.data() + sizeof header, payload.data(), payload.size());
  }
  iovec part = {message.data(), message.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxRegions * sizeof(int))> control{};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  if (!fds.empty()) {
    head.msg_control = control.data();
    head.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  VMM_CHECK(wait_for(POLLOUT));
  ssize_t put;
  do {
    put = ::sendmsg(socket_.get(), &head, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (put < 0 && errno == EINTR);
  if (put < 0 && errno == EPIPE) return gone();
  if (put < 0) return fail_errno(errno, "sendmsg");
  // It is far smaller than a socket's buffer, which nothing else is in.
  if (static_cast<std::size_t>(put) != message.size()) {
    return fail(ErrorKind::kIo, "the back-end does not read what it is sent");
  }
  return {};
}

Result<std::uint64_t> VhostUser::receive(Request request) {
  struct {
    Header header;
    std::byte payload[sizeof(std::uint64_t)];
  } answer{};
  static_assert(sizeof answer == sizeof(Header) + sizeof(std::uint64_t));
  auto* at = reinterpret_cast<std::byte*>(&answer);
  for (std::size_t done = 0; done < sizeof answer;) {
    VMM_CHECK(wait_for(POLLIN));
    const ssize_t got = ::recv(socket_.get(), at + done, sizeof answer - done, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return gone();
    if (got < 0) return fail_errno(errno, "recv");
    done += static_cast<std::size_t>(got);
  }
  const bool is_good =
      answer.header.request == static_cast<std::uint32_t>(request) &&
      (answer.header.flags & (kVersionMask | kIsAnswer)) == (kVersion | kIsAnswer) &&
      answer.header.size == sizeof answer.payload;
  if (!is_good) return fail(ErrorKind::kInvalid, "the back-end does not keep to the protocol");
  std::uint64_t number;
  std::memcpy(&number, answer.payload, sizeof number);
  return number;
}

Result<void> VhostUser::wait_for(short events) {
  pollfd entry = {socket_.get(), events, 0};
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready > 0) return {};
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail_errno(errno, "poll");
    return fail(ErrorKind::kBusy,
                fmt::format("the back-end has not answered in {} ms", patience_.count()));
  }
}

}  // namespace vmm::virtio
