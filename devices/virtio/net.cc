// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/net.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "devices/virtio/config_space.h"

namespace vmm::virtio {
namespace {

constexpr std::uint16_t kReceiveQueue = 0;  // virtio 1.2, 5.1.2
// Frames after which others on the loop have their turn.
constexpr int kBudget = 64;

// virtio 1.2, 5.1.4.
struct Config {
  std::uint8_t mac[6];
  Le16 status;
};
constexpr std::uint16_t kLinkUp = 1;

// virtio 1.2, 5.1.6.
constexpr std::uint8_t kNeedsCsum = 1;
constexpr std::uint8_t kGsoNone = 0, kGsoTcp4 = 1, kGsoTcp6 = 4;

}  // namespace

Result<std::unique_ptr<Net>> Net::create(std::unique_ptr<NetBackend> backend, const MacAddress& mac,
                                         EventLoop& loop, const GuestMemory& memory) {
  std::unique_ptr<Net> self(new Net(std::move(backend), mac, loop, memory));
  self->stop_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->stop_fd_) return fail_errno(errno, "eventfd");
  VMM_CHECK(self->watch(EPOLLIN, self->receive_watch_));
  VMM_CHECK(self->watch(EPOLLOUT, self->transmit_watch_));
  return self;
}

Net::Net(std::unique_ptr<NetBackend> backend, const MacAddress& mac, EventLoop& loop,
         const GuestMemory& memory)
    : backend_(std::move(backend)),
      mac_(mac),
      loop_(loop),
      receive_arrived_(loop),
      transmit_arrived_(loop),
      in_hand_(sizeof(NetHeader) + kMaxFrame),
      out_(sizeof(NetHeader) + kMaxFrame),
      pumps_(loop),
      server_(*this, "virtio-net", loop, memory) {
}

Net::~Net() = default;

// A wait cannot be cancelled, so it is for either of two.
Result<void> Net::watch(std::uint32_t events, UniqueFd& watch_fd) {
  watch_fd = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!watch_fd) return fail_errno(errno, "epoll_create1");
  epoll_event backend{.events = events, .data = {}};
  epoll_event stop{.events = EPOLLIN, .data = {}};
  if (::epoll_ctl(watch_fd.get(), EPOLL_CTL_ADD, backend_->descriptor(), &backend) != 0 ||
      ::epoll_ctl(watch_fd.get(), EPOLL_CTL_ADD, stop_fd_.get(), &stop) != 0) {
    return fail_errno(errno, "epoll_ctl");
  }
  return {};
}

std::uint64_t Net::features() const {
  return kMac | kStatus | kMergeBuffers | backend_->offloads();
}

void Net::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  Config config{};
  std::copy(mac_.begin(), mac_.end(), config.mac);
  config.status = link_up_.load(std::memory_order_relaxed) ? kLinkUp : 0;
  read_config_of(config, offset, data);
}

void Net::on_activate(const Activation& activation) {
  driver_features_ = activation.features;
  transport_ = activation.transport;
  receive_queue_size_ = 0;
  for (const ActiveQueue& queue : activation.queues) {
    if (queue.index == kReceiveQueue) receive_queue_size_ = queue.layout.size;
  }
  backend_->accept_offloads(driver_features_);
  in_hand_size_ = 0;  // it was made for another driver's features
  spawn(pumps_, run_receive());
  spawn(pumps_, run_transmit());
}

Task<void> Net::serve_chain(QueueServer::Queue& queue, Chain chain) {
  const bool receives = QueueServer::index_of(queue) == kReceiveQueue;
  (receives ? receive_ : transmit_).push_back({queue, std::move(chain)});
  (receives ? receive_arrived_ : transmit_arrived_).notify_one();
  co_return;
}

void Net::reset(std::function<void()> done) {
  server_.reset([this, done = std::move(done)] { finish(done); });
}

void Net::on_stop() {
  stopping_ = true;
  ::eventfd_write(stop_fd_.get(), 1);
  receive_arrived_.notify_all();
  transmit_arrived_.notify_all();
  while (!receive_.empty()) complete_front(receive_, 0);
  while (!transmit_.empty()) complete_front(transmit_, 0);
}

// The queues are gone; what may still run are the pumps, which will see that they are stopped.
internal::Detached Net::finish(std::function<void()> done) {
  co_await pumps_.close();
  eventfd_t count;
  ::eventfd_read(stop_fd_.get(), &count);
  stopping_ = false;
  pumps_.reopen();
  done();  // from here on *this may be gone
}

void Net::complete_front(std::deque<Waiting>& chains, std::uint32_t written) {
  server_.complete(chains.front().queue, chains.front().chain, written);
  chains.pop_front();
}

