// SPDX-License-Identifier: Apache-2.0
#include "vmm/attach_disk.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <memory>
#include <utility>
#include <vector>

#include "vmm/luggage.h"
#include "vmm/machine_disk.h"

namespace vmm {

Result<void> check_attachable(const disk::DiskOptions& options) {
  const char* what = nullptr;
  if (options.temporary) what = "snapshot";
  if (options.direct || options.cache == disk::CacheMode::kNone) what = "cache=none, direct";
  if (!options.serial.empty()) what = "serial=";
  if (options.nr_queues != 0) what = "queues=";
  if (options.write_errors != disk::WriteErrors::kWaitNoSpace) what = "werror=";
  if (what == nullptr) return {};
  return fail(
      ErrorKind::kUnsupported,
      fmt::format("{}: {} is not for disks that come while the machine runs", options.path, what));
}

Result<void> attach_disk(MachineDisk& bay, disk::DiskOptions options, AttachedDisk disk) {
  VMM_CHECK(check_attachable(options));
  struct stat file;
  if (disk.files.empty() || ::fstat(disk.files.front().fd.get(), &file) != 0) {
    return fail(ErrorKind::kInvalid, "the disk's file did not come with the request");
  }
  auto kept = std::make_shared<AttachedDisk>(std::move(disk));
  using Files = std::vector<control::GivenFile>;
  VMM_TRY(Files files, kept->open_again());
  auto given = std::make_shared<Files>(std::move(files));
  options.lock = false;  // the locks are those of `kept`
  options.opener = [given](const std::string& path, int) -> Result<UniqueFd> {
    for (control::GivenFile& each : *given) {
      if (each.path == path && each.fd) return std::exchange(each.fd, UniqueFd());
    }
    return fail(ErrorKind::kNotFound, "this file was not handed over with the request");
  };
  return bay.insert(std::move(options), {file.st_dev, file.st_ino}, std::move(kept));
}

}  // namespace vmm
