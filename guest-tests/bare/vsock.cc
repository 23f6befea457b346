// SPDX-License-Identifier: Apache-2.0
// A virtio socket device, polled: connections that nobody takes, and packets that are none.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

struct Header {  // virtio 1.2, 5.10.6
  std::uint64_t src_cid, dst_cid;
  std::uint32_t src_port, dst_port, len;
  std::uint16_t type, op;
  std::uint32_t flags, buf_alloc, fwd_cnt;
};
constexpr std::uint32_t kHeader = 44;
constexpr std::uint16_t kStream = 1, kRequest = 1, kRst = 3, kRw = 5;

Rings receive_rings, transmit_rings;
volatile Header sent, received;

bool send(Queue& queue, std::uint16_t op, std::uint64_t cid, std::uint32_t port,
          std::uint32_t len) {
  sent.src_cid = 3;
  sent.dst_cid = cid;
  sent.src_port = 1000;
  sent.dst_port = port;
  sent.len = len;
  sent.type = kStream;
  sent.op = op;
  sent.buf_alloc = 4096;
  queue.set(0, reinterpret_cast<std::uint64_t>(&sent), kHeader, 0);
  queue.make_available(0);
  queue.kick();
  return queue.wait_used();
}

void give_buffer(Queue& queue) {
  received.op = 0;
  queue.set(0, reinterpret_cast<std::uint64_t>(&received), kHeader, kWrite);
  queue.make_available(0);
  queue.kick();
}

}  // namespace

void guest_main() {
  VirtioDevice vsock;
  check(vsock.find(19), "a virtio socket device is there");
  check(vsock.negotiate(kVersion1), "it takes the features");
  check_equal(read<std::uint64_t>(vsock.config()), 3, "it tells the guest's context id");
  vsock.set_up_queue(receive_rings, 0xffff, 0);
  vsock.set_up_queue(transmit_rings, 0xffff, 1);
  vsock.driver_ok();

  Queue from_host(vsock, receive_rings, 0), to_host(vsock, transmit_rings, 1);
  give_buffer(from_host);
  check(send(to_host, kRequest, 2, 77, 0), "a connection is asked for");
  check(from_host.wait_used(), "the host answers");
  check_equal(received.op, kRst, "that nobody listens");
  check_equal(received.src_port << 16 | received.dst_port, 77 << 16 | 1000, "at this port");
  check_equal(received.src_cid << 8 | received.dst_cid, 2 << 8 | 3, "from the host to the guest");
  check(send(to_host, kRw, 2, 78, 0xffffff00), "a packet longer than its buffer is taken");
  check(send(to_host, kRequest, 99, 79, 0), "and one to nobody");
  give_buffer(from_host);
  check(send(to_host, kRequest, 2, 80, 0), "and another request");
  check(from_host.wait_used(), "which is answered too");
  check(vsock.reset(), "it resets");
}
