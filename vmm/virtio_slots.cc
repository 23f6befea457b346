// SPDX-License-Identifier: Apache-2.0
#include "vmm/virtio_slots.h"

#include <fmt/core.h>

#include "arch/x86/layout.h"
#include "devices/pci/root.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/pci_transport.h"
#include "vmm/core/bus.h"
#include "vmm/kvm/vm.h"

namespace vmm {

namespace layout = x86::layout;
static_assert(layout::kVirtioMmioSize == virtio::MmioTransport::kSize);

VirtioSlots::VirtioSlots(MachineConfig::VirtioTransport kind, kvm::Vm& vm, pci::Root& root,
                         Bus& mmio)
    : kind_(kind), vm_(vm), root_(root), bus_(mmio) {
}

VirtioSlots::~VirtioSlots() = default;

Result<std::unique_ptr<virtio::TransportBase>> VirtioSlots::attach(virtio::Device& device) {
  return kind_ == MachineConfig::VirtioTransport::kPci ? attach_pci(device) : attach_mmio(device);
}

Result<std::unique_ptr<virtio::TransportBase>> VirtioSlots::attach_pci(virtio::Device& device) {
  VMM_TRY(std::unique_ptr<virtio::PciTransport> transport,
          virtio::PciTransport::create(device, vm_, &vm_));
  VMM_TRY([[maybe_unused]] unsigned slot, root_.attach(*transport));
  return std::unique_ptr<virtio::TransportBase>(std::move(transport));
}

// A line of its own for each: where edges of two devices meet, one is lost.
Result<std::unique_ptr<virtio::TransportBase>> VirtioSlots::attach_mmio(virtio::Device& device) {
  const std::size_t index = taken_.size();
  if (index == std::size(layout::kVirtioMmioGsis)) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--virtio-transport mmio: there are interrupt lines for {} virtio "
                            "devices, disks included; give fewer, or use pci",
                            std::size(layout::kVirtioMmioGsis)));
  }
  const x86::VirtioMmio slot{.address = layout::kVirtioMmio + index * layout::kVirtioMmioSize,
                             .gsi = layout::kVirtioMmioGsis[index]};
  VMM_TRY(std::unique_ptr<Interrupt> line, vm_.create_line(slot.gsi));
  lines_.push_back(std::move(line));
  VMM_TRY(std::unique_ptr<virtio::MmioTransport> transport,
          virtio::MmioTransport::create(device, *lines_.back(), &vm_, GuestAddress(slot.address)));
  VMM_CHECK(bus_.insert(slot.address, layout::kVirtioMmioSize, *transport));
  taken_.push_back(slot);
  return std::unique_ptr<virtio::TransportBase>(std::move(transport));
}

}  // namespace vmm
