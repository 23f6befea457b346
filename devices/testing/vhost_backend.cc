// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/vhost_backend.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace vmm::testing {
namespace {

// vhost-user.rst, from the back-end's side.
enum : std::uint32_t {
  kGetFeatures = 1,
  kSetMemoryTable = 5,
  kSetVringSize = 8,
  kSetVringAddress = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kGetProtocolFeatures = 15,
};
constexpr std::uint64_t kFeatures =
    0x170000000;  // VERSION_1, protocol features, EVENT_IDX, indirect
constexpr std::uint64_t kReplyAck = 1 << 3;
constexpr std::uint32_t kNeedsReply = 1 << 3;

template <class T>
T load(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  if (at + sizeof value > bytes.size()) std::abort();
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

VhostBackend::VhostBackend(Manner manner) : manner_(manner) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  socket_ = UniqueFd(ends[0]);
  other_end_ = UniqueFd(ends[1]);
  end_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this] { run(); });
}

VhostBackend::~VhostBackend() {
  end();
}

void VhostBackend::end() {
  ::eventfd_write(end_fd_.get(), 1);
  if (thread_.joinable()) thread_.join();
  socket_.reset();
  for (const Region& region : regions_) ::munmap(region.mapped, region.size);
  regions_.clear();
}

void VhostBackend::chatter() {
  ::send(socket_.get(), "hello", 5, MSG_NOSIGNAL);
}

