// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "arch/x86/cpu_flags.h"
#include "arch/x86/cpu_state.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/kernel.h"
#include "arch/x86/layout.h"
#include "arch/x86/memory_map.h"
#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/cmos_rtc.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/pvpanic.h"
#include "devices/legacy/serial.h"
#include "devices/pci/root.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "vmm/attach_disk.h"
#include "vmm/backends.h"
#include "vmm/core/bus.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/core/unique_fd.h"
#include "vmm/end_signal.h"
#include "vmm/host_cpu.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/luggage.h"
#include "vmm/machine_boot.h"
#include "vmm/machine_devices.h"
#include "vmm/machine_disk.h"
#include "vmm/machine_stat.h"
#include "vmm/virtio_slots.h"

namespace vmm {
namespace {

namespace layout = x86::layout;

constexpr auto kBalloonTimeout = std::chrono::milliseconds(200);
constexpr auto kRegistersTimeout = std::chrono::milliseconds(100);  // 64 vCPUs: within an answer's
constexpr auto kPauseTimeout = std::chrono::seconds(1);

static_assert(layout::kPciEcamSize == pci::Root::kEcamSize);

Result<GuestMemory> create_memory(const MachineConfig& config) {
  const std::uint64_t bytes = config.memory_bytes;
  if (bytes < x86::kMinRam) {
    return fail(ErrorKind::kInvalid, fmt::format("--mem: {} bytes are too little, a guest needs at "
                                                 "least {} MiB",
                                                 bytes, x86::kMinRam >> 20));
  }
  std::uint64_t host_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                             static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
  if (bytes > layout::kMaxRam || bytes > host_bytes) {
    return fail(ErrorKind::kInvalid, fmt::format("--mem: {} MiB are more than the {} MiB this host "
                                                 "has",
                                                 bytes >> 20, host_bytes >> 20));
  }
  if (config.huge_pages && bytes % GuestMemory::kHugePage != 0) {
    return fail(ErrorKind::kInvalid, "--hugepages: --mem must be a multiple of 2 MiB");
  }
  using Pages = GuestMemory::Pages;
  return GuestMemory::create(x86::ram_ranges(bytes),
                             {.pages = config.huge_pages ? Pages::kReserved : Pages::kAny,
                              .shared = config.memory_shared,
                              .file = config.memory_file});
}

// More queues than vCPUs are of no use, and more than a few for one I/O thread neither.
std::uint16_t queues_for(const MachineConfig& config) {
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(config.nr_cpus, 4));
}

// In the guest's order, the seed last.
std::vector<disk::DiskOptions> all_disks(const MachineConfig& config) {
  std::vector<disk::DiskOptions> all = config.disks;
  if (config.seed) all.push_back(*config.seed);
  for (disk::DiskOptions& disk : all) {
    if (disk.nr_queues == 0) disk.nr_queues = queues_for(config);
  }
  return all;
}

}  // namespace

// In the order of making; taken apart in reverse, so that nothing outlives what it uses.
struct Machine::Parts {
  Parts(const MachineConfig& the_config, GuestMemory the_memory, kvm::Kvm the_kvm,
        std::unique_ptr<kvm::Vm> the_vm, EndSignal the_end, UniqueFd the_waiting_fd)
      : config(the_config),
        memory(std::move(the_memory)),
        kvm(std::move(the_kvm)),
        vm(std::move(the_vm)),
        end(std::move(the_end)),
        waiting_fd(std::move(the_waiting_fd)) {}

  Result<void> add_legacy_devices(legacy::ConsoleSink& console);
  Result<void> add_pci(legacy::ConsoleSink& console, Backends backends);
  Result<void> add_vcpus(const x86::LoadedKernel& kernel);
  Result<void> prepare_thread(std::uint32_t id);
  void start_vcpu(kvm::Vcpu& vcpu, std::shared_future<bool> go);
  void settle();
  void apply_pause();

  const MachineConfig config;
  GuestMemory memory;
  kvm::Kvm kvm;
  std::unique_ptr<kvm::Vm> vm;
  EndSignal end;
  const UniqueFd waiting_fd;  // an eventfd
  Bus ports{"port"};
  Bus mmio{"MMIO"};

