// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/blk_bench.h"

#include <cstdlib>

#include "vmm/core/byte_order.h"

namespace vmm::testing {
std::vector<Buffer> BlkCommand::buffers() const {
  std::vector<Buffer> all{{header, 16, false}};
  if (length > 0) all.push_back({data, length, data_writable});
  all.push_back({status, 1, true});
  return all;
}

BlkBench::BlkBench(EventLoop& event_loop, BlkBenchOptions options)
    : DeviceBench(event_loop),
      disk(event_loop, options.disk_size, options.read_only),
      blk(options.blk, disk, event_loop, memory, *Throttle::make_timer()) {
  attach(blk, options.ioeventfd);
}

BlkCommand BlkBench::command(virtio::BlkType type, std::uint64_t sector, std::uint32_t length) {
  BlkCommand command{
      .header = arena.take(16),
      .data = arena.take(length + 16),
      .length = length,
      .data_writable = type == virtio::BlkType::kIn || type == virtio::BlkType::kGetId,
      .status = arena.take(1)};
  std::byte header[16]{};
  store_le(header, static_cast<std::uint32_t>(type));
  store_le(header + 8, sector);
  bool written = memory.write(command.header, header).has_value();
  fill(command.status, 1, 0xee);
  if (!written) std::abort();
  return command;
}

BlkCommand BlkBench::unknown_command(std::uint32_t type) {
  BlkCommand made = command(virtio::BlkType::kFlush, 0, 512);
  if (!memory.write_object(made.header, Le32(type))) std::abort();
  return made;
}

BlkCommand BlkBench::range_command(virtio::BlkType type, std::uint64_t sector,
                                   std::uint32_t nr_sectors, std::uint32_t flags) {
  BlkCommand made = command(type, 0, 16);
  std::byte range[16];
  store_le(range, sector);
  store_le(range + 8, nr_sectors);
  store_le(range + 12, flags);
  if (!memory.write(made.data, range)) std::abort();
  return made;
}

std::uint8_t BlkBench::status_of(const BlkCommand& command) const {
  return *memory.read_object<std::uint8_t>(command.status);
}

std::uint8_t BlkBench::run(const BlkCommand& command, Used* used) {
  std::vector<Buffer> buffers = command.buffers();
  queue().add(buffers);
  if (queue().needs_kick()) driver->kick(0);
  if (!wait_for([&] { return queue().has_used(); })) return 0xee;
  std::optional<Used> taken = queue().take_used();
  if (used != nullptr) *used = *taken;
  return status_of(command);
}

}  // namespace vmm::testing
