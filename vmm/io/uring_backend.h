// SPDX-License-Identifier: Apache-2.0
// IoBackend on io_uring: one ring, one io_uring_enter per turn.
#pragma once

#include <memory>

#include "vmm/core/result.h"
#include "vmm/io/io_op.h"

struct io_uring;

namespace vmm {

// Fails where the kernel forbids or lacks io_uring (seccomp, kernel.io_uring_disabled,
// RLIMIT_MEMLOCK on old kernels). Must be called on the thread that will run the loop.
Result<std::unique_ptr<IoBackend>> create_uring_backend();

// Limits a ring that was made disabled (IORING_SETUP_R_DISABLED) to the operations that the backend
// uses, for good, and enables it.
Result<void> restrict_and_enable(io_uring& ring);

}  // namespace vmm
