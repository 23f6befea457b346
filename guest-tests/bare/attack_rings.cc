// SPDX-License-Identifier: Apache-2.0
// A driver that breaks every rule of the rings. Each time the device says that it needs a reset (or
// answers with an error), and after the reset works as if nothing had been.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/timer.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

Rings rings;
VirtioDevice disk;
alignas(512) std::uint8_t data[512];
Descriptor table[4];

bool needs_reset() {
  return wait_until([] { return (disk.status() & kNeedsReset) != 0; });
}

void works_again(const char* after) {
  Queue queue(disk, rings);
  bool reset = disk.reset();
  queue.clear();
  check(reset && disk.start(kVersion1, rings) && run_blk(queue, kIn, 0, data, 512) == kBlkOk,
        after);
}

// Starts afresh, lets `attack` loose, and expects the device to see it.
template <class Attack>
void expect_needs_reset(const char* name, Attack attack) {
  Queue queue(disk, rings);
  disk.reset();
  queue.clear();
  disk.start(kVersion1 | kIndirectDesc, rings);
  attack(queue);
  queue.kick();
  check(needs_reset(), name);
}

void breaks_chains() {
  expect_needs_reset("a chain that loops", [](Queue& queue) {
    queue.set(0, address_of(data), 512, kNext, 1);
    queue.set(1, address_of(data), 512, kNext, 0);
    queue.make_available(0);
  });
  works_again("is forgotten after a reset");
  expect_needs_reset("a head beyond the table",
                     [](Queue& queue) { queue.make_available(kQueueSize); });
  expect_needs_reset("a next beyond the table", [](Queue& queue) {
    queue.set(0, address_of(data), 512, kNext, 0xffff);
    queue.make_available(0);
  });
  expect_needs_reset("a buffer outside of memory", [](Queue& queue) {
    queue.set(0, std::uint64_t{1} << 46, 512, 0);
    queue.make_available(0);
  });
  expect_needs_reset("a buffer whose end overflows", [](Queue& queue) {
    queue.set(0, ~std::uint64_t{0} - 100, 0xffffffff, kWrite);
    queue.make_available(0);
  });
  expect_needs_reset("a buffer that is device memory", [](Queue& queue) {
    queue.set(0, disk.common(0), 64, 0);
    queue.make_available(0);
  });
  expect_needs_reset("a readable buffer behind a writable one", [](Queue& queue) {
    queue.set(0, address_of(data), 16, kNext | kWrite, 1);
    queue.set(1, address_of(data), 16, 0);
    queue.make_available(0);
  });
  expect_needs_reset("a request without room for its status", [](Queue& queue) {
    queue.set(0, address_of(data), 16, 0);
    queue.make_available(0);
  });
  works_again("and all that is forgotten too");
}

void breaks_indirect() {
  expect_needs_reset("indirect in indirect", [](Queue& queue) {
    table[0] = {address_of(table), 16, kIndirect, 0};
    queue.set(0, address_of(table), 16, kIndirect);
    queue.make_available(0);
  });
  expect_needs_reset("an indirect table that loops", [](Queue& queue) {
    table[0] = {address_of(data), 16, kNext, 1};
    table[1] = {address_of(data), 16, kNext, 0};
    queue.set(0, address_of(table), 32, kIndirect);
    queue.make_available(0);
  });
  expect_needs_reset("an indirect table of part of an entry", [](Queue& queue) {
    queue.set(0, address_of(table), 17, kIndirect);
    queue.make_available(0);
  });
  expect_needs_reset("an endless indirect table", [](Queue& queue) {
    queue.set(0, 0, 0xfffffff0, kIndirect);
    queue.make_available(0);
  });
}

void breaks_indexes() {
  expect_needs_reset("avail.idx that jumps",
                     [](Queue&) { write<std::uint16_t>(address_of(rings.avail.index), 0x4000); });
  expect_needs_reset("avail.idx that goes back",
                     [](Queue&) { write<std::uint16_t>(address_of(rings.avail.index), 0xffff); });
  works_again("and that is forgotten as well");
}

void misplaces_queues() {
  struct {
    const char* name;
    std::uint32_t low, high;
  } const places[] = {{"a queue beyond memory", 0, 1 << 14},
                      {"a queue at the end of addresses", 0xfffffff0, 0xffffffff},
                      {"a queue in device memory", 0xc0000000, 0},
                      {"a misaligned queue", 0x200008, 0}};
  for (const auto& place : places) {
    disk.negotiate(kVersion1);
    write<std::uint16_t>(disk.common(kQueueSelect), 0);
    write<std::uint32_t>(disk.common(kQueueDesc), place.low);
    write<std::uint32_t>(disk.common(kQueueDesc) + 4, place.high);
    write<std::uint16_t>(disk.common(kQueueEnable), 1);
    disk.driver_ok();
    check(needs_reset(), place.name);
  }
  works_again("and the last of it is forgotten");
}

}  // namespace

void guest_main() {
  check(disk.find(2), "a virtio block device is there");
  breaks_chains();
  breaks_indirect();
  breaks_indexes();
  misplaces_queues();
}
