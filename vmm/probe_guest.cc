// SPDX-License-Identifier: Apache-2.0
#include "vmm/probe_guest.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>

#include "arch/x86/cpu_state.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/memory_map.h"
#include "vmm/core/bus.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace vmm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr GuestAddress kCode(0x100000);
constexpr std::uint32_t kScratch = 0x110000;  // zeros: an XSAVE area in its initial state

// The guest reads its loop counts from kCountPort until one is 0, and reports each step it is
// through with a write to kStepPort.
constexpr std::uint8_t kCountPort = 0x10;
constexpr std::uint8_t kStepPort = 0x14;
enum Step : std::uint8_t { kStepLoop = 1, kStepCmpxchg16b, kStepXrstor, kStepEnd };

constexpr std::uint8_t kProgram[] = {
    // clang-format off
    0xe5, kCountPort,                   // 00 in eax, kCountPort
    0x85, 0xc0,                         // 02 test eax, eax
    0x74, 0x0c,                         // 04 jz 12
    0x89, 0xc1,                         // 06 mov ecx, eax
    0xff, 0xc9,                         // 08 dec ecx
    0x75, 0xfc,                         // 0a jnz 08
    0xb0, kStepLoop,                    // 0c mov al, kStepLoop
    0xe6, kStepPort,                    // 0e out kStepPort, al
    0xeb, 0xee,                         // 10 jmp 00
    0xbf, 0x00, 0x00, 0x11, 0x00,       // 12 mov edi, kScratch
    0x31, 0xc0, 0x31, 0xd2,             // 17 xor eax, eax; xor edx, edx
    0x31, 0xdb, 0x31, 0xc9,             // 1b xor ebx, ebx; xor ecx, ecx
    0xf0, 0x48, 0x0f, 0xc7, 0x0f,       // 1f lock cmpxchg16b [rdi]
    0xb0, kStepCmpxchg16b,              // 24
    0xe6, kStepPort,                    // 26
    0xe5, kCountPort,                   // 28 in eax, kCountPort: whether there is XSAVE
    0x85, 0xc0,                         // 2a test eax, eax
    0x74, 0x1e,                         // 2c jz 4c
    0x0f, 0x20, 0xe0,                   // 2e mov rax, cr4
    0x0d, 0x00, 0x06, 0x04, 0x00,       // 31 or eax, OSFXSR | OSXMMEXCPT | OSXSAVE
    0x0f, 0x22, 0xe0,                   // 36 mov cr4, rax
    0x31, 0xd2,                         // 39 xor edx, edx (ecx is 0)
    0xb8, 0x03, 0x00, 0x00, 0x00,       // 3b mov eax, x87 | SSE
    0x0f, 0x01, 0xd1,                   // 40 xsetbv
    0x0f, 0xae, 0x2f,                   // 43 xrstor [rdi]
    0xb0, kStepXrstor,                  // 46
    0xe6, kStepPort,                    // 48
    0x90, 0x90,                         // 4a nop; nop
    0xb0, kStepEnd,                     // 4c
    0xe6, kStepPort,                    // 4e
    0xf4,                               // 50 hlt
    // clang-format on
};
static_assert(sizeof kProgram == 0x51 && kScratch == 0x110000);

// A loop's length: short enough for 2 million instructions a second, then long enough for 4
// billion.
constexpr std::uint32_t kShortLoop = 20'000;
constexpr std::uint32_t kLongLoop = 10'000'000;
constexpr auto kFastEnough = std::chrono::milliseconds(5);  // for kShortLoop, to try kLongLoop
constexpr auto kTimeLimit = std::chrono::seconds(5);

// Answers the guest, and takes the time.
class Probe : public BusDevice {
 public:
  explicit Probe(bool has_xsave) { result.has_xsave = has_xsave; }

  void read(std::uint64_t, std::span<std::byte> data) override {
    std::uint32_t answer = result.cmpxchg16b ? result.has_xsave : next_count();
    std::memcpy(data.data(), &answer, std::min(data.size(), sizeof answer));
    started_ = Clock::now();
  }

  void write(std::uint64_t, std::span<const std::byte> data) override {
    switch (std::to_integer<std::uint8_t>(data[0])) {
      case kStepLoop:
        elapsed_ = Clock::now() - started_;
        result.instructions_per_second =
            2.0 * count_ / std::chrono::duration<double>(elapsed_).count();
        break;
      case kStepCmpxchg16b:
        result.cmpxchg16b = true;
        break;
      case kStepXrstor:
        result.xrstor = true;
        break;
      case kStepEnd:
        through = true;
        vcpu->request_stop();
        break;
      default:
        break;
    }
  }

  ProbeResult result;
  kvm::Vcpu* vcpu = nullptr;
  bool through = false;

 private:
  std::uint32_t next_count() {
    if (count_ == 0) return count_ = kShortLoop;
    if (count_ == kShortLoop && elapsed_ < kFastEnough) return count_ = kLongLoop;
    return 0;
  }

  std::uint32_t count_ = 0;
  Clock::time_point started_;
  Clock::duration elapsed_{};
};

bool has_xsave(std::span<const kvm_cpuid_entry2> entries) {
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function == 1) return (entry.ecx & 1u << 26) != 0;
  }
  return false;
}

// Runs the vCPU on its thread until it ends, or the time is up.
std::optional<kvm::VcpuEnd> run_for(kvm::Vcpu& vcpu, const Bus& ports, const Bus& mmio,
                                    Clock::duration limit) {
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<kvm::VcpuEnd> end;
  vcpu.start(ports, mmio, [&](const kvm::VcpuEnd& how) {
    std::lock_guard lock(mutex);
    end = how;
    ended.notify_all();
  });
  bool in_time;
  {
    std::unique_lock lock(mutex);
    in_time = ended.wait_for(lock, limit, [&] { return end.has_value(); });
  }
  vcpu.request_stop();
  vcpu.join();
  return in_time ? end : std::nullopt;
}

}  // namespace

Result<ProbeResult> run_probe_guest(const kvm::Kvm& kvm) {
  VMM_TRY(GuestMemory memory, GuestMemory::create(x86::ram_ranges(x86::kMinRam)));
  VMM_TRY(std::unique_ptr<kvm::Vm> vm, kvm::Vm::create(kvm));
  VMM_CHECK(vm->map_memory(memory));
  VMM_TRY(std::unique_ptr<kvm::Vcpu> vcpu, kvm::Vcpu::create(kvm, *vm, 0));
  VMM_TRY(const std::vector<kvm_cpuid_entry2> supported, kvm.supported_cpuid());
  VMM_CHECK(vcpu->set_cpuid(x86::guest_cpuid(supported, {})));
  VMM_CHECK(memory.write(kCode, std::as_bytes(std::span(kProgram))));
  VMM_CHECK(x86::write_boot_tables(memory, x86::BootProtocol::kLinux64));
  VMM_CHECK(x86::set_boot_registers(*vcpu, x86::BootProtocol::kLinux64, kCode.value));

  Probe probe(has_xsave(supported));
  probe.vcpu = vcpu.get();
  Bus ports("port"), mmio("MMIO");
  VMM_CHECK(ports.insert(kCountPort, 4, probe));
  VMM_CHECK(ports.insert(kStepPort, 1, probe));
  std::optional<kvm::VcpuEnd> end = run_for(*vcpu, ports, mmio, kTimeLimit);
  if (!end) {
    probe.result.failure = "it was not through within 5 s";
  } else if (!probe.through) {
    probe.result.failure = end->message;
  }
  return probe.result;
}

}  // namespace vmm
