// SPDX-License-Identifier: Apache-2.0
// A virtio entropy device, polled.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr std::uint32_t kWords = 16;

Rings rings;
volatile std::uint64_t first[kWords], second[kWords];

std::uint32_t ask(Queue& queue, const volatile std::uint64_t* words, std::uint32_t nr_words) {
  queue.set(0, reinterpret_cast<std::uint64_t>(words), nr_words * 8, kWrite);
  queue.make_available(0);
  queue.kick();
  std::uint32_t length = 0;
  return queue.wait_used(&length) ? length : ~0u;
}

// Zeros where the device wrote nothing: for 64 random bits to be 0 is not to be expected.
unsigned nr_zeros(const volatile std::uint64_t* words) {
  unsigned count = 0;
  for (unsigned i = 0; i < kWords; ++i) count += words[i] == 0 ? 1 : 0;
  return count;
}
bool any_equal() {
  for (unsigned i = 0; i < kWords; ++i) {
    if (first[i] == second[i]) return true;
  }
  return false;
}

}  // namespace

void guest_main() {
  VirtioDevice rng;
  check(rng.find(4), "a virtio entropy device is there by itself");
  check(rng.start(kVersion1, rings), "it takes the features");
  Queue queue(rng, rings);
  check_equal(ask(queue, first, kWords), kWords * 8, "it fills a buffer");
  check_equal(nr_zeros(first), 0, "all of it");
  check_equal(ask(queue, second, kWords), kWords * 8, "it fills another");
  check(!any_equal(), "with other numbers");
  first[1] = 0;
  check_equal(ask(queue, first, 1), 8, "a small buffer is filled");
  check_equal(first[1], 0, "and not exceeded");
  check(rng.reset(), "it resets");
}
