// SPDX-License-Identifier: Apache-2.0
// The least that starts a guest: what any VMM has to ask of KVM for one processor, and nothing
// else. The measure for the start-up time of a VMM that does more.
//
// minimal_vm CODE MIB: puts the file CODE at 1 MiB of a guest of MIB MiB and enters it there in
// flat 32-bit mode. What the guest writes to port 0x3f8 goes to stdout; a write to port 0x501 ends
// it. An in-kernel interrupt controller is there, as every PC operating system needs one; a timer
// (PIT) is not.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

int check(int result, const char* what) {
  if (result >= 0) return result;
  std::perror(what);
  std::exit(1);
}

void load(const char* path, char* at, std::size_t room) {
  const int fd = check(::open(path, O_RDONLY | O_CLOEXEC), path);
  check(static_cast<int>(::read(fd, at, room)), path);
  ::close(fd);
}

void enter_flat_mode(int vcpu) {
  kvm_sregs sregs{};
  check(::ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
  kvm_segment flat{};
  flat.limit = 0xffffffff;
  flat.present = flat.db = flat.s = flat.g = 1;
  flat.selector = 0x10;
  flat.type = 3;  // data, written and accessed
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
  flat.selector = 0x08;
  flat.type = 11;  // code, read and accessed
  sregs.cs = flat;
  sregs.cr0 = 0x11;  // PE, ET
  check(::ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
  kvm_regs regs{};
  regs.rip = 0x100000;
  regs.rflags = 2;
  check(::ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

// Until the guest ends itself; gives its status.
int run(int vcpu, kvm_run* state) {
  while (true) {
    check(::ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    if (state->exit_reason != KVM_EXIT_IO || state->io.direction != KVM_EXIT_IO_OUT) return 1;
    const char* data = reinterpret_cast<const char*>(state) + state->io.data_offset;
    if (state->io.port == 0x501) return *data;
    if (state->io.port == 0x3f8 && ::write(STDOUT_FILENO, data, 1) != 1) return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::size_t size = std::strtoul(argv[2], nullptr, 10) << 20;
  const int kvm = check(::open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  const int vm = check(::ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  check(::ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
  check(::ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  load(argv[1], static_cast<char*>(memory) + 0x100000, 4096);
  kvm_userspace_memory_region region{};
  region.memory_size = size;
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory);
  check(::ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  const int vcpu = check(::ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  const int state_size = check(::ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  void* state = ::mmap(nullptr, static_cast<std::size_t>(state_size), PROT_READ | PROT_WRITE,
                       MAP_SHARED, vcpu, 0);
  if (state == MAP_FAILED) return 1;
  enter_flat_mode(vcpu);
  return run(vcpu, static_cast<kvm_run*>(state));
}