  std::unique_ptr<Interrupt> com1_line;
  std::unique_ptr<Interrupt> sci_line;
  std::unique_ptr<legacy::Serial> com1;
  std::unique_ptr<legacy::AcpiPm> acpi_pm;
  legacy::CmosRtc rtc;
  legacy::I8042 i8042{[this] { end.raise({Outcome::Kind::kReboot, {}}); }};
  legacy::PvPanic pvpanic{[this] {
    end.raise({Outcome::Kind::kGuestPanic, "the guest's kernel panicked"});
  }};
  legacy::DebugExit debug_exit{[this](std::uint8_t status) {
    end.raise({Outcome::Kind::kGuestExit, {}, status});
  }};

  pci::Root pci_root{{layout::kPciWindow, layout::kPciWindowSize}};
  VirtioSlots slots{config.virtio_transport, *vm, pci_root, mmio};
  std::vector<std::unique_ptr<MachineDisk>> disks;
  std::unique_ptr<MachineDevices> devices;

  std::vector<std::unique_ptr<kvm::Vcpu>> vcpus;
  std::mutex pause_mutex;
  bool pause_wanted = false;  // by pause(); guarded by pause_mutex
};

Result<void> Machine::Parts::add_legacy_devices(legacy::ConsoleSink& console) {
  VMM_TRY(com1_line, vm->create_line(layout::kCom1Gsi));
  VMM_TRY(sci_line, vm->create_line(layout::kSciGsi));
  com1 = std::make_unique<legacy::Serial>(*com1_line, console);
  acpi_pm = std::make_unique<legacy::AcpiPm>(
      *sci_line,
      [this] {
        end.raise({Outcome::Kind::kPowerOff, {}});
      },
      [this] {
        end.raise({Outcome::Kind::kReboot, {}});
      });
  VMM_CHECK(ports.insert(layout::kCom1Port, legacy::Serial::kNrPorts, *com1));
  VMM_CHECK(ports.insert(layout::kAcpiPmPort, legacy::AcpiPm::kNrPorts, *acpi_pm));
  VMM_CHECK(ports.insert(legacy::CmosRtc::kPort, legacy::CmosRtc::kNrPorts, rtc));
  VMM_CHECK(ports.insert(layout::kPvPanicPort, legacy::PvPanic::kNrPorts, pvpanic));
  if (config.debug_exit_port) {
    Result<void> put =
        ports.insert(*config.debug_exit_port, legacy::DebugExit::kNrPorts, debug_exit);
    if (!put) return Unexpected(std::move(put).error().with_context("--debug-exit"));
  }
  return ports.insert(legacy::I8042::kPort, legacy::I8042::kNrPorts, i8042);
}

Result<void> Machine::Parts::add_pci(legacy::ConsoleSink& console, Backends backends) {
  VMM_CHECK(
      ports.insert(pci::Root::kConfigPort, pci::Root::kNrConfigPorts, pci_root.config_ports()));
  VMM_CHECK(mmio.insert(layout::kPciEcam, layout::kPciEcamSize, pci_root.ecam()));
  VMM_CHECK(mmio.insert(layout::kPciWindow, layout::kPciWindowSize, pci_root.window()));
  for (const std::unique_ptr<MachineDisk>& disk : disks) {
    auto on_waiting = [this] {
      std::uint64_t one = 1;
      [[maybe_unused]] ssize_t put = ::write(waiting_fd.get(), &one, sizeof one);
    };
    VMM_CHECK(disk->attach(memory, slots, config.retry_hint, std::move(on_waiting)));
  }
  // After the disks, whose slots so depend on nothing else.
  VMM_TRY(devices, MachineDevices::create(config, {memory, slots}, console, std::move(backends)));
  return {};
}

