// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/bus.h"

#include <fmt/core.h>

#include <cassert>
#include <cstring>

namespace vmm {

Result<void> Bus::insert(std::uint64_t start, std::uint64_t size, BusDevice& device) {
  assert(size > 0 && start + (size - 1) >= start);
  auto next = entries_.lower_bound(start);
  bool overlaps = next != entries_.end() && next->first - start < size;
  if (next != entries_.begin()) {
    const auto& [before, entry] = *std::prev(next);
    overlaps |= start - before < entry.size;
  }
  if (overlaps) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{} range {:#x}+{:#x} is already taken", name_, start, size));
  }
  entries_.emplace(start, Entry{size, &device});
  return {};
}

Bus::Hit Bus::find(std::uint64_t address, std::size_t size) const {
  auto next = entries_.upper_bound(address);
  if (next == entries_.begin()) return {};
  const auto& [start, entry] = *std::prev(next);
  std::uint64_t offset = address - start;
  if (offset >= entry.size || size > entry.size - offset) return {};
  return {entry.device, offset};
}

bool Bus::read(std::uint64_t address, std::span<std::byte> data) const {
  Hit hit = find(address, data.size());
  if (hit.device == nullptr) {
    std::memset(data.data(), 0xff, data.size());
    return false;
  }
  hit.device->read(hit.offset, data);
  return true;
}

bool Bus::write(std::uint64_t address, std::span<const std::byte> data) const {
  Hit hit = find(address, data.size());
  if (hit.device == nullptr) return false;
  hit.device->write(hit.offset, data);
  return true;
}

}  // namespace vmm
