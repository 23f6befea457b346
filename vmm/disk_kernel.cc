// SPDX-License-Identifier: Apache-2.0
#include "vmm/disk_kernel.h"

#include <fmt/core.h>

#include "vmm/kernel_params.h"

namespace vmm {
namespace {

bootfind::BootOptions options_for(const std::vector<disk::DiskOptions>& disks, std::size_t index) {
  bootfind::BootOptions options;
  options.finder.disk_name = fmt::format("/dev/vd{}", static_cast<char>('a' + index));
  options.finder.read_only = disks[index].read_only;
  return options;
}

bootfind::OpenSource opener(const disk::DiskOptions& disk) {
  return [disk] { return bootfind::DiskSource::open(disk); };
}

Error name_disk(Error error, const std::string& path) {
  const bool named = error.message().starts_with(path);
  return named ? std::move(error) : std::move(error).with_context(path);
}

}  // namespace

Result<std::optional<bootfind::BootChoice>> find_disk_kernel(
    const std::vector<disk::DiskOptions>& disks, const std::string& entry,
    std::vector<std::string>& looked_at) {
  for (std::size_t i = 0; i < disks.size(); ++i) {
    bootfind::BootOptions options = options_for(disks, i);
    options.entry = entry;
    Result<bootfind::BootChoice> choice = bootfind::find_boot(opener(disks[i]), options);
    if (choice) return std::optional(*std::move(choice));
    const bool has_none = choice.error().kind() == ErrorKind::kNotFound;
    Error error = name_disk(std::move(choice).error(), disks[i].path);
    if (!has_none) return Unexpected(std::move(error));
    looked_at.push_back(error.message());
  }
  return std::optional<bootfind::BootChoice>();
}

Result<std::string> list_disk_kernels(const std::vector<disk::DiskOptions>& disks) {
  if (disks.empty()) return fail(ErrorKind::kInvalid, "--boot list: no disk is given (-d)");
  std::string text;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    Result<std::vector<bootfind::BootEntry>> entries =
        bootfind::list_boot(opener(disks[i]), options_for(disks, i));
    if (!entries) {
      return Unexpected(name_disk(std::move(entries).error(), disks[i].path));
    }
    text += fmt::format("{}:\n{}", disks[i].path, bootfind::format_list(*entries));
  }
  return text;
}

void use_disk_kernel(const bootfind::BootChoice& choice, MachineConfig& config) {
  config.kernel = fmt::format("/proc/self/fd/{}", choice.kernel.get());
  if (config.initrd.empty() && choice.initrd) {
    config.initrd = fmt::format("/proc/self/fd/{}", choice.initrd.get());
  }
  std::string params = choice.command_line;
  const std::string console =
      config.console == MachineConfig::Console::kVirtio ? "console=hvc0" : "console=ttyS0";
  const bool is_there = params.find(console) != std::string::npos;
  if (!is_there && !has_param(config.params, "console")) params += " " + console;
  if (!config.params.empty()) params += " " + config.params;
  config.params = params;
}

}  // namespace vmm