Result<void> Machine::Parts::add_vcpus(const x86::LoadedKernel& kernel) {
  VMM_TRY(const std::vector<kvm_cpuid_entry2> supported, kvm.supported_cpuid());
  x86::CpuidConfig cpuid;
  cpuid.nr_cpus = config.nr_cpus;
  cpuid.tsc_deadline_timer = kvm.check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0;
  for (std::uint32_t id = 0; id < config.nr_cpus; ++id) {
    VMM_TRY(std::unique_ptr<kvm::Vcpu> vcpu, kvm::Vcpu::create(kvm, *vm, id));
    cpuid.apic_id = id;
    std::vector<kvm_cpuid_entry2> entries = x86::guest_cpuid(supported, cpuid);
    x86::hide_cpu_flags(config.hidden_cpu_flags, entries);
    VMM_CHECK(vcpu->set_cpuid(entries));
    VMM_CHECK(x86::set_msrs(*vcpu));
    vcpus.push_back(std::move(vcpu));
  }
  return x86::set_boot_registers(*vcpus.front(), kernel.protocol, kernel.entry);
}

Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config,
                                                 legacy::ConsoleSink& console, Backends backends) {
  // Cheap checks of what the user gave come before anything is started.
  VMM_TRY(GuestMemory memory, create_memory(config));
  VMM_TRY(kvm::Kvm kvm, kvm::Kvm::open());
  VMM_TRY(std::unique_ptr<kvm::Vm> vm, kvm::Vm::create(kvm));
  VMM_TRY(EndSignal end, EndSignal::create());
  UniqueFd waiting_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!waiting_fd) return fail_errno(errno, "eventfd");
  auto parts = std::make_unique<Parts>(config, std::move(memory), std::move(kvm), std::move(vm),
                                       std::move(end), std::move(waiting_fd));
  for (disk::DiskOptions& options : all_disks(config)) {
    VMM_TRY(std::unique_ptr<MachineDisk> disk,
            MachineDisk::open(std::move(options), parts->disks.size()));
    parts->disks.push_back(std::move(disk));
  }
  VMM_TRY(const LoadedGuest guest, load_guest(config, parts->memory, parts->disks));
  // After the guest's own disks, whose names so depend on nothing else.
  for (std::size_t i = 0; i < config.nr_bays; ++i) {
    VMM_TRY(std::unique_ptr<MachineDisk> bay,
            MachineDisk::make_bay(parts->disks.size(), queues_for(config)));
    parts->disks.push_back(std::move(bay));
  }

  VMM_CHECK(parts->vm->map_memory(parts->memory));
  VMM_CHECK(parts->vm->set_tss_address(GuestAddress(layout::kKvmTss)));
  VMM_CHECK(parts->vm->create_irqchip());
  VMM_CHECK(parts->add_legacy_devices(console));
  VMM_CHECK(parts->add_pci(console, std::move(backends)));
  VMM_CHECK(describe_machine(config, parts->memory, parts->slots.mmio(), guest));
  VMM_CHECK(parts->add_vcpus(guest.kernel));
  return std::unique_ptr<Machine>(new Machine(std::move(parts)));
}

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
}

Machine::~Machine() = default;

Result<void> Machine::start() {
  const sandbox::SandboxConfig& config = parts_->config.sandbox;
  for (const std::unique_ptr<MachineDisk>& disk : parts_->disks) {
    VMM_CHECK(disk->confine(config));
  }
  VMM_CHECK(parts_->devices->confine(config));

  // No guest code runs before the last thread is confined.
  std::promise<bool> all_confined;
  std::shared_future<bool> go = all_confined.get_future().share();
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) parts_->start_vcpu(*vcpu, go);
  Result<void> confined = sandbox::confine_thread(config, sandbox::ThreadKind::kMain);
  all_confined.set_value(confined.has_value());
  parts_->settle();
  return confined;
}

// Making the interrupt controllers leaves a grace period (SRCU) behind that the kernel ends at its
// leisure, some 10 ms later, and taking the VM apart waits for it. Taking a kick away hurries it.
// Only the main thread waits for that, which has nothing to do while the guest starts.
void Machine::Parts::settle() {
  constexpr GuestAddress kNowhere(~std::uint64_t{0});  // no guest can store there
  if (vm->bind(kNowhere, end.fd())) (void)vm->unbind(kNowhere, end.fd());
}

// On the thread of a vCPU.
Result<void> Machine::Parts::prepare_thread(std::uint32_t id) {
  if (!config.pinned_to.empty()) {
    VMM_CHECK(pin_to(config.pinned_to[id]));
  }
  return sandbox::confine_thread(config.sandbox, sandbox::ThreadKind::kVcpu);
}

