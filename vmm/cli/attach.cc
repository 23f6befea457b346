// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "disk/image_lock.h"
#include "disk/open_disk.h"
#include "vmm/attach_disk.h"
#include "vmm/cli/command_line.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/json_fields.h"
#include "vmm/cli/steer.h"
#include "vmm/io/event_loop.h"

namespace vmm::cli {
namespace {

struct OpenFiles {
  std::vector<std::string> names;
  std::vector<UniqueFd> fds;

  Result<UniqueFd> open(const std::string& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags));
    if (!fd) return fail_errno(errno, "open");
    const bool writes = (flags & O_ACCMODE) == O_RDWR;
    VMM_CHECK(
        disk::lock_image(fd.get(), writes ? disk::LockMode::kWriter : disk::LockMode::kReader));
    UniqueFd kept(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!kept) return fail_errno(errno, "dup");
    names.push_back(path);
    fds.push_back(std::move(kept));
    return fd;
  }
};

Task<Result<void>> open_and_close(EventLoop& loop, disk::DiskOptions options) {
  VMM_CO_TRY(std::unique_ptr<disk::Disk> disk, co_await disk::open_disk(loop, std::move(options)));
  co_return co_await disk->close();
}

// Opens the whole chain as the machine will, which so finds an image that can be used, repaired
// where it has to be. The locks hold as long as any descriptor does.
Result<OpenFiles> open_files(disk::DiskOptions options) {
  VMM_TRY(const std::unique_ptr<EventLoop> loop, EventLoop::create());
  OpenFiles files;
  options.lock = false;
  options.opener = [&files](const std::string& path, int flags) { return files.open(path, flags); };
  VMM_CHECK(loop->run_until(open_and_close(*loop, std::move(options))));
  return files;
}

}  // namespace

Result<int> attach_command(const Arguments& arguments) {
  CommandLine app(
      "Gives a running virtual machine another disk, in one of the bays that 'vmm run --bays' "
      "made.");
  std::string name, option;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("FILE", option, "The disk, with options as for 'vmm run --disk': FILE[,OPTION...]")
      ->required();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(disk::DiskOptions options, parse_disk_option(option));
  VMM_CHECK(check_attachable(options));
  VMM_TRY(control::Client machine, find_machine(name));
  VMM_TRY(const OpenFiles files, open_files(std::move(options)));
  const Json request = {{"command", "attach"}, {"option", option}, {"files", files.names}};
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  VMM_TRY(const std::string answer, ask_machine(machine, name, line, files.fds));
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  fmt::print("{}\n", text(parsed, "disk"));
  return kExitSuccess;
}

Result<int> detach_command(const Arguments& arguments) {
  CommandLine app(
      "Takes a disk that 'vmm attach' gave away again. What the guest has written is safe, but "
      "what it still keeps in memory is not: unmount it there first.");
  std::string name, disk;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("DISK", disk, "vdb, ..., as 'vmm stat' shows it, or its file")->required();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(control::Client machine, find_machine(name));
  const Json request = {{"command", "detach"}, {"disk", disk}};
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  VMM_TRY([[maybe_unused]] std::string answer, ask_machine(machine, name, line));
  return kExitSuccess;
}

}  // namespace vmm::cli
