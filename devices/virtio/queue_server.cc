// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue_server.h"

#include <sys/eventfd.h>

#include <cassert>
#include <optional>

namespace vmm::virtio {

// One virtqueue and what belongs to it while the device is active.
class QueueServer::Queue final : public EventLoop::TurnHook {
 public:
  Queue(const ActiveQueue& active, std::unique_ptr<Virtqueue> virtqueue, EventLoop& loop)
      : index(active.index),
        kick_fd(active.kick_fd),
        interrupt(*active.interrupt),
        ring(std::move(virtqueue)),
        room(loop) {}

  void on_turn_end() override {
    if (ring->needs_interrupt()) interrupt.signal();
  }

  const std::uint16_t index;
  const int kick_fd;
  Interrupt& interrupt;
  const std::unique_ptr<Virtqueue> ring;
  WaitQueue room;  // for serve_queue(), while the ring is full
  bool given_up = false;
};

QueueServer::QueueServer(Handler& handler, std::string name, EventLoop& loop,
                         const GuestMemory& memory)
    : handler_(handler), name_(std::move(name)), loop_(loop), memory_(memory), gate_(loop) {
}

QueueServer::~QueueServer() {
  assert(queues_.empty() && "the transport must be stopped first");
}

void QueueServer::activate(Activation activation) {
  loop_.post([this, activation = std::move(activation)] { start(activation); });
}

void QueueServer::reset(std::function<void()> done) {
  loop_.post([this, done = std::move(done)] { finish(done); });
}

void QueueServer::start(const Activation& activation) {
  assert(queues_.empty());
  transport_ = activation.transport;
  handler_.on_activate(activation);
  for (const ActiveQueue& active : activation.queues) {
    Result<std::unique_ptr<Virtqueue>> ring =
        Virtqueue::create(memory_, active.layout, activation.features);
    if (!ring) return report(active.index, ring.error());
    queues_.push_back(std::make_unique<Queue>(active, *std::move(ring), loop_));
  }
  for (const std::unique_ptr<Queue>& queue : queues_) spawn(gate_, serve_queue(*queue));
}

// Ends serve_queue by a kick of our own, and waits for the chains that are being served.
internal::Detached QueueServer::finish(std::function<void()> done) {
  stopping_ = true;
  handler_.on_stop();
  for (const std::unique_ptr<Queue>& queue : queues_) {
    ::eventfd_write(queue->kick_fd, 1);
    queue->room.notify_all();
  }
  co_await gate_.close();
  // The last chain may have been completed in this turn, and is signalled at its end: until then
  // its queue must stay. Two, because a turn resumes in it what its posted work makes ready.
  co_await loop_.yield();
  co_await loop_.yield();
  queues_.clear();
  gate_.reopen();
  stopping_ = false;
  done();  // from here on *this may be gone
}

Task<void> QueueServer::serve_queue(Queue& queue) {
  Virtqueue& ring = *queue.ring;
  // A driver that never stops adding must not keep completions and other queues from their turn.
  std::uint16_t budget = ring.size();
  while (!stopping_ && !queue.given_up) {
    if (ring.full()) {
      co_await queue.room.wait();
      continue;
    }
    if (serve_next(queue)) {
      if (--budget > 0) continue;
      budget = ring.size();
      co_await loop_.yield();
      continue;
    }
    if (queue.given_up) co_return;
    if (!ring.enable_kicks()) continue;
    std::int64_t count = co_await loop_.next_event(queue.kick_fd);
    if (count < 0) {
      give_up(queue, Error::from_errno(static_cast<int>(-count), "waiting for kicks"));
      co_return;
    }
    ring.disable_kicks();
    budget = ring.size();
  }
}

// False: there is none.
bool QueueServer::serve_next(Queue& queue) {
  Result<std::optional<Chain>> popped = queue.ring->pop();
  if (!popped) give_up(queue, popped.error());
  if (!popped || !popped->has_value()) return false;
  spawn(gate_, handler_.serve_chain(queue, **std::move(popped)));
  return true;
}

// A driver that adds all the time does not keep this going: no more than a ring holds.
void QueueServer::take_available() {
  if (stopping_) return;
  for (const std::unique_ptr<Queue>& queue : queues_) {
    for (unsigned left = queue->ring->size(); left > 0 && !queue->given_up; --left) {
      if (queue->ring->full() || !serve_next(*queue)) break;
    }
  }
}

std::uint16_t QueueServer::index_of(const Queue& queue) {
  return queue.index;
}

void QueueServer::complete(Queue& queue, Chain& chain, std::uint32_t written) {
  chain.complete(written);
  if (!queue.room.empty() && !queue.ring->full()) queue.room.notify_all();
  loop_.call_at_turn_end(queue);
}

void QueueServer::give_up(Queue& queue, const Error& error) {
  queue.given_up = true;
  report(queue.index, error);
}

void QueueServer::report(std::uint16_t queue, const Error& error) {
  warnings_.warn("{}: queue {}: {}; the guest must reset the device", name_, queue,
                 error.message());
  transport_->needs_reset();
}

}  // namespace vmm::virtio
