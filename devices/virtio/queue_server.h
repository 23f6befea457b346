// SPDX-License-Identifier: Apache-2.0
// QueueServer: what every device does with its queues: a coroutine per queue waits for kicks, one
// per chain does what the device is for, and once per turn of the loop the driver is interrupted if
// it wants to be. All but activate() and reset(), which vCPU threads call, runs on the loop's
// thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "devices/virtio/chain.h"
#include "devices/virtio/device.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::virtio {

class QueueServer {
 public:
  class Queue;

  // The device. Called on the loop's thread.
  class Handler {
   public:
    virtual ~Handler() = default;
    // Before the first chain.
    virtual void on_activate(const Activation& /*activation*/) {}
    // Must complete the chain, by QueueServer::complete(). Any number of them run at once.
    virtual Task<void> serve_chain(Queue& queue, Chain chain) = 0;
    // Chains that wait for something other than I/O must now be completed: the driver resets.
    virtual void on_stop() {}
  };

  // `name` is for messages. All must outlive the server.
  QueueServer(Handler& handler, std::string name, EventLoop& loop, const GuestMemory& memory);
  ~QueueServer();

  // Device::activate() and Device::reset().
  void activate(Activation activation);
  void reset(std::function<void()> done);

  static std::uint16_t index_of(const Queue& queue);
  void complete(Queue& queue, Chain& chain, std::uint32_t written);
  // The driver broke a rule: the queue is left alone until it resets the device.
  void give_up(Queue& queue, const Error& error);
  bool stopping() const { return stopping_; }
  // On the loop's thread: starts what the driver has made available by now, instead of when its
  // kicks arrive.
  void take_available();

 private:
  void start(const Activation& activation);
  internal::Detached finish(std::function<void()> done);
  Task<void> serve_queue(Queue& queue);
  bool serve_next(Queue& queue);
  void report(std::uint16_t queue, const Error& error);

  Handler& handler_;
  const std::string name_;
  EventLoop& loop_;
  const GuestMemory& memory_;
  Transport* transport_ = nullptr;
  std::vector<std::unique_ptr<Queue>> queues_;
  Gate gate_;  // every coroutine of a queue or a chain
  bool stopping_ = false;
  log::RateLimit warnings_;
};

}  // namespace vmm::virtio
