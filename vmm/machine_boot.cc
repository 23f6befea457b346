// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_boot.h"

#include "arch/x86/acpi.h"
#include "arch/x86/boot_params.h"
#include "arch/x86/cpu_state.h"
#include "arch/x86/device_tree.h"
#include "arch/x86/layout.h"
#include "arch/x86/memory_map.h"
#include "arch/x86/mp_table.h"
#include "devices/legacy/acpi_pm.h"
#include "vmm/core/log.h"
#include "vmm/kernel_params.h"
#include "vmm/machine_config.h"
#include "vmm/machine_disk.h"
#include "vmm/root_device.h"

namespace vmm {
namespace {

namespace layout = x86::layout;

constexpr x86::AcpiPmPorts kAcpiPmPorts = {
    .pm1_event = layout::kAcpiPmPort + legacy::AcpiPm::kPm1Event,
    .pm1_control = layout::kAcpiPmPort + legacy::AcpiPm::kPm1Control,
    .timer = layout::kAcpiPmPort + legacy::AcpiPm::kPmTimer,
    .reset = layout::kAcpiPmPort + legacy::AcpiPm::kReset,
    .reset_value = legacy::AcpiPm::kResetValue,
    .sleep_type_power_off = legacy::AcpiPm::kSleepTypePowerOff,
};

bool names_root(const MachineConfig& config) {
  return has_param(config.params, "root");
}

// Of every disk, where root= depends on them; else none.
Result<std::vector<DiskPartitions>> look_at_disks(const MachineConfig& config, Disks disks) {
  std::vector<DiskPartitions> all;
  const bool wanted = names_root(config) ? root_is_device(config.params) : !config.disks.empty();
  if (!wanted) return all;
  for (const std::unique_ptr<MachineDisk>& disk : disks) {
    VMM_TRY(DiskPartitions found, disk->partitions());
    all.push_back(std::move(found));
  }
  return all;
}

Result<std::string> command_line(const MachineConfig& config, Disks disks) {
  VMM_TRY(const std::vector<DiskPartitions> found, look_at_disks(config, disks));
  RootDisk root;
  if (!names_root(config) && !config.disks.empty()) {
    root.exists = true;
    root.read_only = config.disks.front().read_only;
    root.partitioned = found.front().partitioned;
  }
  std::string params = complete_params(
      config.params, config.console == MachineConfig::Console::kVirtio ? "hvc0" : "ttyS0", root);
  // Here the reason is at hand; the guest's kernel would only say that it could not mount
  // something.
  const std::string complaint = complaint_about_root(params, found);
  if (!complaint.empty()) log::warn("{}", complaint);
  return params;
}

}  // namespace

Result<LoadedGuest> load_guest(const MachineConfig& config, const GuestMemory& memory,
                               Disks disks) {
  LoadedGuest guest;
  VMM_TRY(guest.kernel, x86::load_kernel(config.kernel, memory));
  VMM_TRY(const std::string params, command_line(config, disks));
  log::info("kernel {}, command line: {}", config.kernel, params);

  if (!config.initrd.empty()) {
    VMM_TRY(guest.initrd, x86::load_initrd(config.initrd, guest.kernel, memory));
  }
  VMM_CHECK(x86::write_command_line(memory, guest.kernel, params));
  return guest;
}

Result<std::vector<std::byte>> device_tree_of(const MachineConfig& config,
                                              const GuestMemory& memory,
                                              std::span<const x86::VirtioMmio> virtio_mmio) {
  const std::vector<x86::MemoryMapEntry> map = x86::memory_map(memory);
  x86::DeviceTreeConfig tree;
  tree.nr_cpus = config.nr_cpus;
  tree.memory_map = map;
  tree.virtio_mmio = virtio_mmio;
  return x86::make_device_tree(tree);
}

Result<void> describe_machine(const MachineConfig& config, const GuestMemory& memory,
                              std::span<const x86::VirtioMmio> virtio_mmio,
                              const LoadedGuest& guest) {
  x86::BootInfo info;
  info.initrd = guest.initrd;
  const std::vector<x86::MemoryMapEntry> map = x86::memory_map(memory);
  info.memory_map = map;
  const x86::BootProtocol protocol = guest.kernel.protocol;
  if (!config.acpi && protocol != x86::BootProtocol::kLinux64 && !virtio_mmio.empty()) {
    return fail(ErrorKind::kInvalid,
                "--no-acpi: an ELF kernel is handed no device tree, and so finds no virtio-mmio "
                "devices: give a bzImage, or --virtio-transport pci");
  }
  if (config.acpi) {
    x86::AcpiConfig acpi;
    acpi.nr_cpus = config.nr_cpus;
    acpi.pm = kAcpiPmPorts;
    acpi.has_rtc = true;
    acpi.virtio_mmio.assign(virtio_mmio.begin(), virtio_mmio.end());
    VMM_TRY(info.rsdp, x86::write_acpi_tables(memory, acpi));
  } else {
    VMM_CHECK(x86::write_mp_tables(memory, config.nr_cpus));
    VMM_TRY(const std::vector<std::byte> tree, device_tree_of(config, memory, virtio_mmio));
    VMM_TRY(info.setup_data, x86::write_device_tree(memory, tree));
  }
  if (protocol == x86::BootProtocol::kLinux64) {
    VMM_CHECK(x86::write_boot_params(memory, guest.kernel, info));
  } else {
    VMM_CHECK(x86::write_pvh_start_info(memory, info));
  }
  return x86::write_boot_tables(memory, protocol);
}

}  // namespace vmm
