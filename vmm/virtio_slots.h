// SPDX-License-Identifier: Apache-2.0
// VirtioSlots: where a machine's virtio devices are put: on the PCI bus, or as virtio-mmio windows
// with an interrupt line each.
#pragma once

#include <memory>
#include <vector>

#include "arch/x86/virtio_mmio.h"
#include "vmm/core/interrupt.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

class Bus;

namespace kvm {
class Vm;
}
namespace pci {
class Root;
}
namespace virtio {
class Device;
class TransportBase;
}  // namespace virtio

class VirtioSlots {
 public:
  // All must outlive it, and it must outlive the transports.
  VirtioSlots(MachineConfig::VirtioTransport kind, kvm::Vm& vm, pci::Root& root, Bus& mmio);
  ~VirtioSlots();

  // Makes the next slot's transport, and puts it on its bus. Before any vCPU runs. Fails where no
  // slot is left.
  Result<std::unique_ptr<virtio::TransportBase>> attach(virtio::Device& device);

  // Those taken by now; none on PCI.
  const std::vector<x86::VirtioMmio>& mmio() const { return taken_; }

 private:
  Result<std::unique_ptr<virtio::TransportBase>> attach_pci(virtio::Device& device);
  Result<std::unique_ptr<virtio::TransportBase>> attach_mmio(virtio::Device& device);

  const MachineConfig::VirtioTransport kind_;
  kvm::Vm& vm_;
  pci::Root& root_;
  Bus& bus_;
  std::vector<std::unique_ptr<Interrupt>> lines_;
  std::vector<x86::VirtioMmio> taken_;
};

}  // namespace vmm