void Machine::Parts::start_vcpu(kvm::Vcpu& vcpu, std::shared_future<bool> go) {
  auto on_begin = [this, id = vcpu.id(), go = std::move(go)] {
    Result<void> ready = prepare_thread(id);
    if (!ready) end.raise({Outcome::Kind::kFailure, ready.error().message()});
    return go.get() && ready.has_value();
  };
  auto on_end = [this](const kvm::VcpuEnd& vcpu_end) {
    using Kind = kvm::VcpuEnd::Kind;
    if (vcpu_end.kind == Kind::kStopped) return;
    end.raise(
        {vcpu_end.kind == Kind::kGuestCrash ? Outcome::Kind::kGuestCrash : Outcome::Kind::kFailure,
         vcpu_end.message});
  };
  vcpu.start(ports, mmio, std::move(on_end), std::move(on_begin));
}

// The only place that pauses vCPUs or lets them go on.
void Machine::Parts::apply_pause() {
  const bool waits =
      std::any_of(disks.begin(), disks.end(),
                  [](const std::unique_ptr<MachineDisk>& disk) { return disk->waiting(); });
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : vcpus) {
    if (pause_wanted || waits) {
      vcpu->request_pause();
    } else {
      vcpu->resume();
    }
  }
}

bool Machine::pause() {
  {
    std::lock_guard lock(parts_->pause_mutex);
    parts_->pause_wanted = true;
    parts_->apply_pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + kPauseTimeout;
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) {
    while (!vcpu->held()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return true;
}

void Machine::resume() {
  retry_writes();
  std::lock_guard lock(parts_->pause_mutex);
  parts_->pause_wanted = false;
  parts_->apply_pause();
}

int Machine::waiting_fd() const {
  return parts_->waiting_fd.get();
}

void Machine::follow_waiting() {
  std::uint64_t count;
  [[maybe_unused]] ssize_t got = ::read(parts_->waiting_fd.get(), &count, sizeof count);
  std::lock_guard lock(parts_->pause_mutex);
  parts_->apply_pause();
}

bool Machine::paused() const {
  return std::all_of(parts_->vcpus.begin(), parts_->vcpus.end(),
                     [](const std::unique_ptr<kvm::Vcpu>& vcpu) { return vcpu->held(); });
}

MachineStat Machine::stat() const {
  MachineStat stat;
  stat.memory_bytes = parts_->config.memory_bytes;
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) {
    stat.vcpus.push_back({vcpu->id(), vcpu->held(), vcpu->stats()});
  }
  for (const std::unique_ptr<MachineDisk>& disk : parts_->disks) stat.disks.push_back(disk->stat());
  if (virtio::Balloon* balloon = parts_->devices->balloon()) {
    stat.balloon = balloon->stats(kBalloonTimeout);
  }
  if (const virtio::Vsock* vsock = parts_->devices->vsock()) stat.vsock = vsock->stats();
  return stat;
}

std::size_t Machine::nr_disks() const {
  return static_cast<std::size_t>(
      std::count_if(parts_->disks.begin(), parts_->disks.end(),
                    [](const std::unique_ptr<MachineDisk>& disk) { return !disk->is_bay(); }));
}

bool Machine::disks_read() const {
  return std::any_of(parts_->disks.begin(), parts_->disks.end(),
                     [](const std::unique_ptr<MachineDisk>& disk) { return disk->was_read(); });
}

Result<std::vector<std::byte>> Machine::device_tree() const {
  return device_tree_of(parts_->config, parts_->memory, parts_->slots.mmio());
}

std::vector<std::optional<kvm::VcpuRegisters>> Machine::registers() {
  std::vector<std::optional<kvm::VcpuRegisters>> all;
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) {
    all.push_back(vcpu->registers(kRegistersTimeout));
  }
  return all;
}

Result<MachineDisk*> Machine::find_disk(std::string_view name) {
  for (std::size_t i = 0; i < parts_->disks.size(); ++i) {
    MachineDisk& disk = *parts_->disks[i];
    if (name == device_name(i) || (!name.empty() && name == disk.path())) return &disk;
  }
  return fail(ErrorKind::kNotFound,
              fmt::format("there is no disk '{}': 'vmm stat' shows those there are", name));
}

