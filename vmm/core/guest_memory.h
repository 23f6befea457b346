// SPDX-License-Identifier: Apache-2.0
// GuestMemory: the only way to touch guest RAM. Every access is checked against the regions there
// are; a bad address is an Error, never an abort, because addresses come from the guest.
//
// The bytes are shared with running vCPUs: what was read may change at once. Read a field into a
// local first, check it, and never read it again.
#pragma once

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm {

// A guest-physical address, in bytes.
struct GuestAddress {
  std::uint64_t value = 0;

  constexpr GuestAddress() = default;
  constexpr explicit GuestAddress(std::uint64_t address) : value(address) {}
  // Wraps like the hardware would; slice() and friends check the range as a whole.
  constexpr GuestAddress operator+(std::uint64_t bytes) const {
    return GuestAddress(value + bytes);
  }
  constexpr auto operator<=>(const GuestAddress&) const = default;
};

class GuestMemory {
 public:
  struct Range {
    GuestAddress start;
    std::uint64_t size = 0;  // bytes, a multiple of the page size, not 0
  };
  struct Region {
    GuestAddress start;
    std::uint64_t size;
    std::byte* host;
    std::uint64_t offset = 0;  // in the file, where there is one
  };

  enum class Pages {
    kAny,       // transparent huge pages where the host has them
    kReserved,  // only those of 2 MiB that the administrator set aside (vm.nr_hugepages)
  };
  static constexpr std::uint64_t kHugePage = 2 << 20;  // bytes

  // Where the bytes are.
  struct Backing {
    Pages pages = Pages::kAny;
    // Other processes can map them too: they are in file() for good. Without, a file's bytes are
    // what the guest begins with, and stay as they are.
    bool shared = false;
    std::string file;  // path; empty: in no file that has a name
  };

  // Maps anonymous memory for each range; ranges must be page-aligned, ascending, and must not
  // overlap. Nothing is touched: pages appear as the guest uses them, huge ones where the host has
  // them (MADV_HUGEPAGE), and core dumps leave them out (MADV_DONTDUMP).
  // With kReserved sizes must be multiples of kHugePage, and all pages are taken at once or not at
  // all.
  // A file holds the ranges one behind the other; it is made if it is not there, and gets its size
  // if it is empty. One that is too small is an error, as are reserved pages of a file.
  static Result<GuestMemory> create(std::span<const Range> ranges, const Backing& backing);
  static Result<GuestMemory> create(std::span<const Range> ranges) { return create(ranges, {}); }

  GuestMemory(GuestMemory&& other) noexcept = default;
  GuestMemory& operator=(GuestMemory&& other) noexcept;
  ~GuestMemory();

  std::span<const Region> regions() const { return regions_; }
  std::uint64_t total_size() const;
  // Lets go of what whole pages hold, of one region; they read as zeros when they are used again.
  // False: the host did not go along, and they hold what they held. For one thread at a time.
  bool give_back(std::byte* host, std::uint64_t size) const;
  // What other processes can map, region by region, at Region::offset; -1: nothing, it is not
  // shared. Where it has no name, nobody can change its size.
  int shared_file() const { return file_.get(); }

  // `size` bytes at `start`, all inside one region. Fails with kOutOfRange.
  Result<std::span<std::byte>> slice(GuestAddress start, std::uint64_t size) const {
    std::byte* host = find(start, size);
    if (host == nullptr) return out_of_range(start, size);
    return std::span<std::byte>(host, size);
  }

  // The same without an Error to build: nullptr where the range is not RAM. `size` may be 0 inside
  // a region.
  std::byte* find(GuestAddress start, std::uint64_t size) const {
    for (const Region& region : regions_) {
      std::uint64_t offset = start.value - region.start.value;  // huge where start < region.start
      if (offset < region.size && size <= region.size - offset) return region.host + offset;
    }
    return nullptr;
  }

  Result<void> read(GuestAddress from, std::span<std::byte> to) const;
  Result<void> write(GuestAddress to, std::span<const std::byte> from) const;

  template <class T>
  requires std::is_trivially_copyable_v<T> Result<T> read_object(GuestAddress from)
  const {
    T object;
    VMM_CHECK(read(from, std::as_writable_bytes(std::span(&object, 1))));
    return object;
  }
  template <class T>
  requires std::is_trivially_copyable_v<T> Result<void> write_object(GuestAddress to,
                                                                     const T& object)
  const { return write(to, std::as_bytes(std::span(&object, 1))); }

 private:
  GuestMemory() = default;
  static Unexpected<Error> out_of_range(GuestAddress start, std::uint64_t size);
  void unmap();

  Result<void> map(const Range& range, std::uint64_t offset, const Backing& backing, int fd);

  bool put_zeros(std::byte* host, std::uint64_t size) const;

  struct PrivateFile;
  std::vector<Region> regions_;
  UniqueFd file_;
  std::shared_ptr<PrivateFile> private_file_;  // where the memory began as a file's copy
};

}  // namespace vmm
