// SPDX-License-Identifier: Apache-2.0
// Boot Loader Specification, type 1: one file per entry in loader/entries, and systemd-boot's
// loader.conf beside it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/bootfind/config_entry.h"
#include "vmm/bootfind/grub_config.h"

namespace vmm::bootfind {

struct BlsFile {
  std::string name;  // "fedora-6.5.6.conf"
  std::string text;
};

// The entries for x86-64 that have a Linux kernel, the newest first. `variables`: GRUB's, for the
// $names that Fedora's entries use. `wanted`: what the default is to be (GRUB's saved_entry, or the
// pattern in loader.conf); empty, or no such entry: the first.
BootConfig read_bls(const std::vector<BlsFile>& files, const GrubVariables& variables,
                    std::string_view wanted);

// The value of "default" in a loader.conf, or nothing.
std::string loader_conf_default(std::string_view text);

}  // namespace vmm::bootfind