Result<std::string> Machine::attach_disk(disk::DiskOptions options, AttachedDisk disk) {
  for (std::size_t i = 0; i < parts_->disks.size(); ++i) {
    if (!parts_->disks[i]->is_empty()) continue;
    VMM_CHECK(vmm::attach_disk(*parts_->disks[i], std::move(options), std::move(disk)));
    return device_name(i);
  }
  return fail(ErrorKind::kUnsupported,
              fmt::format("it has no place for another disk (run it with --bays): {} of {} taken",
                          parts_->config.nr_bays, parts_->config.nr_bays));
}

Result<void> Machine::attach_again(std::size_t index, disk::DiskOptions options,
                                   AttachedDisk disk) {
  if (index >= parts_->disks.size() || !parts_->disks[index]->is_empty()) {
    return fail(ErrorKind::kNotFound, "there is no place for it");
  }
  return vmm::attach_disk(*parts_->disks[index], std::move(options), std::move(disk));
}

void Machine::hand_on_disks(Luggage& luggage) {
  for (std::size_t i = 0; i < parts_->disks.size(); ++i) {
    const std::shared_ptr<AttachedDisk> kept = parts_->disks[i]->take_kept();
    if (!kept) continue;
    const std::string path = parts_->disks[i]->path();
    Result<void> put = luggage.put(i, std::move(*kept));
    if (!put) log::error("{}: not attached any more: {}", path, put.error().message());
  }
}

Result<void> Machine::grow_disk(std::string_view disk, std::uint64_t size) {
  VMM_TRY(MachineDisk * found, find_disk(disk));
  return found->grow(size);
}

Result<void> Machine::limit_disk(std::string_view disk, std::optional<std::uint64_t> operations,
                                 std::optional<std::uint64_t> bytes) {
  VMM_TRY(MachineDisk * found, find_disk(disk));
  RateLimits limits = found->rate_limits();
  limits.operations = operations.value_or(limits.operations);
  limits.bytes = bytes.value_or(limits.bytes);
  found->set_rate_limits(limits);
  return {};
}

Result<void> Machine::inflate(std::uint64_t bytes) {
  virtio::Balloon* balloon = parts_->devices->balloon();
  if (balloon == nullptr) {
    return fail(ErrorKind::kUnsupported, "it has no balloon: run it with --balloon");
  }
  if (bytes >= parts_->config.memory_bytes) {
    return fail(ErrorKind::kInvalid, fmt::format("a guest with {} MiB cannot give back {} MiB",
                                                 parts_->config.memory_bytes >> 20, bytes >> 20));
  }
  balloon->set_target(bytes);
  return {};
}

void Machine::end() {
  parts_->end.raise({Outcome::Kind::kStopped, {}});
}

bool Machine::ended_from_outside() const {
  const std::optional<Outcome> outcome = parts_->end.outcome();
  return outcome && outcome->kind == Outcome::Kind::kStopped;
}

int Machine::ended_fd() const {
  return parts_->end.fd();
}

Outcome Machine::finish() {
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) vcpu->request_stop();
  for (const std::unique_ptr<kvm::Vcpu>& vcpu : parts_->vcpus) vcpu->join();
  Outcome outcome = parts_->end.outcome().value_or(Outcome{});
  parts_->devices->stop();
  for (const std::unique_ptr<MachineDisk>& disk : parts_->disks) {
    Result<void> closed = disk->close();
    if (closed) continue;
    // Each is told; the first decides the exit status where nothing worse has happened.
    log::error("{}", closed.error().message());
    if (outcome.message.empty()) outcome = {Outcome::Kind::kFailure, closed.error().message()};
  }
  return outcome;
}

void Machine::retry_writes() {
  for (const std::unique_ptr<MachineDisk>& disk : parts_->disks) disk->retry_writes();
}

void Machine::press_power_button() {
  parts_->acpi_pm->press_power_button();
}

std::size_t Machine::input(std::span<const std::byte> bytes) {
  if (virtio::Console* console = parts_->devices->console()) return console->input(bytes);
  return parts_->com1->input(bytes);
}

void Machine::set_on_input_room(std::function<void()> on_input_room) {
  if (virtio::Console* console = parts_->devices->console()) {
    console->set_on_input_room(std::move(on_input_room));
  } else {
    parts_->com1->set_on_input_room(std::move(on_input_room));
  }
}

}  // namespace vmm
