// SPDX-License-Identifier: Apache-2.0
// A virtio console, polled: sends back what is typed. The runner types, and looks at the output.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr std::uint32_t kTyped = 17;  // bytes of "typed by the host"

Rings receive_rings, transmit_rings;
volatile char typed[64];
const char prefix[] = "back: ";
const char end_of_line[] = "\n";

// Takes what is typed, in as many pieces as it comes.
std::uint32_t receive(Queue& queue) {
  std::uint32_t nr_received = 0;
  while (nr_received < kTyped) {
    queue.set(0, reinterpret_cast<std::uint64_t>(typed) + nr_received, kTyped - nr_received,
              kWrite);
    queue.make_available(0);
    queue.kick();
    std::uint32_t length = 0;
    if (!queue.wait_used(&length) || length == 0) break;
    nr_received += length;
  }
  return nr_received;
}

}  // namespace

void guest_main() {
  VirtioDevice console;
  check(console.find(3), "a virtio console is there");
  check(console.negotiate(kVersion1), "it takes the features");
  check_equal(read<std::uint16_t>(console.common(kNumQueues)), 2, "it has two queues");
  console.set_up_queue(receive_rings, 0xffff, 0);
  console.set_up_queue(transmit_rings, 0xffff, 1);
  console.driver_ok();

  Queue from_host(console, receive_rings, 0), to_host(console, transmit_rings, 1);
  check_equal(receive(from_host), kTyped, "what the host types arrives");
  to_host.set(0, reinterpret_cast<std::uint64_t>(prefix), sizeof prefix - 1, kNext, 1);
  to_host.set(1, reinterpret_cast<std::uint64_t>(typed), kTyped, kNext, 2);
  to_host.set(2, reinterpret_cast<std::uint64_t>(end_of_line), 1, 0);
  to_host.make_available(0);
  to_host.kick();
  check(to_host.wait_used(), "what the guest sends is taken");
  // A buffer that waits for input must not keep the console from being reset.
  from_host.set(0, reinterpret_cast<std::uint64_t>(typed), 1, kWrite);
  from_host.make_available(0);
  from_host.kick();
  check(console.reset(), "it resets while a buffer waits");
}
