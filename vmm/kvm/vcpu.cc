// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vcpu.h"

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>
#include <mutex>
#include <vector>

#include "vmm/kvm/exit_names.h"

namespace vmm::kvm {
namespace {

// The signal that takes a thread out of KVM_RUN. What it interrupts looks at immediate_exit next.
int kick_signal() {
  return SIGRTMIN;
}

void install_kick_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    // No SA_RESTART: a device that writes to a blocked terminal must come back too.
    ::sigaction(kick_signal(), &action, nullptr);
  });
}

// There is one writer: no need for an atomic addition.
void count(std::atomic<std::uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// All signals but the kick belong to the main thread.
void block_other_signals() {
  sigset_t signals;
  ::sigfillset(&signals);
  ::sigdelset(&signals, kick_signal());
  ::pthread_sigmask(SIG_SETMASK, &signals, nullptr);
}

}  // namespace

Result<std::unique_ptr<Vcpu>> Vcpu::create(const Kvm& kvm, Vm& vm, std::uint32_t id) {
  VMM_TRY(std::size_t state_size, kvm.vcpu_mmap_size());
  UniqueFd fd(::ioctl(vm.fd(), KVM_CREATE_VCPU, id));
  if (!fd) return fail_errno(errno, fmt::format("vCPU {}: KVM_CREATE_VCPU", id));
  void* state = ::mmap(nullptr, state_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (state == MAP_FAILED) return fail_errno(errno, fmt::format("vCPU {}: mmap of its state", id));
  install_kick_handler();
  return std::unique_ptr<Vcpu>(
      new Vcpu(std::move(fd), id, static_cast<kvm_run*>(state), state_size));
}

Vcpu::Vcpu(UniqueFd fd, std::uint32_t id, kvm_run* state, std::size_t state_size)
    : fd_(std::move(fd)), id_(id), state_(state), state_size_(state_size) {
}

Vcpu::~Vcpu() {
  request_stop();
  join();
  ::munmap(state_, state_size_);
}

Result<void> Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
  std::vector<std::byte> buffer(sizeof(kvm_cpuid2) + entries.size_bytes());
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(buffer.data());
  cpuid->nent = static_cast<std::uint32_t>(entries.size());
  std::memcpy(cpuid->entries, entries.data(), entries.size_bytes());
  if (::ioctl(fd_.get(), KVM_SET_CPUID2, cpuid) < 0) {
    return fail_errno(errno, fmt::format("vCPU {}: KVM_SET_CPUID2", id_));
  }
  return {};
}

Result<void> Vcpu::set_msrs(std::span<const kvm_msr_entry> msrs) {
  std::vector<std::byte> buffer(sizeof(kvm_msrs) + msrs.size_bytes());
  auto* request = reinterpret_cast<kvm_msrs*>(buffer.data());
  request->nmsrs = static_cast<std::uint32_t>(msrs.size());
  std::memcpy(request->entries, msrs.data(), msrs.size_bytes());
  int nr_set = ::ioctl(fd_.get(), KVM_SET_MSRS, request);  // stops at the first it refuses
  if (nr_set < 0) return fail_errno(errno, fmt::format("vCPU {}: KVM_SET_MSRS", id_));
  if (static_cast<std::size_t>(nr_set) != msrs.size()) {
    return fail(ErrorKind::kUnsupported, fmt::format("vCPU {}: KVM refuses to set MSR {:#x}", id_,
                                                     msrs[static_cast<unsigned>(nr_set)].index));
  }
  return {};
}

Result<kvm_regs> Vcpu::regs() const {
  kvm_regs regs{};
  if (::ioctl(fd_.get(), KVM_GET_REGS, &regs) < 0) {
    return fail_errno(errno, fmt::format("vCPU {}: KVM_GET_REGS", id_));
  }
  return regs;
}

Result<void> Vcpu::set_regs(const kvm_regs& regs) {
  if (::ioctl(fd_.get(), KVM_SET_REGS, &regs) < 0) {
    return fail_errno(errno, fmt::format("vCPU {}: KVM_SET_REGS", id_));
  }
  return {};
}

Result<kvm_sregs> Vcpu::sregs() const {
  kvm_sregs sregs{};
  if (::ioctl(fd_.get(), KVM_GET_SREGS, &sregs) < 0) {
    return fail_errno(errno, fmt::format("vCPU {}: KVM_GET_SREGS", id_));
  }
  return sregs;
}

