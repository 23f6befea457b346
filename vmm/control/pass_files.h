// SPDX-License-Identifier: Apache-2.0
// Bytes that go over a Unix socket together with open files (SCM_RIGHTS).
#pragma once

#include <sys/types.h>

#include <span>
#include <string_view>
#include <vector>

#include "vmm/core/unique_fd.h"

namespace vmm::control {

// At most kMaxFiles files, which stay the caller's too. As sendmsg() with MSG_NOSIGNAL.
ssize_t send_with_files(int fd, std::string_view bytes, std::span<const int> files);

// Adds the files that came to `files`. As recvmsg(); at most kMaxFiles files come at once.
ssize_t receive_with_files(int fd, std::span<char> bytes, std::vector<UniqueFd>& files);

}  // namespace vmm::control
