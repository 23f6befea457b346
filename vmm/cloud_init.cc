// SPDX-License-Identifier: Apache-2.0
#include "vmm/cloud_init.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "vmm/fat_image.h"

namespace vmm {

std::string default_meta_data(std::string_view name) {
  if (name.empty()) return "instance-id: nocloud\n";
  // Quoted, since "12" is a name too.
  std::string text = fmt::format("instance-id: \"{}\"\n", name);
  if (name.find('_') == name.npos) text += fmt::format("local-hostname: \"{}\"\n", name);
  return text;
}

Result<UniqueFd> make_seed(std::string_view user_data, std::string_view meta_data) {
  const FatFile files[] = {{"meta-data", meta_data}, {"user-data", user_data}};
  VMM_TRY(const std::vector<std::byte> image, make_fat_image("CIDATA", files));
  UniqueFd seed(::memfd_create("cidata", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!seed) return fail_errno(errno, "memfd_create");
  for (std::size_t done = 0; done < image.size();) {
    const ssize_t put = ::write(seed.get(), image.data() + done, image.size() - done);
    if (put < 0) return fail_errno(errno, "writing to memory");
    done += static_cast<std::size_t>(put);
  }
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(seed.get(), F_ADD_SEALS, kSeals) != 0) return fail_errno(errno, "sealing a memfd");
  return seed;
}

disk::DiskOptions seed_disk(const UniqueFd& seed) {
  disk::DiskOptions options;
  options.path = fmt::format("/proc/self/fd/{}", seed.get());
  options.format = disk::Format::kRaw;
  options.read_only = true;
  options.serial = "cidata";
  options.nr_queues = 1;
  return options;
}

}  // namespace vmm
