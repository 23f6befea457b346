// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/blk_bench.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "vmm/core/byte_order.h"
#include "vmm/core/log.h"

namespace vmm::testing {
namespace {

GuestMemory make_memory() {
  const GuestMemory::Range range{GuestAddress(0), BlkBench::kMemory};
  return *GuestMemory::create(std::span(&range, 1));
}

}  // namespace

std::vector<Buffer> BlkCommand::buffers() const {
  std::vector<Buffer> all{{header, 16, false}};
  if (length > 0) all.push_back({data, length, data_writable});
  all.push_back({status, 1, true});
  return all;
}

BlkBench::BlkBench(EventLoop& event_loop, BlkBenchOptions options)
    : loop(event_loop),
      memory(make_memory()),
      disk(event_loop, options.disk_size, options.read_only),
      blk(options.blk, disk, event_loop, memory) {
  // What hostile tests provoke would bury what went wrong.
  log::set_level(log::Level::kError);
  transport = *virtio::PciTransport::create(blk, msi, options.ioeventfd ? &kicks : nullptr);
  unsigned slot = *root.attach(*transport);
  driver = std::make_unique<PciDriver>(buses, slot, options.ioeventfd ? &kicks : nullptr);
}

void BlkBench::start(std::uint64_t features) {
  features &= driver->device_features();
  if (!driver->negotiate(features)) std::abort();
  driver->enable_msix();
  queues.clear();
  for (std::uint16_t i = 0; i < blk.nr_queues(); ++i) {
    queues.push_back(std::make_unique<QueueDriver>(memory, arena, blk.max_queue_size(i), features));
    auto vector = static_cast<std::uint16_t>(i + 1);
    driver->set_vector(vector, 0xfee00000, 0x40u + i, false);
    driver->set_up_queue(i, queues[i]->layout(), vector);
  }
  driver->set_vector(0, 0xfee00000, 0x30, false);
  driver->set_common(kConfigMsixVector, 2, 0);
  driver->driver_ok();
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

void BlkBench::fill(GuestAddress at, std::uint32_t length, std::uint8_t value) {
  std::span<std::byte> bytes = *memory.slice(at, length);
  std::fill(bytes.begin(), bytes.end(), std::byte{value});
}

bool BlkBench::filled(GuestAddress at, std::uint32_t length, std::uint8_t value) const {
  std::span<std::byte> bytes = *memory.slice(at, length);
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](std::byte byte) { return byte == std::byte{value}; });
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

void BlkBench::stop() {
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    transport->stop();
    stopped = true;
  });
  if (!wait_for([&] {
        std::this_thread::yield();
        return stopped.load();
      })) {
    std::abort();
  }
  stopper.join();
}

}  // namespace vmm::testing