Result<void> Vcpu::set_sregs(const kvm_sregs& sregs) {
  if (::ioctl(fd_.get(), KVM_SET_SREGS, &sregs) < 0) {
    return fail_errno(errno, fmt::format("vCPU {}: KVM_SET_SREGS", id_));
  }
  return {};
}

VcpuEnd Vcpu::run(const Bus& ports, const Bus& mmio) {
  while (true) {
    if (interrupted() && !wait_until_wanted()) return {};
    if (::ioctl(fd_.get(), KVM_RUN, 0) < 0) {
      // EINTR: a kick, or any other signal. EAGAIN: the vCPU waited for its start-up IPI.
      if (errno == EINTR || errno == EAGAIN) {
        count(other_exits_);
        continue;
      }
      int err = errno;
      return failure(VcpuEnd::Kind::kFailure, Error::from_errno(err, "KVM_RUN failed").message());
    }
    switch (state_->exit_reason) {
      case KVM_EXIT_IO:
        count(port_exits_);
        serve_port_exit(ports);
        break;
      case KVM_EXIT_MMIO:
        count(mmio_exits_);
        serve_mmio_exit(mmio);
        break;
      case KVM_EXIT_INTR:
        count(other_exits_);
        break;
      default:
        return describe_exit();
    }
  }
}

void Vcpu::serve_port_exit(const Bus& ports) {
  auto* data = reinterpret_cast<std::byte*>(state_) + state_->io.data_offset;
  for (std::uint32_t i = 0; i < state_->io.count; ++i, data += state_->io.size) {
    std::span<std::byte> item(data, state_->io.size);
    if (state_->io.direction == KVM_EXIT_IO_OUT) {
      ports.write(state_->io.port, item);
    } else {
      ports.read(state_->io.port, item);
    }
  }
}

void Vcpu::serve_mmio_exit(const Bus& mmio) {
  std::span<std::byte> data(reinterpret_cast<std::byte*>(state_->mmio.data), state_->mmio.len);
  if (state_->mmio.is_write) {
    mmio.write(state_->mmio.phys_addr, data);
  } else {
    mmio.read(state_->mmio.phys_addr, data);
  }
}

VcpuEnd Vcpu::describe_exit() const {
  switch (state_->exit_reason) {
    case KVM_EXIT_SHUTDOWN:
      return failure(VcpuEnd::Kind::kGuestCrash,
                     "the guest crashed: triple fault (KVM_EXIT_SHUTDOWN)");
    case KVM_EXIT_INTERNAL_ERROR:
      return failure(VcpuEnd::Kind::kFailure, describe_internal_error());
    case KVM_EXIT_FAIL_ENTRY:
      return failure(
          VcpuEnd::Kind::kFailure,
          fmt::format(
              "the processor refused to enter the guest (KVM_EXIT_FAIL_ENTRY, reason {:#x})",
              std::uint64_t{state_->fail_entry.hardware_entry_failure_reason}));
    case KVM_EXIT_UNKNOWN:
      return failure(VcpuEnd::Kind::kFailure,
                     fmt::format("KVM_EXIT_UNKNOWN, hardware exit reason {:#x}",
                                 std::uint64_t{state_->hw.hardware_exit_reason}));
    default:
      return failure(VcpuEnd::Kind::kFailure, fmt::format("{} is nothing this VMM asked for",
                                                          exit_name(state_->exit_reason)));
  }
}

