// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/fs.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "devices/virtio/config_space.h"
#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

// virtio 1.2, 5.11.4.
struct Config {
  char tag[Fs::kMaxTag];
  Le32 num_request_queues;
};
static_assert(sizeof(Config) == 40);

}  // namespace

Result<std::unique_ptr<Fs>> Fs::create(UniqueFd backend, std::string tag, EventLoop& loop,
                                       const GuestMemory& memory,
                                       std::chrono::milliseconds patience) {
  assert(!tag.empty() && tag.size() <= kMaxTag && memory.shared_file() >= 0);
  std::unique_ptr<Fs> self(new Fs(std::move(backend), std::move(tag), loop, memory, patience));
  VMM_CHECK(self->open_descriptors());
  VMM_TRY([[maybe_unused]] std::uint64_t features, self->backend_.begin());
  return self;
}

Fs::Fs(UniqueFd backend, std::string tag, EventLoop& loop, const GuestMemory& memory,
       std::chrono::milliseconds patience)
    : backend_(std::move(backend), patience),
      tag_(std::move(tag)),
      loop_(loop),
      memory_(memory),
      calls_(loop),
      gate_(loop) {
}

Fs::~Fs() = default;

// Those that are needed later: the device's thread may make none then.
Result<void> Fs::open_descriptors() {
  stop_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  watch_fd_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!stop_fd_ || !watch_fd_) return fail_errno(errno, "eventfd or epoll_create1");
  VMM_CHECK(calls_.open(kNrQueues));
  for (int fd : {stop_fd_.get(), backend_.descriptor()}) {
    epoll_event event{.events = EPOLLIN | EPOLLRDHUP, .data = {}};
    if (::epoll_ctl(watch_fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return fail_errno(errno, "epoll_ctl");
    }
  }
  return {};
}

void Fs::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  Config config{};
  tag_.copy(config.tag, sizeof config.tag);
  config.num_request_queues = kNrQueues - 1;
  read_config_of(config, offset, data);
}

void Fs::activate(Activation activation) {
  loop_.post([this, activation = std::move(activation)] { start(activation); });
}

void Fs::reset(std::function<void()> done) {
  loop_.post([this, done = std::move(done)] { stop(done); });
}

void Fs::start(const Activation& activation) {
  transport_ = activation.transport;
  if (lost_) return transport_->needs_reset();
  Result<void> started = start_backend(activation);
  if (!started) return lose(started.error());
  for (const ActiveQueue& active : activation.queues) {
    calls_.start(active.index, *active.interrupt);
  }
  spawn(gate_, watch());
}

Result<void> Fs::start_backend(const Activation& activation) {
  VMM_CHECK(backend_.set_driver_features(activation.features));
  VMM_CHECK(backend_.set_memory(memory_));
  for (const ActiveQueue& active : activation.queues) {
    // Also where that fails: how far it came is not known.
    started_[active.index] = true;
    VMM_CHECK(backend_.start_queue(active.index, active.layout, memory_, active.kick_fd,
                                   calls_.descriptor(active.index)));
  }
  return {};
}

internal::Detached Fs::stop(std::function<void()> done) {
  stopping_ = true;
  for (std::uint16_t i = 0; i < kNrQueues; ++i) {
    if (started_[i] && !lost_) {
      Result<void> stopped = backend_.stop_queue(i);
      if (!stopped) lose(stopped.error());
    }
    started_[i] = false;
  }
  co_await calls_.stop();
  ::eventfd_write(stop_fd_.get(), 1);
  co_await gate_.close();
  eventfd_t count;
  ::eventfd_read(stop_fd_.get(), &count);
  gate_.reopen();
  stopping_ = false;
  done();  // from here on *this may be gone
}

// Nothing comes from the back-end that was not asked for; so this sees its end.
Task<void> Fs::watch() {
  while (!stopping_ && !lost_) {
    co_await loop_.poll(watch_fd_.get(), POLLIN);
    if (stopping_ || lost_) co_return;
    char byte;
    const ssize_t got = ::recv(backend_.descriptor(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    lose(Error(ErrorKind::kIo,
               got > 0 ? "the back-end says what nobody asked for" : "the back-end has ended"));
  }
}

// A back-end that has only lost its connection ends then, but it may touch the guest's memory for a
// moment more: that is shared with it, and nothing else is.
void Fs::lose(const Error& why) {
  if (lost_) return;
  lost_ = true;
  log::error("--share: {}; the guest's file system '{}' does not answer any more", why.message(),
             tag_);
  ::shutdown(backend_.descriptor(), SHUT_RDWR);
  if (transport_ != nullptr) transport_->needs_reset();
}

}  // namespace vmm::virtio
