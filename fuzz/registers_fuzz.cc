// SPDX-License-Identifier: Apache-2.0
// Reads and writes of any size at any offset of the PCI configuration space, of the BARs with their
// virtio and MSI-X registers, of a virtio-mmio device's, and of the legacy ports, in any order.
#include <fuzzer/FuzzedDataProvider.h>

#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/cmos_rtc.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/serial.h"
#include "fuzz/virtio_bench.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/log.h"

namespace vmm::fuzz {
namespace {

class NullSink final : public legacy::ConsoleSink {
 public:
  void write(std::span<const std::byte>) override {}
};

struct LegacyDevices {
  LegacyDevices(Bus& ports) {
    (void)ports.insert(0x3f8, legacy::Serial::kNrPorts, serial);
    (void)ports.insert(legacy::I8042::kPort, legacy::I8042::kNrPorts, keyboard);
    (void)ports.insert(0x70, legacy::CmosRtc::kNrPorts, clock);
    (void)ports.insert(0x600, legacy::AcpiPm::kNrPorts, power);
  }

  testing::FakeInterrupt interrupt;
  NullSink sink;
  legacy::Serial serial{interrupt, sink};
  legacy::I8042 keyboard{[] {}};
  legacy::CmosRtc clock;
  legacy::AcpiPm power{interrupt, [] {}, [] {}};
};

// KVM hands over 1, 2, 4 or 8 bytes of MMIO, and 1, 2 or 4 of a port.
unsigned size_of_access(FuzzedDataProvider& input, unsigned largest) {
  unsigned size = 1u << input.ConsumeIntegralInRange<unsigned>(0, 3);
  return std::min(size, largest);
}

// Values that do something, rather than noise.
std::uint64_t value(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 4)) {
    case 0:
      return input.ConsumeIntegral<std::uint64_t>();
    case 1:
      return std::uint64_t{1} << input.ConsumeIntegralInRange(0, 40);
    case 2:  // a page of memory
      return input.ConsumeIntegralInRange<std::uint64_t>(0, 15) << 12;
    default:
      return input.ConsumeIntegralInRange<std::uint64_t>(0, 15);
  }
}

std::uint64_t mmio_address(FuzzedDataProvider& input) {
  using testing::PciBuses;
  using virtio::PciTransport;
  constexpr std::uint64_t kParts[] = {PciTransport::kCommonConfig, PciTransport::kCommonConfig,
                                      PciTransport::kIsr,          PciTransport::kDeviceConfig,
                                      PciTransport::kNotify,       PciTransport::kMsixTable,
                                      PciTransport::kMsixPending};
  switch (input.ConsumeIntegralInRange(0, 10)) {
    case 8:
      return VirtioBench::kMmio +
             input.ConsumeIntegralInRange<std::uint64_t>(0, virtio::MmioTransport::kSize + 16);
    case 9:
    case 10:  // registers are whole words
      return VirtioBench::kMmio + 4 * input.ConsumeIntegralInRange<std::uint64_t>(0, 0x50);
    case 0:
      return PciBuses::kEcam + input.ConsumeIntegralInRange<std::uint64_t>(0, (1 << 20) - 1);
    case 1:
      return PciBuses::kEcam + (1 << 15) + input.ConsumeIntegralInRange<std::uint64_t>(0, 260);
    case 2:
      return PciBuses::kWindow +
             input.ConsumeIntegralInRange<std::uint64_t>(0, PciTransport::kBarSize + 16);
    default:
      return PciBuses::kWindow + input.PickValueInArray(kParts) +
             input.ConsumeIntegralInRange<std::uint64_t>(0, 64);
  }
}

void access(const Bus& bus, std::uint64_t address, unsigned size, FuzzedDataProvider& input) {
  std::byte data[8];
  if (input.ConsumeProbability<float>() < 0.3f) {
    (void)bus.read(address, std::span(data).first(size));
  } else {
    store_le(data, value(input));
    (void)bus.write(address, std::span<const std::byte>(data).first(size));
  }
}

void run(FuzzedDataProvider& input, EventLoop& loop) {
  VirtioBench bench(loop, fuzz_memory(), input.ConsumeBool(),
                    static_cast<std::uint16_t>(input.ConsumeIntegralInRange(1, 3)), 16);
  LegacyDevices legacy(bench.buses.ports);
  constexpr std::uint16_t kPorts[] = {0x3f8, 0x64, 0x70, 0x600, 0xcf8, 0xcf8};
  while (input.remaining_bytes() > 0) {
    switch (input.ConsumeIntegralInRange(0, 9)) {
      case 0:
        bench.turn(input.ConsumeIntegralInRange<unsigned>(1, 3));
        break;
      case 1:
      case 2:
        access(bench.buses.ports,
               input.PickValueInArray(kPorts) + input.ConsumeIntegralInRange<std::uint64_t>(0, 16),
               size_of_access(input, 4), input);
        break;
      case 3: {
        std::vector<std::byte> typed = input.ConsumeBytes<std::byte>(8);
        legacy.serial.input(typed);
        legacy.power.press_power_button();
        break;
      }
      case 4: {  // a descriptor or an index in the pages that queues are put in
        std::byte entry[8];
        store_le(entry, value(input));
        (void)fuzz_memory().write(GuestAddress(value(input) & 0xffff), entry);
        break;
      }
      default:
        access(bench.buses.mmio, mmio_address(input), size_of_access(input, 8), input);
    }
  }
}

}  // namespace
}  // namespace vmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmm;
  log::set_level(log::Level::kError);
  static std::unique_ptr<EventLoop> loop = *EventLoop::create(EventLoop::Backend::kThreadPool);
  FuzzedDataProvider input(data, size);
  fuzz::run(input, *loop);
  return 0;
}
