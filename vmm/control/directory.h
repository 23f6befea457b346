// SPDX-License-Identifier: Apache-2.0
// Where the control sockets of running virtual machines are: a directory of this user's, mode 0700,
// with a socket NAME.sock for each, mode 0600.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::control {

inline constexpr std::size_t kMaxName = 64;

// Letters, digits, '.', '_' and '-', the first a letter or digit, at most kMaxName.
Result<void> check_name(std::string_view name);

// Where sockets may be, the first of them where new ones are made: $XDG_RUNTIME_DIR/vmm, if that is
// set to an absolute path, and /run/vmm.
std::vector<std::string> directories();

// A directory that belongs to this user and lets nobody else in; `make`: made where it is missing.
Result<UniqueFd> open_directory(const std::string& path, bool make);

std::string socket_path(const std::string& directory, std::string_view name);

// The names of all sockets in a directory, sorted, of running machines or not; other files are left
// out.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace vmm::control
