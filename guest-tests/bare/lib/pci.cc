// SPDX-License-Identifier: Apache-2.0
#include "guest-tests/bare/lib/pci.h"

namespace guest {
namespace {

void select(unsigned slot, unsigned offset) {
  out32(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfcu));
}

}  // namespace

std::uint32_t read_config(unsigned slot, unsigned offset) {
  select(slot, offset);
  return in32(0xcfc);
}

void write_config(unsigned slot, unsigned offset, std::uint32_t value) {
  select(slot, offset);
  out32(0xcfc, value);
}

std::uint8_t read_config8(unsigned slot, unsigned offset) {
  select(slot, offset);
  return in8(static_cast<std::uint16_t>(0xcfc + offset % 4));
}

void write_config16(unsigned slot, unsigned offset, std::uint16_t value) {
  select(slot, offset);
  out16(static_cast<std::uint16_t>(0xcfc + offset % 4), value);
}

unsigned find_device(std::uint32_t device_and_vendor, unsigned from) {
  for (unsigned slot = from; slot < 32; ++slot) {
    if (read_config(slot, 0) == device_and_vendor) return slot;
  }
  return kNoSlot;
}

unsigned find_capability(unsigned slot, unsigned id, unsigned virtio_type) {
  unsigned at = read_config8(slot, 0x34);
  for (int hops = 0; at != 0 && hops < 48; ++hops) {
    std::uint32_t head = read_config(slot, at);
    bool is_type = virtio_type == 0 || head >> 24 == virtio_type;
    if ((head & 0xff) == id && is_type) return at;
    at = head >> 8 & 0xff;
  }
  return 0;
}

std::uint64_t bar_address(unsigned slot, unsigned bar) {
  return read_config(slot, 0x10 + 4 * bar) & ~0xfu;
}

}  // namespace guest