void VhostBackend::run() {
  while (true) {
    std::vector<pollfd> entries = {{end_fd_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
    std::vector<Queue*> kicked;
    for (auto& [index, queue] : queues_) {
      if (!queue.kick) continue;
      entries.push_back({queue.kick.get(), POLLIN, 0});
      kicked.push_back(&queue);
    }
    ::poll(entries.data(), entries.size(), -1);
    if (entries[0].revents != 0) return;
    for (std::size_t i = 0; i < kicked.size(); ++i) {
      if (entries[2 + i].revents != 0) serve_queue(*kicked[i]);
    }
    if (entries[1].revents != 0 && !serve_request()) {
      socket_.reset();
      return;
    }
  }
}

bool VhostBackend::serve_request() {
  struct {
    std::uint32_t request, flags, size;
  } header;
  std::array<std::byte, 512> payload;
  alignas(cmsghdr) std::array<std::byte, 256> control{};
  iovec part = {&header, sizeof header};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  head.msg_control = control.data();
  head.msg_controllen = control.size();
  if (::recvmsg(socket_.get(), &head, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof header)
    return false;
  std::vector<UniqueFd> fds;
  for (cmsghdr* each = CMSG_FIRSTHDR(&head); each != nullptr; each = CMSG_NXTHDR(&head, each)) {
    for (std::size_t at = 0; CMSG_LEN(at) < each->cmsg_len; at += sizeof(int)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(each) + at, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (header.size > payload.size()) std::abort();
  if (header.size > 0 &&
      ::recv(socket_.get(), payload.data(), header.size, MSG_WAITALL) != header.size) {
    return false;
  }
  return handle(header.request, header.flags, std::span(payload).first(header.size),
                std::move(fds));
}

void VhostBackend::answer(std::uint32_t request, std::uint64_t number) {
  struct {
    std::uint32_t request, flags, size;
    std::byte payload[8];
  } message = {request, 1 | 4, sizeof number, {}};
  if (manner_ == Manner::kAnswersOther) ++message.request;
  std::memcpy(message.payload, &number, sizeof number);
  ::send(socket_.get(), &message, sizeof message, MSG_NOSIGNAL);
}

bool VhostBackend::handle(std::uint32_t request, std::uint32_t flags,
                          std::span<const std::byte> payload, std::vector<UniqueFd> fds) {
  if (manner_ == Manner::kEnds) return false;
  if (manner_ == Manner::kSilent) return true;
  switch (request) {
    case kGetFeatures:
      answer(request, manner_ == Manner::kOld ? 0x40000000 : kFeatures);
      return true;
    case kGetProtocolFeatures:
      answer(request, kReplyAck | 0xff00);
      return true;
    case kSetMemoryTable:
      set_memory(payload, fds);
      break;
    case kSetVringSize:
      queues_[load<std::uint32_t>(payload, 0)].size = load<std::uint32_t>(payload, 4);
      break;
    case kSetVringBase:
      queues_[load<std::uint32_t>(payload, 0)].next =
          static_cast<std::uint16_t>(load<std::uint32_t>(payload, 4));
      break;
    case kSetVringAddress: {
      Queue& queue = queues_[load<std::uint32_t>(payload, 0)];
      queue.descriptors = load<std::uint64_t>(payload, 8);
      queue.used = load<std::uint64_t>(payload, 16);
      queue.available = load<std::uint64_t>(payload, 24);
      break;
    }
    case kSetVringCall:
      queues_[load<std::uint8_t>(payload, 0)].call = std::move(fds.at(0));
      break;
    case kSetVringKick:
      queues_[load<std::uint8_t>(payload, 0)].kick = std::move(fds.at(0));
      ++nr_starts_;
      break;
    case kGetVringBase: {
      if (manner_ == Manner::kNeverStops) return true;
      Queue& queue = queues_[load<std::uint32_t>(payload, 0)];
      queue.kick.reset();
      queue.call.reset();
      ++nr_stops_;
      answer(request, queue.next);
      return true;
    }
    default:
      break;
  }
  if ((flags & kNeedsReply) != 0)
    answer(request, manner_ == Manner::kRefuses && request == kSetMemoryTable);
  return true;
}

void VhostBackend::set_memory(std::span<const std::byte> payload,
                              const std::vector<UniqueFd>& fds) {
  for (const Region& region : regions_) ::munmap(region.mapped, region.size);
  regions_.clear();
  for (std::uint32_t i = 0; i < load<std::uint32_t>(payload, 0); ++i) {
    const std::size_t at = 8 + 32 * i;
    Region region = {load<std::uint64_t>(payload, at), load<std::uint64_t>(payload, at + 8),
                     load<std::uint64_t>(payload, at + 16), load<std::uint64_t>(payload, at + 24),
                     nullptr};
    void* mapped = ::mmap(nullptr, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds.at(i).get(),
                          static_cast<off_t>(region.offset));
    if (mapped == MAP_FAILED) std::abort();
    region.mapped = static_cast<std::byte*>(mapped);
    regions_.push_back(region);
  }
}

std::byte* VhostBackend::by_host_address(std::uint64_t address) const {
  for (const Region& region : regions_) {
    if (address - region.host_address < region.size) {
      return region.mapped + (address - region.host_address);
    }
  }
  return nullptr;
}

std::byte* VhostBackend::by_guest_address(std::uint64_t address) const {
  for (const Region& region : regions_) {
    if (address - region.guest_address < region.size) {
      return region.mapped + (address - region.guest_address);
    }
  }
  return nullptr;
}

// virtio 1.2, 2.7; chains of direct descriptors.
void VhostBackend::serve_queue(Queue& queue) {
  eventfd_t count;
  ::eventfd_read(queue.kick.get(), &count);
  const std::byte* descriptors = by_host_address(queue.descriptors);
  const std::byte* available = by_host_address(queue.available);
  std::byte* used = by_host_address(queue.used);
  auto& available_index =
      *reinterpret_cast<std::atomic<std::uint16_t>*>(const_cast<std::byte*>(available) + 2);
  auto& used_index = *reinterpret_cast<std::atomic<std::uint16_t>*>(used + 2);
  while (queue.next != available_index.load(std::memory_order_acquire)) {
    const std::uint32_t slot = queue.next % queue.size;
    const auto chain = load<std::uint16_t>(available + 4 + 2 * slot);
    std::uint32_t written = 0;
    for (std::uint32_t at = chain;;) {
      const std::byte* descriptor = descriptors + 16 * at;
      const auto length = load<std::uint32_t>(descriptor + 8);
      const auto flags = load<std::uint16_t>(descriptor + 12);
      if ((flags & 2) != 0) {
        std::memset(by_guest_address(load<std::uint64_t>(descriptor)), kFilling, length);
        written += length;
      }
      if ((flags & 1) == 0) break;
      at = load<std::uint16_t>(descriptor + 14);
    }
    const std::uint32_t entry[2] = {chain, written};
    std::memcpy(used + 4 + 8 * slot, entry, sizeof entry);
    used_index.store(++queue.next, std::memory_order_release);
  }
  ::eventfd_write(queue.call.get(), 1);
}

}  // namespace vmm::testing
