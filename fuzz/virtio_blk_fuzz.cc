// SPDX-License-Identifier: Apache-2.0
// A hostile virtio-blk driver: rings, descriptors and requests as the input says, mostly of a
// plausible shape, with resets, failing and slow disks in between.
#include <fuzzer/FuzzedDataProvider.h>

#include "fuzz/virtio_bench.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/log.h"

namespace vmm::fuzz {
namespace {

constexpr std::uint16_t kMaxQueueSize = 16;

class HostileDriver {
 public:
  HostileDriver(VirtioBench& bench, GuestMemory& memory, FuzzedDataProvider& input)
      : bench_(bench),
        memory_(memory),
        input_(input),
        driver_(bench.buses, bench.slot, &bench.kicks) {}

  void run() {
    start();
    while (input_.remaining_bytes() > 0) act();
  }

 private:
  // Regions of their own in guest memory, one page each, so that most addresses mean something.
  enum Page : std::uint64_t {
    kDescriptors = 0x1000,
    kAvail = 0x2000,
    kUsed = 0x3000,
    kIndirect = 0x4000,
    kHeaders = 0x5000,
    kData = 0x8000
  };

  std::uint64_t address() {
    switch (input_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        return input_.ConsumeIntegral<std::uint64_t>();
      case 1:  // around the end of a region
        return VirtioBench::kRam - input_.ConsumeIntegralInRange<std::uint64_t>(0, 64);
      case 2:
        return VirtioBench::kSecondRegion +
               input_.ConsumeIntegralInRange<std::uint64_t>(0, VirtioBench::kRam);
      case 3:
        return kIndirect + 16 * input_.ConsumeIntegralInRange<std::uint64_t>(0, 16);
      case 4:
        return kHeaders + 16 * input_.ConsumeIntegralInRange<std::uint64_t>(0, 7);
      case 5:  // the rings themselves
        return kDescriptors + input_.ConsumeIntegralInRange<std::uint64_t>(0, 0x2fff);
      default:
        return kData + 512 * input_.ConsumeIntegralInRange<std::uint64_t>(0, 32);
    }
  }

  std::uint32_t length() {
    switch (input_.ConsumeIntegralInRange(0, 5)) {
      case 0:
        return input_.ConsumeIntegral<std::uint32_t>();
      case 1:
        return 16;
      case 2:
        return 1;
      case 3:
        return 16 * input_.ConsumeIntegralInRange<std::uint32_t>(0, 20);
      default:
        return 512 * input_.ConsumeIntegralInRange<std::uint32_t>(0, 16);
    }
  }

  template <class T>
  void store(std::uint64_t at, T value) {
    std::byte bytes[sizeof value];
    store_le(bytes, value);
    (void)memory_.write(GuestAddress(at), bytes);
  }

  void start() {
    std::uint64_t features = std::uint64_t{1} << 32;
    if (input_.ConsumeBool()) features |= std::uint64_t{3} << 28;  // indirect, event index
    if (input_.ConsumeBool()) features |= input_.ConsumeIntegral<std::uint16_t>();
    if (!driver_.negotiate(features & driver_.device_features())) return;
    for (std::uint16_t queue = 0; queue < 2; ++queue) {
      virtio::QueueLayout layout{
          .size = static_cast<std::uint16_t>(1 << input_.ConsumeIntegralInRange(0, 4)),
          .descriptors = GuestAddress(kDescriptors),
          .driver_area = GuestAddress(kAvail),
          .device_area = GuestAddress(kUsed)};
      if (input_.ConsumeProbability<float>() < 0.05f) layout.descriptors = GuestAddress(address());
      if (input_.ConsumeProbability<float>() < 0.05f) layout.driver_area = GuestAddress(address());
      if (input_.ConsumeProbability<float>() < 0.05f) layout.device_area = GuestAddress(address());
      driver_.set_up_queue(queue, layout, queue);
    }
    driver_.enable_msix();
    driver_.driver_ok();
    bench_.turn(1);
    avail_index_ = 0;
  }

  void act() {
    switch (input_.ConsumeIntegralInRange(0, 15)) {
      case 0:
        return start_over();
      case 1:
        return write_descriptor(address());
      case 2:
      case 3:
        return write_descriptor(
            kDescriptors + 16 * input_.ConsumeIntegralInRange<std::uint64_t>(0, kMaxQueueSize));
      case 4:
        return write_descriptor(kIndirect +
                                16 * input_.ConsumeIntegralInRange<std::uint64_t>(0, 32));
      case 5:
        write_header();
        return;
      case 6:
        return store<std::uint16_t>(
            kAvail + 4 + 2 * input_.ConsumeIntegralInRange<std::uint64_t>(0, kMaxQueueSize),
            input_.ConsumeIntegralInRange<std::uint16_t>(0, kMaxQueueSize + 1));
      case 7:
        store<std::uint16_t>(kAvail + 2, input_.ConsumeIntegral<std::uint16_t>());
        return kick();
      case 8:
        return bench_.turn(input_.ConsumeIntegralInRange<unsigned>(1, 4));
      case 9:
        return misbehave_disk();
      case 10: {  // anything anywhere, for instance used_event
        std::vector<std::byte> bytes =
            input_.ConsumeBytes<std::byte>(input_.ConsumeIntegralInRange<std::size_t>(1, 16));
        (void)memory_.write(GuestAddress(address()), bytes);
        return;
      }
      case 11:
        bench_.buses.write(driver_.part(4) + input_.ConsumeIntegralInRange<std::uint64_t>(0, 64), 1,
                           input_.ConsumeBool());
        return;
      default:
        return send_request();
    }
  }

