// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/initrd.h"

#include <fmt/core.h>

#include <algorithm>

#include "arch/x86/layout.h"

namespace vmm::x86 {

Result<LoadedInitrd> load_initrd(const std::string& path, const LoadedKernel& kernel,
                                 const GuestMemory& memory) {
  VMM_TRY(ImageFile file, ImageFile::open(path, "--initrd"));
  if (file.size() == 0) return file.fail(ErrorKind::kInvalid, "is empty");

  const GuestMemory::Region& low = memory.regions().front();
  std::uint64_t limit = std::min(low.start.value + low.size, kernel.initrd_limit);
  if (kernel.end > limit || file.size() > limit - kernel.end) {
    return file.fail(
        ErrorKind::kInvalid,
        fmt::format("its {} MiB do not fit between the kernel's end at {:#x} and {:#x}: "
                    "give the guest more memory with --mem",
                    (file.size() >> 20) + 1, kernel.end, limit));
  }
  std::uint64_t start = (limit - file.size()) & ~std::uint64_t{0xfff};
  // Rounding down may have reached the kernel's last page.
  if (start < kernel.end) start = limit - file.size();
  VMM_TRY(std::span<std::byte> target, memory.slice(GuestAddress(start), file.size()));
  VMM_CHECK(file.read(0, target));
  return LoadedInitrd{start, file.size()};
}

}  // namespace vmm::x86
