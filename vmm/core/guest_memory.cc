// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/guest_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cassert>

namespace vmm {
namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kHugePage = GuestMemory::kHugePage;

// What mmap(2) takes: the file, or with -1 memory without one.
struct Source {
  int fd = -1;
  std::uint64_t offset = 0;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
};

// The kernel reserves them here, or fails: a guest does not end for want of one.
void* map_reserved(std::uint64_t size, const Source& source) {
  constexpr int kTwoMiB = 21 << MAP_HUGE_SHIFT;
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, source.flags | MAP_HUGETLB | kTwoMiB,
                        source.fd, static_cast<off_t>(source.offset));
  return mapped == MAP_FAILED ? nullptr : mapped;
}

// Where `start` is in its huge page, so is the address given: only then KVM can map the guest's
// huge pages as such (Linux: arch/x86/kvm/x86.c, kvm_alloc_memslot_metadata).
void* map_aligned(GuestAddress start, std::uint64_t size, const Source& source) {
  // NORESERVE: an over-committed guest is the user's choice; the host's OOM handling decides, as
  // for any process.
  void* mapped = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* first = static_cast<std::byte*>(mapped);
  const std::uint64_t before = (start.value - reinterpret_cast<std::uintptr_t>(first)) % kHugePage;
  std::byte* host = first + before;
  if (before > 0) ::munmap(first, before);
  if (before < kHugePage) ::munmap(host + size, kHugePage - before);
  if (source.fd < 0) return host;
  void* in_place =
      ::mmap(host, size, PROT_READ | PROT_WRITE, source.flags | MAP_FIXED | MAP_NORESERVE,
             source.fd, static_cast<off_t>(source.offset));
  if (in_place == host) return host;
  ::munmap(host, size);
  return nullptr;
}

void advise(void* host, std::uint64_t size, bool huge_pages) {
  ::madvise(host, size, MADV_DONTDUMP);  // guest secrets stay out of our core dumps
  // Fails where the kernel has none.
  if (huge_pages) ::madvise(host, size, MADV_HUGEPAGE);
}

Result<UniqueFd> open_file(const std::string& path, std::uint64_t size) {
  const std::string flag = fmt::format("--mem: {}", path);
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(errno, flag);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(errno, flag);
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: is no file", flag));
  }
  if (info.st_size == 0) {
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_errno(errno, flag);
  } else if (static_cast<std::uint64_t>(info.st_size) < size) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: has {} bytes, the guest's memory takes {}",
                                                 flag, info.st_size, size));
  }
  return fd;
}

Result<UniqueFd> make_memory_file(std::uint64_t size, bool reserved) {
  const unsigned pages = reserved ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
  UniqueFd fd(::memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | pages));
  if (!fd) return fail_errno(errno, "--mem: memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return fail_errno(errno, fmt::format("--mem: shared memory of {} MiB", size >> 20));
  }
  // Who maps it too must not take it away: an access behind its end is a SIGBUS. Other seals may
  // follow.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return fail_errno(errno, "--mem: sealing a memfd");
  }
  return fd;
}

}  // namespace

// A page that is let go of would be the file's again. So its place is taken by memory without a
// file; each such piece is a mapping of its own unless it meets another.
struct GuestMemory::PrivateFile {
  static constexpr unsigned kMaxPieces = 16384;  // a quarter of what a process has (max_map_count)
  std::vector<bool> replaced;                    // by page, as they were in the file
  unsigned nr_pieces = 0;
};

Result<GuestMemory> GuestMemory::create(std::span<const Range> ranges, const Backing& backing) {
  const bool reserved = backing.pages == Pages::kReserved;
  std::uint64_t total = 0;
  for (const Range& range : ranges) total += range.size;
  GuestMemory memory;
  UniqueFd file;
  if (!backing.file.empty()) {
    if (reserved) {
      return fail(ErrorKind::kInvalid, "--hugepages: not for memory in a file (--mem file=)");
    }
    VMM_TRY(file, open_file(backing.file, total));
  } else if (backing.shared) {
    VMM_TRY(file, make_memory_file(total, reserved));
  }
  std::uint64_t previous_end = 0, offset = 0;
  for (const Range& range : ranges) {
    assert(range.size > 0 && range.size % kPageSize == 0 && range.start.value % kPageSize == 0);
    assert(range.start.value >= previous_end);
    previous_end = range.start.value + range.size;
    VMM_CHECK(memory.map(range, offset, backing, file.get()));
    offset += range.size;
  }
  if (file && !backing.shared) {
    memory.private_file_ = std::make_shared<PrivateFile>();
    memory.private_file_->replaced.resize(total / kPageSize);
  }
  if (backing.shared) memory.file_ = std::move(file);
  return memory;
}

Result<void> GuestMemory::map(const Range& range, std::uint64_t offset, const Backing& backing,
                              int fd) {
  Source source;
  if (fd >= 0) source = {fd, offset, backing.shared ? MAP_SHARED : MAP_PRIVATE};
  const bool reserved = backing.pages == Pages::kReserved;
  assert(!reserved || (range.size % kHugePage == 0 && range.start.value % kHugePage == 0));
  void* host =
      reserved ? map_reserved(range.size, source) : map_aligned(range.start, range.size, source);
  if (host == nullptr && reserved) {
    return fail_errno(errno, fmt::format("--hugepages: cannot take {} pages of 2 MiB: reserve "
                                         "more with sysctl vm.nr_hugepages",
                                         range.size / kHugePage));
  }
  if (host == nullptr) {
    return fail_errno(errno,
                      fmt::format("guest memory: cannot map {} MiB (see --mem)", range.size >> 20));
  }
  regions_.push_back({range.start, range.size, static_cast<std::byte*>(host), offset});
  advise(host, range.size, !reserved);
  return {};
}

GuestMemory& GuestMemory::operator=(GuestMemory&& other) noexcept {
  if (this != &other) {
    unmap();
    regions_ = std::move(other.regions_);
    other.regions_.clear();
    file_ = std::move(other.file_);
    private_file_ = std::move(other.private_file_);
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

// What is shared stays in its file otherwise.
bool GuestMemory::give_back(std::byte* host, std::uint64_t size) const {
  if (private_file_) return put_zeros(host, size);
  return ::madvise(host, size, file_ ? MADV_REMOVE : MADV_DONTNEED) == 0;
}

bool GuestMemory::put_zeros(std::byte* host, std::uint64_t size) const {
  for (const Region& region : regions_) {
    if (host < region.host || host >= region.host + region.size) continue;
    PrivateFile& file = *private_file_;
    const auto offset = static_cast<std::uint64_t>(host - region.host) + region.offset;
    const auto first = file.replaced.begin() + static_cast<std::ptrdiff_t>(offset / kPageSize);
    const auto end = first + static_cast<std::ptrdiff_t>(size / kPageSize);
    if (std::find(first, end, false) == end) return ::madvise(host, size, MADV_DONTNEED) == 0;
    if (file.nr_pieces == PrivateFile::kMaxPieces) return false;
    const void* mapped = ::mmap(host, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (mapped != host) return false;
    advise(host, size, true);
    std::fill(first, end, true);
    ++file.nr_pieces;
    return true;
  }
  return false;
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