Task<void> Net::run_receive() {
  int budget = kBudget;
  while (!stopping_ && link_up_.load(std::memory_order_relaxed)) {
    if (receive_.empty()) {
      co_await receive_arrived_.wait();
      continue;
    }
    if (in_hand_size_ == 0) {
      const ssize_t got = backend_->receive(in_hand_);
      if (got == -EAGAIN) {
        co_await loop_.poll(receive_watch_.get(), POLLIN);
        continue;
      }
      if (got <= 0) {
        unplug(static_cast<int>(-got));
        co_return;
      }
      in_hand_size_ = static_cast<std::size_t>(got);
    }
    if (deliver()) {
      in_hand_size_ = 0;
    } else {
      co_await receive_arrived_.wait();
    }
    if (--budget == 0) {
      budget = kBudget;
      co_await loop_.yield();
    }
  }
}

bool Net::deliver() {
  const bool merge = (driver_features_ & kMergeBuffers) != 0;
  std::size_t room = 0, nr_chains = 0;
  while (room < in_hand_size_ && nr_chains < receive_.size()) {
    const std::uint64_t size = total_size(receive_[nr_chains].chain.writable());
    if (nr_chains == 0 && size < sizeof(NetHeader)) {
      complete_front(receive_, 0);  // against the rules (virtio 1.2, 5.1.6.3.1)
      continue;
    }
    room += size;
    ++nr_chains;
    if (!merge) break;
  }
  if (room >= in_hand_size_) {
    give(std::span(in_hand_).first(in_hand_size_), nr_chains);
    return true;
  }
  // Dropped, where waiting for more buffers would be in vain.
  return nr_chains > 0 && (!merge || receive_.size() >= receive_queue_size_);
}

void Net::give(std::span<const std::byte> bytes, std::size_t nr_chains) {
  NetHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.num_buffers = static_cast<std::uint16_t>(nr_chains);
  std::memcpy(in_hand_.data(), &header, sizeof header);
  while (!bytes.empty()) {
    const std::span<iovec> buffers = receive_.front().chain.writable();
    const std::size_t length = std::min<std::uint64_t>(bytes.size(), total_size(buffers));
    copy_to_iovec(bytes.first(length), buffers, 0);
    bytes = bytes.subspan(length);
    complete_front(receive_, static_cast<std::uint32_t>(length));
  }
}

Task<void> Net::run_transmit() {
  int budget = kBudget;
  while (!stopping_) {
    int error = 0;
    const bool link_up = link_up_.load(std::memory_order_relaxed);
    if (link_up) error = backend_->flush();
    if (error == 0) {
      if (transmit_.empty()) {
        co_await transmit_arrived_.wait();
        continue;
      }
      if (link_up) error = transmit(transmit_.front());
    }
    if (error == -EAGAIN) {
      co_await loop_.poll(transmit_watch_.get(), POLLIN);
      continue;
    }
    if (error != 0) {
      unplug(-error);
    } else {
      complete_front(transmit_, 0);
    }
    if (--budget == 0) {
      budget = kBudget;
      co_await loop_.yield();
    }
  }
}

int Net::transmit(Waiting& waiting) {
  const std::span<iovec> buffers = waiting.chain.readable();
  const std::uint64_t size = total_size(buffers);  // guest-controlled
  if (size < sizeof(NetHeader) + kMinFrame || size > out_.size()) {
    warnings_.warn("virtio-net: the guest sent a frame of {} bytes with its header: dropped", size);
    return 0;
  }
  // First a copy, then the checks: the guest may change its memory at any time.
  copy_from_iovec(buffers, 0, std::span(out_).first(size));
  NetHeader header;
  std::memcpy(&header, out_.data(), sizeof header);
  if (!is_good(header, size - sizeof header)) {
    warnings_.warn(
        "virtio-net: the guest sent a frame with offloads (flags {:#x}, gso_type {:#x}) "
        "that make no sense: dropped",
        header.flags, header.gso_type);
    return 0;
  }
  header.num_buffers = 0;
  std::memcpy(out_.data(), &header, sizeof header);
  return backend_->send(std::span(out_).first(size));
}

// virtio 1.2, 5.1.6.2.
bool Net::is_good(const NetHeader& header, std::size_t frame_size) const {
  const bool needs_csum = (header.flags & kNeedsCsum) != 0;
  if ((header.flags & ~kNeedsCsum) != 0) return false;
  if (needs_csum) {
    if ((driver_features_ & kCsum) == 0) return false;
    const std::size_t csum_end = std::size_t{header.csum_start} + header.csum_offset + 2;
    if (csum_end > frame_size) return false;
  }
  switch (header.gso_type) {
    case kGsoNone:
      return true;
    case kGsoTcp4:
      if ((driver_features_ & kHostTso4) == 0) return false;
      break;
    case kGsoTcp6:
      if ((driver_features_ & kHostTso6) == 0) return false;
      break;
    default:
      return false;
  }
  return needs_csum && header.gso_size != 0 && header.hdr_len <= frame_size;
}

// The cable is out, for good.
void Net::unplug(int error) {
  if (!link_up_.exchange(false)) return;
  log::warn("virtio-net: {} is gone ({}): the guest's link is down", backend_->name(),
            error == 0 ? "it closed the connection" : std::strerror(error));
  receive_arrived_.notify_all();
  transmit_arrived_.notify_all();
  transport_->config_changed();
}

}  // namespace vmm::virtio
