// SPDX-License-Identifier: Apache-2.0
// Vcpu: one virtual processor, its state, and the thread that runs it.
//
// Port and MMIO exits go to the two buses; every other exit ends the run and says why.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "vmm/core/bus.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/kvm/abi.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vm.h"

namespace vmm::kvm {

// How the run of one vCPU ended.
struct VcpuEnd {
  enum class Kind {
    kStopped,     // request_stop()
    kGuestCrash,  // triple fault: the guest's doing
    kFailure,     // KVM cannot go on
  };
  Kind kind = Kind::kStopped;
  // One line for the user that names the exit, the vCPU and its RIP; empty where kStopped.
  std::string message;
};

// What one vCPU has done so far.
struct VcpuStats {
  std::uint64_t port_exits = 0;
  std::uint64_t mmio_exits = 0;
  std::uint64_t other_exits = 0;  // signals
  std::uint64_t cpu_time_ns = 0;  // of its thread, the guest's time and the devices'
};

struct VcpuRegisters {
  kvm_regs general;
  kvm_sregs special;
};

class Vcpu {
 public:
  // `id` is the APIC id too. A vCPU other than 0 waits for its start-up IPI once it runs.
  static Result<std::unique_ptr<Vcpu>> create(const Kvm& kvm, Vm& vm, std::uint32_t id);
  // Stops and joins the thread.
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  std::uint32_t id() const { return id_; }

  // State, while the thread does not run.
  Result<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);
  Result<void> set_msrs(std::span<const kvm_msr_entry> msrs);
  Result<kvm_regs> regs() const;
  Result<void> set_regs(const kvm_regs& regs);
  Result<kvm_sregs> sregs() const;
  Result<void> set_sregs(const kvm_sregs& sregs);

  // Runs on the calling thread until the guest or request_stop() ends it.
  VcpuEnd run(const Bus& ports, const Bus& mmio);

  // Runs on a thread of its own. `on_begin` is called there before any guest code runs; where it
  // returns false, none does. `on_end` is called there, last. The buses must outlive the thread.
  void start(
      const Bus& ports, const Bus& mmio, std::function<void(const VcpuEnd&)> on_end,
      std::function<bool()> on_begin = [] { return true; });
  // From any thread: the vCPU leaves the guest, and does not enter it again. Interrupts system
  // calls that a device makes on the vCPU's thread (EINTR).
  void request_stop();
  // From any thread, while the thread runs or will: the vCPU leaves the guest soon and waits;
  // held() tells when it does. A pause is no end: request_stop() still is one.
  void request_pause();
  void resume();
  bool held() const;
  void join();

  // From any thread, until join().
  VcpuStats stats() const;
  // From any thread but the vCPU's, until join(): the registers as they are now; the guest stands
  // still for a moment. Nothing where the vCPU has ended, or is held up by a device for longer than
  // `patience`.
  std::optional<VcpuRegisters> registers(std::chrono::milliseconds patience);

 private:
  Vcpu(UniqueFd fd, std::uint32_t id, kvm_run* state, std::size_t state_size);
  enum class Wanted { kRun, kPause, kStop };
  void want(Wanted wanted);
  bool interrupted() const;
  bool wait_until_wanted();
  void take_registers();
  void serve_port_exit(const Bus& ports);
  void serve_mmio_exit(const Bus& mmio);
  VcpuEnd describe_exit() const;
  VcpuEnd failure(VcpuEnd::Kind kind, std::string_view what) const;
  std::string describe_internal_error() const;

  UniqueFd fd_;
  const std::uint32_t id_;
  kvm_run* const state_;  // shared with the kernel
  const std::size_t state_size_;
  std::thread thread_;

  // Written by the vCPU's thread alone.
  std::atomic<std::uint64_t> port_exits_ = 0;
  std::atomic<std::uint64_t> mmio_exits_ = 0;
  std::atomic<std::uint64_t> other_exits_ = 0;

  mutable std::mutex mutex_;  // guards what follows, and writing state_->immediate_exit
  std::condition_variable changed_;
  Wanted wanted_ = Wanted::kRun;
  bool held_ = false;
  bool registers_wanted_ = false;
  std::optional<VcpuRegisters> registers_;
  std::condition_variable registers_taken_;
};

}  // namespace vmm::kvm
