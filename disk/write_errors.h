// SPDX-License-Identifier: Apache-2.0
// WriteErrors: what becomes of a guest's change to a disk that the host failed, as QEMU's werror=
// has it. The device that the guest sees acts on it, not the disk.
#pragma once

namespace vmm::disk {

enum class WriteErrors {
  kReport,       // the guest is told, and its file system decides
  kWaitNoSpace,  // where the host had no space (ENOSPC, EDQUOT) the request waits until it is
                 // retried; else kReport
  kWait,         // the request waits until it is retried
};

}  // namespace vmm::disk
