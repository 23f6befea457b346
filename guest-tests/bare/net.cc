// SPDX-License-Identifier: Apache-2.0
// A virtio network device, polled. The runner is at the other end of the cable and sends each frame
// back.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr std::uint64_t kMac = std::uint64_t{1} << 5;
constexpr std::uint32_t kHeader = 12, kFrame = 100;  // bytes; virtio 1.2, 5.1.6

Rings receive_rings, transmit_rings;
volatile std::uint8_t sent[kHeader + kFrame], received[2048];

bool send(Queue& queue, std::uint32_t length) {
  queue.set(0, reinterpret_cast<std::uint64_t>(sent), length, 0);
  queue.make_available(0);
  queue.kick();
  return queue.wait_used();
}

void give_buffer(Queue& queue) {
  queue.set(0, reinterpret_cast<std::uint64_t>(received), sizeof received, kWrite);
  queue.make_available(0);
  queue.kick();
}

unsigned nr_different() {
  unsigned count = 0;
  for (unsigned i = kHeader; i < kHeader + kFrame; ++i) count += sent[i] != received[i] ? 1 : 0;
  return count;
}

}  // namespace

void guest_main() {
  VirtioDevice net;
  check(net.find(1), "a virtio network device is there");
  check((net.features() & kMac) != 0, "it has an address");
  check(net.negotiate(kVersion1 | kMac), "it takes the features");
  check_equal(read<std::uint32_t>(net.config()), 0x03020102, "its address is the one given");
  net.set_up_queue(receive_rings, 0xffff, 0);
  net.set_up_queue(transmit_rings, 0xffff, 1);
  net.driver_ok();

  Queue from_host(net, receive_rings, 0), to_host(net, transmit_rings, 1);
  for (unsigned i = 0; i < kFrame; ++i) sent[kHeader + i] = static_cast<std::uint8_t>(i + 1);
  give_buffer(from_host);
  check(send(to_host, kHeader + kFrame), "a frame is sent");
  std::uint32_t length = 0;
  check(from_host.wait_used(&length), "a frame comes");
  check_equal(length, kHeader + kFrame, "of the same length");
  check_equal(nr_different(), 0, "with the same bytes");
  check(send(to_host, 5), "a frame that is none is dropped");
  sent[0] = 0xff;
  check(send(to_host, kHeader + kFrame), "and one with an unknown header");
  sent[0] = 0;
  give_buffer(from_host);
  check(send(to_host, kHeader + kFrame), "another is sent");
  check(from_host.wait_used(), "and comes");
  // A buffer that waits for a frame must not keep the device from being reset.
  give_buffer(from_host);
  check(net.reset(), "it resets while a buffer waits");
}
