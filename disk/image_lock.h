// SPDX-License-Identifier: Apache-2.0
// Locks on image files, the way QEMU takes them, so that qemu-img and a running VM see each other:
// open-file-description read locks on single bytes of the file, one byte per permission in use from
// 100 on, one per permission that is denied to others from 200 on.
#pragma once

#include <string>

#include "vmm/core/result.h"

namespace vmm::disk {

enum class LockMode {
  kReader,  // others may read, nobody may write
  kWriter,  // nobody else may write, or rely on what they read
};

// Fails with kBusy, naming the process that holds the image where that can be found out.
Result<void> lock_image(int fd, LockMode mode);

// To be called before the descriptor is closed: the kernel keeps the lock as long as anything
// refers to the open file, and io_uring lets go of it only some time after a request's completion.
void unlock_image(int fd);

}  // namespace vmm::disk
