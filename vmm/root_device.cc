// SPDX-License-Identifier: Apache-2.0
#include "vmm/root_device.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "vmm/kernel_params.h"

namespace vmm {
namespace {

constexpr std::string_view kVirtio = "/dev/vd";
// How disks are called that no machine of ours has.
constexpr std::string_view kForeign[] = {"/dev/sd", "/dev/hd", "/dev/xvd", "/dev/nvme",
                                         "/dev/mmcblk"};

bool is_foreign(std::string_view root) {
  return std::any_of(std::begin(kForeign), std::end(kForeign),
                     [&](std::string_view prefix) { return root.starts_with(prefix); });
}

// "/dev/vda (debian.qcow2: vda1, vda15), /dev/vdb (data.img)"
std::string list(std::span<const DiskPartitions> disks) {
  if (disks.empty()) return "it has no disk (-d)";
  std::string text;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const std::string name = fmt::format("vd{}", static_cast<char>('a' + i));
    text += fmt::format("{}/dev/{} ({}", i == 0 ? "there is " : ", ", name, disks[i].path);
    const char* between = ": ";
    for (unsigned number : disks[i].numbers) {
      text += fmt::format("{}{}{}", between, name, number);
      between = ", ";
    }
    text += ")";
  }
  return text;
}

bool has(const DiskPartitions& disk, unsigned number) {
  return std::find(disk.numbers.begin(), disk.numbers.end(), number) != disk.numbers.end();
}

}  // namespace

bool root_is_device(std::string_view params) {
  const std::string_view root = param_value(params, "root");
  return root.starts_with(kVirtio) || is_foreign(root);
}

std::string complaint_about_root(std::string_view params, std::span<const DiskPartitions> disks) {
  const std::string_view root = param_value(params, "root");
  if (is_foreign(root)) {
    return fmt::format("root={} is no disk of this virtual machine: {}", root, list(disks));
  }
  if (!root.starts_with(kVirtio) || root.size() == kVirtio.size()) return {};
  std::string_view rest = root.substr(kVirtio.size());
  const auto index = static_cast<std::size_t>(rest[0] - 'a');
  rest.remove_prefix(1);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const bool is_name = rest.empty() || (error == std::errc() && end == rest.data() + rest.size());
  if (!is_name || index >= disks.size()) {
    return fmt::format("root={} is no disk of this virtual machine: {}", root, list(disks));
  }
  const DiskPartitions& disk = disks[index];
  if (rest.empty()) {
    if (!disk.partitioned) return {};
    return fmt::format("root={} is a disk with partitions, no file system: {}", root, list(disks));
  }
  const bool is_there = disk.numbers.empty() ? disk.partitioned : has(disk, number);
  if (is_there) return {};
  return fmt::format("root={} is no partition of that disk: {}", root, list(disks));
}

}  // namespace vmm