std::string Vcpu::describe_internal_error() const {
  std::string text =
      fmt::format("KVM_EXIT_INTERNAL_ERROR: {}", internal_error_name(state_->internal.suberror));
  if (state_->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) return text;
  const auto& emulation = state_->emulation_failure;
  if (emulation.ndata >= 1 &&
      (emulation.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
    text += ", bytes";
    std::size_t nr_bytes = std::min<std::size_t>(emulation.insn_size, sizeof emulation.insn_bytes);
    for (std::size_t i = 0; i < nr_bytes; ++i) {
      text += fmt::format(" {:02x}", unsigned{emulation.insn_bytes[i]});
    }
  }
  return text;
}

VcpuEnd Vcpu::failure(VcpuEnd::Kind kind, std::string_view what) const {
  Result<kvm_regs> now = regs();
  std::string rip = now ? fmt::format("{:#x}", std::uint64_t{now->rip}) : "unknown";
  return {kind, fmt::format("vCPU {}: {}, RIP {}", id_, what, rip)};
}

void Vcpu::start(const Bus& ports, const Bus& mmio, std::function<void(const VcpuEnd&)> on_end,
                 std::function<bool()> on_begin) {
  assert(!thread_.joinable());
  // The mask is inherited: there is no moment in which the new thread takes a signal meant for
  // main.
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  block_other_signals();
  thread_ = std::thread(
      [this, &ports, &mmio, on_begin = std::move(on_begin), on_end = std::move(on_end)] {
        ::pthread_setname_np(::pthread_self(), fmt::format("vmm-vcpu{}", id_).c_str());
        on_end(on_begin() ? run(ports, mmio) : VcpuEnd{});
      });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool Vcpu::interrupted() const {
  return std::atomic_ref(state_->immediate_exit).load(std::memory_order_relaxed) != 0;
}

// On the vCPU's thread. False: the run ends here.
bool Vcpu::wait_until_wanted() {
  std::unique_lock lock(mutex_);
  held_ = wanted_ == Wanted::kPause;
  const bool paused = held_;
  take_registers();
  while (wanted_ == Wanted::kPause) {
    changed_.wait(lock);
    take_registers();
  }
  held_ = false;
  if (wanted_ == Wanted::kStop) return false;  // immediate_exit stays set
  std::atomic_ref(state_->immediate_exit).store(0, std::memory_order_relaxed);
  lock.unlock();
  // The guest's watchdogs learn that it stood still. It fails where the guest has no kvmclock.
  if (paused) [[maybe_unused]]
    int told = ::ioctl(fd_.get(), KVM_KVMCLOCK_CTRL, 0);
  return true;
}

// On the vCPU's thread, which alone may ask the kernel: anybody else would wait until the vCPU
// leaves the guest, and has no right to.
void Vcpu::take_registers() {
  if (!registers_wanted_) return;
  registers_wanted_ = false;
  const Result<kvm_regs> general = regs();
  const Result<kvm_sregs> special = sregs();
  if (general && special) registers_ = VcpuRegisters{*general, *special};
  registers_taken_.notify_all();
}

std::optional<VcpuRegisters> Vcpu::registers(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  registers_.reset();
  registers_wanted_ = true;
  std::atomic_ref(state_->immediate_exit).store(1, std::memory_order_relaxed);
  changed_.notify_all();
  if (thread_.joinable()) ::pthread_kill(thread_.native_handle(), kick_signal());
  registers_taken_.wait_for(lock, patience, [this] { return !registers_wanted_; });
  return registers_;
}

void Vcpu::want(Wanted wanted) {
  {
    std::lock_guard lock(mutex_);
    if (wanted_ == Wanted::kStop) return;
    wanted_ = wanted;
    // A thread that has yet to reach KVM_RUN leaves it at once.
    if (wanted != Wanted::kRun) {
      std::atomic_ref(state_->immediate_exit).store(1, std::memory_order_relaxed);
    }
  }
  changed_.notify_all();
  if (wanted != Wanted::kRun && thread_.joinable()) {
    ::pthread_kill(thread_.native_handle(), kick_signal());
  }
}

void Vcpu::request_stop() {
  want(Wanted::kStop);
}

void Vcpu::request_pause() {
  want(Wanted::kPause);
}

void Vcpu::resume() {
  want(Wanted::kRun);
}

bool Vcpu::held() const {
  std::lock_guard lock(mutex_);
  return held_;
}

VcpuStats Vcpu::stats() const {
  VcpuStats stats;
  stats.port_exits = port_exits_.load(std::memory_order_relaxed);
  stats.mmio_exits = mmio_exits_.load(std::memory_order_relaxed);
  stats.other_exits = other_exits_.load(std::memory_order_relaxed);
  auto* thread = const_cast<std::thread*>(&thread_);
  clockid_t clock;
  timespec time{};
  if (thread->joinable() && ::pthread_getcpuclockid(thread->native_handle(), &clock) == 0 &&
      ::clock_gettime(clock, &time) == 0) {
    stats.cpu_time_ns = static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
                        static_cast<std::uint64_t>(time.tv_nsec);
  }
  return stats;
}

void Vcpu::join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace vmm::kvm
