// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/plain_kernels.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "vmm/bootfind/version_order.h"

namespace vmm::bootfind {
namespace {

// The part after "vmlinuz-", "" for a bare "vmlinuz", nothing where it is no kernel.
std::optional<std::string> version_of(const std::string& name) {
  for (const std::string base : {"vmlinuz", "bzImage"}) {
    if (name == base) return "";
    if (name.rfind(base + "-", 0) != 0) continue;
    const std::string version = name.substr(base.size() + 1);
    for (const std::string suffix : {".old", ".hmac", ".sig", ".sign", ".bak"}) {
      if (version.size() >= suffix.size() &&
          version.compare(version.size() - suffix.size(), suffix.size(), suffix) == 0) {
        return std::nullopt;
      }
    }
    return version;
  }
  return std::nullopt;
}

// As Debian, Fedora and openSUSE, Arch and Alpine name them.
std::vector<std::string> initrd_names(const std::string& version) {
  if (version.empty()) return {"initrd.img", "initrd", "initramfs.img", "initramfs", "initrd.gz"};
  return {"initrd.img-" + version, "initramfs-" + version + ".img", "initrd-" + version,
          "initramfs-" + version};
}

bool is_rescue(const std::string& version) {
  return version.find("rescue") != std::string::npos;
}

}  // namespace

std::vector<PlainKernel> find_plain_kernels(const std::vector<std::string>& names) {
  const std::set<std::string> there(names.begin(), names.end());
  struct Versioned {
    PlainKernel plain;
    std::string version;
  };
  std::vector<Versioned> kernels;
  for (const std::string& name : there) {
    const std::optional<std::string> version = version_of(name);
    if (!version) continue;
    PlainKernel plain{name, ""};
    for (const std::string& initrd : initrd_names(*version)) {
      if (plain.initrd.empty() && there.count(initrd) != 0) plain.initrd = initrd;
    }
    kernels.push_back({std::move(plain), *version});
  }
  std::stable_sort(kernels.begin(), kernels.end(), [](const Versioned& a, const Versioned& b) {
    if (is_rescue(a.version) != is_rescue(b.version)) return is_rescue(b.version);
    return compare_versions(a.version, b.version) > 0;
  });
  std::vector<PlainKernel> plain;
  for (Versioned& kernel : kernels) plain.push_back(std::move(kernel.plain));
  return plain;
}

}  // namespace vmm::bootfind
