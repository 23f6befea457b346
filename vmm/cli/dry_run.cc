// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/dry_run.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <vector>

#include "devices/legacy/serial.h"
#include "vmm/backends.h"
#include "vmm/control/client.h"
#include "vmm/control/directory.h"
#include "vmm/core/unique_fd.h"
#include "vmm/machine.h"

namespace vmm::cli {
namespace {

// No guest code runs that could send anything.
class NoConsole : public legacy::ConsoleSink {
 public:
  void write(std::span<const std::byte>) override {}
};

Result<void> check_name(const std::string& name) {
  Result<void> good = control::check_name(name);
  if (!good) return Unexpected(std::move(good).error().with_context("--name"));
  const Result<control::Client> running =
      control::Client::connect_to(control::directories().front(), name);
  if (!running && running.error().kind() != ErrorKind::kBusy) return {};
  return fail(ErrorKind::kBusy,
              fmt::format("--name: a virtual machine called {} runs; 'vmm list' shows it", name));
}

Result<void> check_writable(const disk::DiskOptions& disk) {
  if (disk.read_only || disk.temporary || ::access(disk.path.c_str(), W_OK) == 0) return {};
  if (errno == ENOENT) return {};  // opening says better what is wrong with it
  return fail_errno(errno, fmt::format("{}: the guest could not write (option ro?)", disk.path));
}

Result<void> write_file(const std::string& path, std::span<const std::byte> bytes) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd) return fail_errno(errno, path);
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, path);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace

Result<void> check_start(MachineConfig config, const std::string& dump_dtb) {
  VMM_CHECK(check_name(config.name));
  for (disk::DiskOptions& disk : config.disks) {
    VMM_CHECK(check_writable(disk));
    disk.read_only = true;
  }
  VMM_CHECK(check_backends(config));
  NoConsole console;
  VMM_TRY(std::unique_ptr<Machine> machine, Machine::create(config, console, Backends()));
  if (dump_dtb.empty()) return {};
  VMM_TRY(const std::vector<std::byte> tree, machine->device_tree());
  Result<void> written = write_file(dump_dtb, tree);
  if (!written) return Unexpected(std::move(written).error().with_context("--dump-dtb"));
  return {};
}

}  // namespace vmm::cli
