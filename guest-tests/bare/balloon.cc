// SPDX-License-Identifier: Apache-2.0
// A virtio balloon, polled: pages go into it, and out again.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr unsigned kNrPages = 4, kPageSize = 4096;

Rings inflate_rings, deflate_rings;
alignas(kPageSize) volatile std::uint8_t pages[kNrPages][kPageSize];
volatile std::uint32_t numbers[kNrPages];

bool send(Queue& queue) {
  queue.set(0, reinterpret_cast<std::uint64_t>(numbers), sizeof numbers, 0);
  queue.make_available(0);
  queue.kick();
  return queue.wait_used();
}

unsigned nr_kept() {
  unsigned count = 0;
  for (unsigned i = 0; i < kNrPages; ++i) count += pages[i][7] == 0xa5 ? 1 : 0;
  return count;
}

}  // namespace

void guest_main() {
  VirtioDevice balloon;
  check(balloon.find(5), "a virtio balloon is there");
  check(balloon.negotiate(kVersion1), "it takes the features");
  check_equal(read<std::uint32_t>(balloon.config()), 0, "nobody asks for memory");
  balloon.set_up_queue(inflate_rings, 0xffff, 0);
  balloon.set_up_queue(deflate_rings, 0xffff, 1);
  balloon.driver_ok();

  Queue inflate(balloon, inflate_rings, 0), deflate(balloon, deflate_rings, 1);
  for (unsigned i = 0; i < kNrPages; ++i) {
    pages[i][7] = 0xa5;
    numbers[i] = static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(pages[i]) / kPageSize);
  }
  check(send(inflate), "pages go in");
  write<std::uint32_t>(balloon.config() + 4, kNrPages);
  check_equal(read<std::uint32_t>(balloon.config() + 4), kNrPages, "it keeps how many these are");
  check_equal(nr_kept(), 0, "the host has taken them");
  check(send(deflate), "pages come out");
  pages[0][7] = 0xa5;
  check_equal(nr_kept(), 1, "and can be used");
  for (unsigned i = 0; i < kNrPages; ++i) numbers[i] = 0xffffffff - i;
  check(send(inflate), "pages that are not there are taken for what they are");
  check(balloon.reset(), "it resets");
}
