// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vm.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace vmm::kvm {
namespace {

void raise_event(int event_fd) {
  std::uint64_t one = 1;
  // Cannot fail but for a counter at its limit, and then an interrupt is pending anyway.
  [[maybe_unused]] ssize_t put = ::write(event_fd, &one, sizeof one);
}

// KVM_CREATE_VM is interrupted (EINTR) when a signal arrives in it: nothing is lost, try again.
int create_vm(int kvm_fd) {
  int fd;
  do {
    fd = ::ioctl(kvm_fd, KVM_CREATE_VM, 0);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

class Vm::IrqFdLine : public Interrupt {
 public:
  explicit IrqFdLine(UniqueFd event_fd) : event_fd_(std::move(event_fd)) {}
  void signal() override { raise_event(event_fd_.get()); }

 private:
  UniqueFd event_fd_;  // closing it detaches it from the VM
};

class Vm::IrqFdVector : public MsiVector {
 public:
  IrqFdVector(Vm& vm, std::uint32_t gsi, UniqueFd event_fd)
      : vm_(vm), gsi_(gsi), event_fd_(std::move(event_fd)) {}
  ~IrqFdVector() override {
    if (attached_) (void)vm_.attach_irqfd(gsi_, event_fd_.get(), /*assign=*/false);
    vm_.release_gsi(gsi_);
  }

  void signal() override { raise_event(event_fd_.get()); }

  Result<void> program(std::uint64_t address, std::uint32_t data) override {
    std::lock_guard lock(mutex_);
    VMM_CHECK(vm_.route_msi(gsi_, address, data));
    // Attached only once a guest uses the vector: most vectors of most devices stay unused, and
    // start-up pays for none of them.
    if (!attached_) {
      VMM_CHECK(vm_.attach_irqfd(gsi_, event_fd_.get(), /*assign=*/true));
      attached_ = true;
    }
    return {};
  }

 private:
  Vm& vm_;
  const std::uint32_t gsi_;
  UniqueFd event_fd_;
  std::mutex mutex_;  // guards attached_
  bool attached_ = false;
};

Result<std::unique_ptr<Vm>> Vm::create(const Kvm& kvm) {
  UniqueFd fd(create_vm(kvm.fd()));
  if (!fd) return fail_errno(errno, "/dev/kvm: KVM_CREATE_VM");
  return std::unique_ptr<Vm>(new Vm(std::move(fd)));
}

Vm::~Vm() = default;

Result<void> Vm::map_memory(const GuestMemory& memory) {
  std::uint32_t slot = 0;
  for (const GuestMemory::Region& region : memory.regions()) {
    kvm_userspace_memory_region request{};
    request.slot = slot++;
    request.guest_phys_addr = region.start.value;
    request.memory_size = region.size;
    request.userspace_addr = reinterpret_cast<std::uint64_t>(region.host);
    if (::ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, &request) < 0) {
      return fail_errno(errno, fmt::format("KVM_SET_USER_MEMORY_REGION for {} MiB at {:#x}",
                                           region.size >> 20, region.start.value));
    }
  }
  return {};
}

Result<void> Vm::set_tss_address(GuestAddress address) {
  if (::ioctl(fd_.get(), KVM_SET_TSS_ADDR, address.value) < 0) {
    return fail_errno(errno, "KVM_SET_TSS_ADDR");
  }
  return {};
}

Result<void> Vm::create_irqchip() {
  if (::ioctl(fd_.get(), KVM_CREATE_IRQCHIP, 0) < 0) {
    return fail_errno(errno, "KVM_CREATE_IRQCHIP");
  }
  // KVM's own table at this point routes the 16 ISA lines to the 8259s too, and GSI 0 to pin 2.
  // Ours is the plain one that the ACPI tables describe: GSI n is pin n. It reaches the kernel with
  // the first MSI route, or with the first line.
  for (std::uint32_t pin = 0; pin < kNrIoapicPins; ++pin) {
    kvm_irq_routing_entry route{};
    route.gsi = pin;
    route.type = KVM_IRQ_ROUTING_IRQCHIP;
    route.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
    route.u.irqchip.pin = pin;
    routes_.push_back(route);
  }
  return {};
}

Result<std::unique_ptr<Interrupt>> Vm::create_line(std::uint32_t gsi) {
  assert(gsi < kNrIoapicPins);
  UniqueFd event_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event_fd) return fail_errno(errno, "eventfd");
  VMM_CHECK(attach_irqfd(gsi, event_fd.get(), /*assign=*/true));
  return std::unique_ptr<Interrupt>(new IrqFdLine(std::move(event_fd)));
}

Result<std::unique_ptr<MsiVector>> Vm::create_vector() {
  UniqueFd event_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event_fd) return fail_errno(errno, "eventfd");

