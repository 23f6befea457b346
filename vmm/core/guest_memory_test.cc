// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/guest_memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

const GuestMemory::Backing kReserved = {.pages = GuestMemory::Pages::kReserved};

GuestMemory two_regions() {
  const GuestMemory::Range ranges[] = {{GuestAddress(0), 0x2000}, {GuestAddress(0x10000), 0x1000}};
  return *GuestMemory::create(ranges);
}

TEST_CASE("GuestMemory: what was written is read back, in every region", "[core]") {
  GuestMemory memory = two_regions();
  CHECK(memory.total_size() == 0x3000);
  REQUIRE(memory.write_object<std::uint32_t>(GuestAddress(0x10ffc), 0xfeedbeef));
  CHECK(*memory.read_object<std::uint32_t>(GuestAddress(0x10ffc)) == 0xfeedbeef);
  CHECK(*memory.read_object<std::uint32_t>(GuestAddress(0)) == 0);
}

TEST_CASE("GuestMemory: a range that leaves its region is refused", "[core]") {
  GuestMemory memory = two_regions();
  CHECK(memory.slice(GuestAddress(0), 0x2000));
  CHECK(!memory.slice(GuestAddress(0), 0x2001));
  CHECK(!memory.slice(GuestAddress(0x1fff), 2));
  CHECK(!memory.slice(GuestAddress(0x2000), 1));
  CHECK(!memory.slice(GuestAddress(0xffff), 2));
  CHECK(!memory.slice(GuestAddress(0x11000), 1));
}

TEST_CASE("GuestMemory: a length that overflows the address space is refused", "[core]") {
  GuestMemory memory = two_regions();
  const std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  CHECK(!memory.slice(GuestAddress(0x1000), max));
  CHECK(!memory.slice(GuestAddress(max), 2));
  CHECK(memory.find(GuestAddress(max), max) == nullptr);
}

TEST_CASE("GuestMemory: nothing may be copied from and to nowhere", "[core]") {
  GuestMemory memory = two_regions();
  CHECK(memory.write(GuestAddress(0x1000), std::span<const std::byte>()));
  CHECK(memory.read(GuestAddress(0x1000), std::span<std::byte>()));
}

