// SPDX-License-Identifier: Apache-2.0
// Programs that serve a machine's devices from processes of their own.
#pragma once

#include <string>
#include <vector>

namespace vmm {

// The descriptor that a child gets.
inline constexpr int kChildFd = 3;

// The file that execvp(3) would take for `program`; "" where there is none.
std::string find_program(const std::string& program);

// Starts words[0], looked for as by execvp(3). The child gets `fd` as kChildFd, `error_fd` as its
// standard error, and signals that nothing holds back; it is in a process group of its own, since
// Ctrl-c at the terminal is for the guest. Gives 0 or an errno.
int start_child(std::vector<std::string> words, int fd, int error_fd);

}  // namespace vmm
