// SPDX-License-Identifier: Apache-2.0
// IoBackend without io_uring: blocking calls on a few worker threads, for containers and kernels
// that forbid the ring.
#pragma once

#include <memory>

#include "vmm/core/result.h"
#include "vmm/io/io_op.h"

namespace vmm {

Result<std::unique_ptr<IoBackend>> create_thread_pool_backend();

}  // namespace vmm