  std::lock_guard lock(mutex_);
  auto free = std::find(msi_gsi_taken_.begin(), msi_gsi_taken_.end(), false);
  std::uint32_t index = static_cast<std::uint32_t>(free - msi_gsi_taken_.begin());
  if (free == msi_gsi_taken_.end()) {
    msi_gsi_taken_.push_back(true);
  } else {
    *free = true;
  }
  return std::unique_ptr<MsiVector>(
      new IrqFdVector(*this, kNrIoapicPins + index, std::move(event_fd)));
}

Result<void> Vm::attach_irqfd(std::uint32_t gsi, int event_fd, bool assign) {
  kvm_irqfd request{};
  request.fd = static_cast<std::uint32_t>(event_fd);
  request.gsi = gsi;
  request.flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN;
  if (::ioctl(fd_.get(), KVM_IRQFD, &request) < 0) {
    return fail_errno(errno, fmt::format("KVM_IRQFD for GSI {}", gsi));
  }
  return {};
}

Result<void> Vm::bind(GuestAddress address, int event_fd) {
  return set_ioeventfd(address, std::nullopt, event_fd, /*assign=*/true);
}
Result<void> Vm::unbind(GuestAddress address, int event_fd) {
  return set_ioeventfd(address, std::nullopt, event_fd, /*assign=*/false);
}
Result<void> Vm::bind_value(GuestAddress address, std::uint32_t value, int event_fd) {
  return set_ioeventfd(address, value, event_fd, /*assign=*/true);
}
Result<void> Vm::unbind_value(GuestAddress address, std::uint32_t value, int event_fd) {
  return set_ioeventfd(address, value, event_fd, /*assign=*/false);
}

Result<void> Vm::set_ioeventfd(GuestAddress address, std::optional<std::uint32_t> value,
                               int event_fd, bool assign) {
  kvm_ioeventfd request{};
  request.addr = address.value;
  request.len = value ? sizeof *value : 0;  // 0: stores of any size
  request.datamatch = value.value_or(0);
  request.fd = event_fd;
  request.flags =
      (assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) | (value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0);
  if (::ioctl(fd_.get(), KVM_IOEVENTFD, &request) < 0) {
    return fail_errno(errno, fmt::format("KVM_IOEVENTFD at {:#x}", address.value));
  }
  return {};
}

Result<void> Vm::route_msi(std::uint32_t gsi, std::uint64_t address, std::uint32_t data) {
  kvm_irq_routing_entry route{};
  route.gsi = gsi;
  route.type = KVM_IRQ_ROUTING_MSI;
  route.u.msi.address_lo = static_cast<std::uint32_t>(address);
  route.u.msi.address_hi = static_cast<std::uint32_t>(address >> 32);
  route.u.msi.data = data;

  std::lock_guard lock(mutex_);
  auto there = std::find_if(routes_.begin(), routes_.end(),
                            [&](const kvm_irq_routing_entry& entry) { return entry.gsi == gsi; });
  if (there == routes_.end()) {
    routes_.push_back(route);
  } else {
    // Replacing the table waits for every vCPU to pass a grace period: not for nothing.
    if (std::memcmp(&*there, &route, sizeof route) == 0) return {};
    *there = route;
  }
  return commit_routes();
}

void Vm::release_gsi(std::uint32_t gsi) {
  std::lock_guard lock(mutex_);
  msi_gsi_taken_[gsi - kNrIoapicPins] = false;
  // The stale route goes with the next table; nothing signals this GSI any more.
  std::erase_if(routes_, [&](const kvm_irq_routing_entry& entry) { return entry.gsi == gsi; });
}

Result<void> Vm::commit_routes() {
  std::vector<std::byte> buffer(sizeof(kvm_irq_routing) +
                                routes_.size() * sizeof(kvm_irq_routing_entry));
  auto* table = reinterpret_cast<kvm_irq_routing*>(buffer.data());
  table->nr = static_cast<std::uint32_t>(routes_.size());
  std::memcpy(table->entries, routes_.data(), routes_.size() * sizeof(kvm_irq_routing_entry));
  if (::ioctl(fd_.get(), KVM_SET_GSI_ROUTING, table) < 0) {
    return fail_errno(errno, fmt::format("KVM_SET_GSI_ROUTING with {} routes", routes_.size()));
  }
  return {};
}

}  // namespace vmm::kvm
