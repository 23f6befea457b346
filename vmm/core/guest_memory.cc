// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/guest_memory.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <cassert>

namespace vmm {
namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kHugePage = GuestMemory::kHugePage;

// The kernel reserves them here, or fails: a guest does not end for want of one.
void* map_reserved(std::uint64_t size) {
  constexpr int kTwoMiB = 21 << MAP_HUGE_SHIFT;
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | kTwoMiB, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

// Where `start` is in its huge page, so is the address given: only then KVM can map the guest's
// huge pages as such (Linux: arch/x86/kvm/x86.c, kvm_alloc_memslot_metadata).
void* map_aligned(GuestAddress start, std::uint64_t size) {
  // NORESERVE: an over-committed guest is the user's choice; the host's OOM handling decides, as
  // for any process.
  void* mapped = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* first = static_cast<std::byte*>(mapped);
  const std::uint64_t before = (start.value - reinterpret_cast<std::uintptr_t>(first)) % kHugePage;
  if (before > 0) ::munmap(first, before);
  if (before < kHugePage) ::munmap(first + before + size, kHugePage - before);
  return first + before;
}

}  // namespace

Result<GuestMemory> GuestMemory::create(std::span<const Range> ranges, Pages pages) {
  GuestMemory memory{std::vector<Region>()};
  std::uint64_t previous_end = 0;
  for (const Range& range : ranges) {
    assert(range.size > 0 && range.size % kPageSize == 0 && range.start.value % kPageSize == 0);
    assert(range.start.value >= previous_end);
    previous_end = range.start.value + range.size;

    if (pages == Pages::kReserved) {
      assert(range.size % kHugePage == 0 && range.start.value % kHugePage == 0);
      void* host = map_reserved(range.size);
      if (host == nullptr) {
        return fail_errno(errno, fmt::format("--hugepages: cannot take {} pages of 2 MiB: reserve "
                                             "more with sysctl vm.nr_hugepages",
                                             range.size / kHugePage));
      }
      memory.regions_.push_back({range.start, range.size, static_cast<std::byte*>(host)});
      ::madvise(host, range.size, MADV_DONTDUMP);
      continue;
    }
    void* host = map_aligned(range.start, range.size);
    if (host == nullptr) {
      return fail_errno(
          errno, fmt::format("guest memory: cannot map {} MiB (see --mem)", range.size >> 20));
    }
    memory.regions_.push_back({range.start, range.size, static_cast<std::byte*>(host)});
    ::madvise(host, range.size, MADV_DONTDUMP);  // guest secrets stay out of our core dumps
    ::madvise(host, range.size, MADV_HUGEPAGE);  // fails where the kernel has none
  }
  return memory;
}

GuestMemory& GuestMemory::operator=(GuestMemory&& other) noexcept {
  if (this != &other) {
    unmap();
    regions_ = std::move(other.regions_);
    other.regions_.clear();
  }
  return *this;
}

GuestMemory::~GuestMemory() {
  unmap();
}

void GuestMemory::unmap() {
  for (const Region& region : regions_) ::munmap(region.host, region.size);
  regions_.clear();
}

std::uint64_t GuestMemory::total_size() const {
  std::uint64_t total = 0;
  for (const Region& region : regions_) total += region.size;
  return total;
}

Result<void> GuestMemory::read(GuestAddress from, std::span<std::byte> to) const {
  VMM_TRY(std::span<std::byte> bytes, slice(from, to.size()));
  // memcpy() takes no null pointer, not even for nothing.
  if (!to.empty()) std::memcpy(to.data(), bytes.data(), to.size());
  return {};
}

Result<void> GuestMemory::write(GuestAddress to, std::span<const std::byte> from) const {
  VMM_TRY(std::span<std::byte> bytes, slice(to, from.size()));
  if (!from.empty()) std::memcpy(bytes.data(), from.data(), from.size());
  return {};
}

Unexpected<Error> GuestMemory::out_of_range(GuestAddress start, std::uint64_t size) {
  return fail(ErrorKind::kOutOfRange,
              fmt::format("guest address {:#x}+{:#x} is not in guest memory", start.value, size));
}

}  // namespace vmm
