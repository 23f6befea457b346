// SPDX-License-Identifier: Apache-2.0
// IoBackend with no ring and no threads: each operation is over before its submission returns. For
// a short-lived process that reads an image under a system call filter.
#pragma once

#include <poll.h>

#include <memory>

#include "vmm/io/io_op.h"

namespace vmm {

std::unique_ptr<IoBackend> create_blocking_backend();

// From now on EventLoop::Backend::kAuto of this process means that backend: it may neither make
// threads nor use io_uring. A loop chooses at its first operation. While the process has one
// thread.
void allow_only_blocking_calls(bool only = true);
bool only_blocking_calls();

// For backends that wait in poll(2): the operations that they wait for there, what they wait for,
// and how such a one ends, given what poll() showed.
bool is_polled(const IoOp& op);
pollfd poll_entry(const IoOp& op);
void finish_polled(IoOp& op, short events);

// Carries out anything else on the calling thread; gives bytes done or a negative errno.
std::int64_t perform_blocking(const IoOp& op);

}  // namespace vmm