// The flags that the kernel shows for the mapping that starts at `start` (proc(5), smaps).
std::string flags_of_mapping(const void* start) {
  std::ostringstream name;
  name << std::hex << reinterpret_cast<std::uintptr_t>(start) << "-";
  std::ifstream maps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    found = found || line.rfind(name.str(), 0) == 0;
    if (found && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return "";
}

TEST_CASE("GuestMemory: the guest's secrets are not in a core dump of ours", "[core]") {
  const GuestMemory::Range ranges[] = {{GuestAddress(0), 4 << 20}};
  GuestMemory memory = *GuestMemory::create(ranges);
  const void* host = memory.slice(GuestAddress(0), 1)->data();
  const std::string flags = flags_of_mapping(host);
  INFO(flags);
  if (flags.empty()) {
    WARN("the mapping was joined with another, or there is no /proc: skipped");
    return;
  }
  CHECK(flags.find(" dd ") != std::string::npos);
  const bool has_huge_pages = std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good();
  CHECK((flags.find(" hg ") != std::string::npos || !has_huge_pages));
}

TEST_CASE("GuestMemory: reserved huge pages are all there, or there is no memory", "[core]") {
  const GuestMemory::Range small[] = {{GuestAddress(0), 4 << 20}};
  Result<GuestMemory> memory = GuestMemory::create(small, kReserved);
  if (memory) {
    CHECK(reinterpret_cast<std::uintptr_t>(memory->regions().front().host) %
              GuestMemory::kHugePage ==
          0);
    REQUIRE(memory->write_object(GuestAddress((4 << 20) - 1), std::uint8_t{1}));
  } else {
    CHECK(memory.error().message().find("vm.nr_hugepages") != std::string::npos);
  }
  // No host has reserved 16 TiB.
  const GuestMemory::Range large[] = {{GuestAddress(0), std::uint64_t{1} << 44}};
  CHECK(!GuestMemory::create(large, kReserved));
}

TEST_CASE("GuestMemory: the guest's huge pages lie on the host's", "[core]") {
  constexpr std::uint64_t kHugePage = 2 << 20;
  const GuestMemory::Range ranges[] = {{GuestAddress(0), 5 << 20},
                                       {GuestAddress(0x1ff000), 0x1000},
                                       {GuestAddress(0x1000000), 0x1000}};
  for (const GuestMemory::Range& range : ranges) {
    GuestMemory memory = *GuestMemory::create(std::span(&range, 1));
    const GuestMemory::Region& region = memory.regions().front();
    CHECK(region.size == range.size);
    CHECK(reinterpret_cast<std::uintptr_t>(region.host) % kHugePage ==
          range.start.value % kHugePage);
    REQUIRE(memory.write_object(range.start + (range.size - 1), std::uint8_t{1}));
  }
}

TEST_CASE("GuestMemory: shared memory can be mapped from its file, region by region", "[core]") {
  const GuestMemory::Range ranges[] = {{GuestAddress(0), 0x2000}, {GuestAddress(0x10000), 0x1000}};
  GuestMemory memory = *GuestMemory::create(ranges, {.shared = true});
  CHECK(two_regions().shared_file() == -1);
  REQUIRE(memory.shared_file() >= 0);
  REQUIRE(memory.write_object<std::uint32_t>(GuestAddress(0x10ffc), 0xfeedbeef));
  const GuestMemory::Region& last = memory.regions().back();
  std::uint32_t seen = 0;
  REQUIRE(::pread(memory.shared_file(), &seen, sizeof seen,
                  static_cast<off_t>(last.offset + 0xffc)) == sizeof seen);
  CHECK(seen == 0xfeedbeef);
  REQUIRE(memory.give_back(last.host, last.size));
  CHECK(*memory.read_object<std::uint32_t>(GuestAddress(0x10ffc)) == 0);
}

TEST_CASE("GuestMemory: nobody who shares it can change its size", "[core]") {
  const GuestMemory::Range range[] = {{GuestAddress(0), 0x2000}};
  GuestMemory memory = *GuestMemory::create(range, {.shared = true});
  CHECK(::ftruncate(memory.shared_file(), 0x1000) != 0);
  CHECK(::ftruncate(memory.shared_file(), 0) != 0);
  CHECK(::ftruncate(memory.shared_file(), 0x3000) != 0);
  const int seals = ::fcntl(memory.shared_file(), F_GET_SEALS);
  CHECK(seals == (F_SEAL_SHRINK | F_SEAL_GROW));  // a save adds another
  CHECK(memory.give_back(memory.regions().front().host, 0x1000));
}

TEST_CASE("GuestMemory: what was given back is zeros, whatever it was made of", "[core]") {
  char path[] = "/tmp/guest-memory-XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  REQUIRE(fd);
  constexpr std::uint64_t kPage = 0x1000, kSize = 8 * kPage;
  const GuestMemory::Range ranges[] = {{GuestAddress(0), kSize / 2},
                                       {GuestAddress(0x100000), kSize / 2}};
  const GuestMemory::Backing kinds[] = {
      {}, {.shared = true}, {.file = path}, {.shared = true, .file = path}};
  for (const GuestMemory::Backing& kind : kinds) {
    INFO("shared " << kind.shared << ", file " << !kind.file.empty());
    const std::vector<char> begin(kSize, 'f');
    REQUIRE(::pwrite(fd.get(), begin.data(), kSize, 0) == static_cast<ssize_t>(kSize));
    GuestMemory memory = *GuestMemory::create(ranges, kind);
    for (const GuestMemory::Region& region : memory.regions()) {
      const auto is = [&](std::uint64_t page, char wanted) {
        const std::byte* at = region.host + page * kPage;
        return std::count(at, at + kPage, static_cast<std::byte>(wanted)) == kPage;
      };
      // Page 0 stays as it was, page 3 is the guest's, those between are given back in two steps.
      const char untouched = kind.file.empty() ? '\0' : 'f';
      std::memset(region.host + 1 * kPage, 'a', kPage);
      std::memset(region.host + 3 * kPage, 'b', kPage);
      for (const std::uint64_t nr_pages : {1, 2, 2}) {
        REQUIRE(memory.give_back(region.host + kPage, nr_pages * kPage));
        CHECK(is(0, untouched));
        for (std::uint64_t page = 1; page <= nr_pages; ++page) CHECK(is(page, '\0'));
        CHECK(is(3, 'b'));
        std::memset(region.host + kPage, 'c', kPage);
        CHECK(is(1, 'c'));
      }
    }
    // The file is changed only where it is shared.
    char first = 0;
    REQUIRE(::pread(fd.get(), &first, 1, kPage) == 1);
    if (!kind.shared) CHECK(first == 'f');
  }
  ::unlink(path);
}

TEST_CASE("GuestMemory: of a file's copy only so many pieces are given back", "[core]") {
  char path[] = "/tmp/guest-memory-XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  REQUIRE(fd);
  constexpr std::uint64_t kPage = 0x1000, kNrPages = 40000;
  REQUIRE(::ftruncate(fd.get(), kNrPages * kPage) == 0);
  const GuestMemory::Range range[] = {{GuestAddress(0), kNrPages * kPage}};
  GuestMemory memory = *GuestMemory::create(range, {.file = path});
  ::unlink(path);
  std::byte* const host = memory.regions().front().host;
  std::uint64_t nr_given = 0;
  for (std::uint64_t page = 0; page < kNrPages; page += 2) {
    host[page * kPage] = std::byte{1};
    const bool given = memory.give_back(host + page * kPage, kPage);
    CHECK(host[page * kPage] == std::byte{given ? std::uint8_t{0} : std::uint8_t{1}});
    if (given) ++nr_given;
  }
  CHECK(nr_given == 16384);
  CHECK(memory.give_back(host, kPage));  // again costs nothing
}

TEST_CASE("GuestMemory: a file is what the guest begins with, and what it leaves", "[core]") {
  char path[] = "/tmp/guest-memory-XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  REQUIRE(fd);
  const GuestMemory::Range range[] = {{GuestAddress(0), 0x2000}};
  const GuestAddress place(0x1000);
  {
    GuestMemory memory = *GuestMemory::create(range, {.shared = true, .file = path});
    REQUIRE(memory.write_object<std::uint32_t>(place, 1));
  }
  {
    GuestMemory memory = *GuestMemory::create(range, {.file = path});
    CHECK(*memory.read_object<std::uint32_t>(place) == 1);
    REQUIRE(memory.write_object<std::uint32_t>(place, 2));
    CHECK(memory.shared_file() == -1);
  }
  CHECK(*GuestMemory::create(range, {.file = path})->read_object<std::uint32_t>(place) == 1);
  const GuestMemory::Range larger[] = {{GuestAddress(0), 0x3000}};
  CHECK(GuestMemory::create(larger, {.file = path}).error().message().find("takes 12288") !=
        std::string::npos);
  ::unlink(path);
  CHECK_FALSE(GuestMemory::create(range, {.file = "/dev/zero"}));
  CHECK_FALSE(GuestMemory::create(
      range, {.pages = GuestMemory::Pages::kReserved, .shared = true, .file = path}));
}

}  // namespace
}  // namespace vmm
