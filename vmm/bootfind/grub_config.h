// SPDX-License-Identifier: Apache-2.0
// What a grub.cfg comes to: the script is run, as far as variables, conditions, functions and menu
// entries go; commands that only GRUB can carry out (insmod, terminal_output, ...) do nothing.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/bootfind/config_entry.h"
#include "vmm/core/result.h"

namespace vmm::bootfind {

using GrubVariables = std::map<std::string, std::string, std::less<>>;

struct GrubInput {
  std::string script;
  std::string prefix;       // where it lies: "/boot/grub"
  std::string environment;  // the contents of prefix/grubenv, or nothing
  // Another file of the same file system, where there is one that can be read.
  std::function<std::optional<std::string>(const std::string& path)> read_file;
  // Whether there is a file (conditions ask).
  std::function<bool(const std::string& path)> has_file;
};

struct GrubResult {
  BootConfig config;        // entries with a kernel only; submenus are flattened
  GrubVariables variables;  // at the end; BLS entries may use them
  bool uses_bls = false;    // the script ran "blscfg"
};

// An entry's id is its --id, else its title, with the submenus it lies in: "advanced>linux-6.1".
Result<GrubResult> run_grub_config(const GrubInput& input);

// The variables of a grubenv file.
GrubVariables parse_grub_environment(std::string_view text);

// `text` with $name and ${name} replaced; unknown ones by nothing.
std::string expand_variables(std::string_view text, const GrubVariables& variables);

}  // namespace vmm::bootfind