  void start_over() {
    driver_.set_status(0);
    bench_.turn(input_.ConsumeIntegralInRange<unsigned>(0, 6));
    if (driver_.status() == 0) start();
  }

  void write_descriptor(std::uint64_t at) {
    store<std::uint64_t>(at, address());
    store<std::uint32_t>(at + 8, length());
    store<std::uint16_t>(at + 12, input_.ConsumeIntegralInRange<std::uint16_t>(0, 7));
    store<std::uint16_t>(at + 14,
                         input_.ConsumeIntegralInRange<std::uint16_t>(0, kMaxQueueSize + 1));
  }

  std::uint64_t write_header() {
    std::uint64_t at = kHeaders + 16 * input_.ConsumeIntegralInRange<std::uint64_t>(0, 7);
    store<std::uint32_t>(at, input_.ConsumeIntegralInRange<std::uint32_t>(0, 15));
    store<std::uint32_t>(at + 4, 0);
    store<std::uint64_t>(at + 8, input_.ConsumeProbability<float>() < 0.1f
                                     ? input_.ConsumeIntegral<std::uint64_t>()
                                     : input_.ConsumeIntegralInRange<std::uint64_t>(0, 70));
    return at;
  }

  // Header, data, status: a request of the usual shape, made available and kicked.
  void send_request() {
    std::uint64_t header = write_header();
    bool device_writes = input_.ConsumeBool();
    std::uint64_t table = input_.ConsumeBool() ? kDescriptors : kIndirect;
    auto entry = [&](unsigned index, std::uint64_t at, std::uint32_t size, std::uint16_t flags) {
      std::uint64_t slot = table + 16 * index;
      store<std::uint64_t>(slot, at);
      store<std::uint32_t>(slot + 8, size);
      store<std::uint16_t>(slot + 12, flags);
      store<std::uint16_t>(slot + 14, static_cast<std::uint16_t>(index + 1));
    };
    constexpr std::uint16_t kNext = 1, kWrite = 2, kIndirectFlag = 4;
    entry(0, header, 16, kNext);
    entry(1, address(), length(), kNext | (device_writes ? kWrite : 0));
    entry(2, kHeaders + 0x800, 1, kWrite);
    if (table == kIndirect) {
      store<std::uint64_t>(kDescriptors, kIndirect);
      store<std::uint32_t>(kDescriptors + 8, 3 * 16);
      store<std::uint16_t>(kDescriptors + 12, kIndirectFlag);
    }
    store<std::uint16_t>(kAvail + 4 + 2 * (avail_index_ % kMaxQueueSize), 0);
    for (unsigned slot = 0; slot < kMaxQueueSize; ++slot)
      store<std::uint16_t>(kAvail + 4 + 2 * slot, 0);
    store<std::uint16_t>(kAvail + 2, ++avail_index_);
    kick();
    bench_.turn(2);
  }

  void kick() {
    std::uint16_t queue = input_.ConsumeIntegralInRange<std::uint16_t>(0, 1);
    driver_.kick(queue);
  }

  void misbehave_disk() {
    switch (input_.ConsumeIntegralInRange(0, 4)) {
      case 0:
        return bench_.disk.hold();
      case 1:
        return bench_.disk.release();
      case 2:
        bench_.disk.fail_with = EIO;
        return;
      case 3:
        bench_.disk.yields = !bench_.disk.yields;
        return;
      default:
        bench_.disk.fail_with = 0;
    }
  }

  VirtioBench& bench_;
  GuestMemory& memory_;
  FuzzedDataProvider& input_;
  testing::PciDriver driver_;
  std::uint16_t avail_index_ = 0;
};

}  // namespace
}  // namespace vmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmm;
  log::set_level(log::Level::kError);
  static std::unique_ptr<EventLoop> loop = *EventLoop::create(EventLoop::Backend::kThreadPool);
  FuzzedDataProvider input(data, size);
  fuzz::VirtioBench bench(*loop, fuzz::fuzz_memory(), input.ConsumeProbability<float>() < 0.2f, 2,
                          16);
  fuzz::HostileDriver(bench, fuzz::fuzz_memory(), input).run();
  return 0;
}
