// SPDX-License-Identifier: Apache-2.0
// A driver whose buffers are its own rings, that offers one chain many times, and that kicks, sets
// statuses and resets when it should not. Whatever the device makes of it, the next reset ends it.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/timer.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

Rings rings;
VirtioDevice disk;
alignas(512) std::uint8_t data[512];
Descriptor table[2];

void works_after(const char* attack) {
  Queue queue(disk, rings);
  bool reset = disk.reset();
  queue.clear();
  check(reset && disk.start(kVersion1, rings) && run_blk(queue, kIn, 0, data, 512) == kBlkOk,
        attack);
}

// The device needs a while to see what it was given; there may be nothing to wait for.
void give_time() {
  std::uint32_t start = timer_ticks();
  while (timer_ticks() - start < kTicksPerSecond / 50) {
  }
}

// Starts afresh and lets `attack` loose.
template <class Attack>
void survive(const char* name, Attack attack) {
  Queue queue(disk, rings);
  disk.reset();
  queue.clear();
  disk.start(kVersion1 | kIndirectDesc, rings);
  attack(queue);
  queue.kick();
  give_time();
  works_after(name);
}

void reads_into_its_rings() {
  survive("a read over all of the rings",
          [](Queue& queue) { send_blk(queue, kIn, 0, &rings, 512); });
  survive("a read over the used ring",
          [](Queue& queue) { send_blk(queue, kIn, 0, &rings.used, 512); });
  survive("a status byte in avail.idx", [](Queue& queue) {
    send_blk(queue, kIn, 0, data, 512);
    queue.set(2, address_of(rings.avail.index), 1, kWrite);
  });
  survive("a request whose header is a descriptor", [](Queue& queue) {
    send_blk(queue, kOut, 0, &rings, 512);
    queue.set(0, address_of(rings.descriptors), 16, kNext, 1);
  });
}

void repeats_itself() {
  survive("one chain offered eight times", [](Queue& queue) {
    send_blk(queue, kIn, 0, data, 512);
    for (int i = 1; i < kQueueSize; ++i) queue.make_available(0);
    queue.kick();
    check(wait_until([&] { return queue.used_index() == kQueueSize; }),
          "each offer of a chain is used");
  });
  survive("eight chains with one indirect table", [](Queue& queue) {
    table[0] = {address_of(data), 16, kNext, 1};
    table[1] = {address_of(data), 512, kWrite, 0};
    for (unsigned i = 0; i < kQueueSize; ++i) {
      queue.set(i, address_of(table), sizeof table, kIndirect);
      queue.make_available(static_cast<std::uint16_t>(i));
    }
  });
}

void kicks_at_bad_times() {
  disk.reset();
  for (std::uint16_t queue = 0; queue < 4; ++queue) {
    for (unsigned i = 0; i < 50; ++i) {
      write<std::uint16_t>(disk.notify(queue), static_cast<std::uint16_t>(0xfff1 * i));
    }
  }
  works_after("kicks before there is a queue, and of queues that are not there");

  disk.negotiate(kVersion1);
  disk.driver_ok();
  for (int i = 0; i < 50; ++i) write<std::uint16_t>(disk.notify(), 0);
  works_after("a driver that is ready without a queue");

  survive("a storm of kicks with nothing to do", [](Queue& queue) {
    for (int i = 0; i < 500; ++i) queue.kick();
  });
}

void sets_absurd_sizes() {
  constexpr std::uint16_t kSizes[] = {0, 1, 3, 7, 0x7fff, 0x8000, 0xffff};
  for (std::uint16_t size : kSizes) {
    disk.negotiate(kVersion1);
    disk.set_up_queue(rings);
    disk.negotiate(kVersion1);
    write<std::uint16_t>(disk.common(kQueueSelect), 0);
    write<std::uint16_t>(disk.common(kQueueSizeRegister), size);
    write<std::uint16_t>(disk.common(kQueueEnable), 1);
    write<std::uint16_t>(disk.common(kQueueSelect), static_cast<std::uint16_t>(size + 1));
    write<std::uint16_t>(disk.common(kQueueEnable), 1);
    disk.driver_ok();
    write<std::uint16_t>(disk.notify(), 0);
  }
  works_after("queues of absurd sizes and numbers");
}

// A driver should wait until the status reads 0. This one does not.
void resets_without_waiting() {
  for (int round = 0; round < 40; ++round) {
    Queue queue(disk, rings);
    queue.clear();
    disk.start(kVersion1, rings);
    send_blk(queue, kOut, static_cast<std::uint64_t>(round), data, 512);
    queue.kick();
    disk.set_status(0);
    disk.set_status(static_cast<std::uint8_t>(round * 37));
    disk.set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    queue.kick();
  }
  works_after("resets that nobody waits for, and statuses in any order");
}

}  // namespace

void guest_main() {
  check(disk.find(2), "a virtio block device is there");
  reads_into_its_rings();
  repeats_itself();
  kicks_at_bad_times();
  sets_absurd_sizes();
  resets_without_waiting();
}
