// SPDX-License-Identifier: Apache-2.0
// ThreadKind: what a thread is there for, and so which system calls it may make (policy.cc).
#pragma once

namespace vmm::sandbox {

enum class ThreadKind {
  kMain,        // the terminal, signals, and the end of it all
  kVcpu,        // runs the guest and the devices' registers
  kIoRing,      // a device's event loop on io_uring
  kIoPool,      // the same on a thread pool, and its workers
  kVhostUser,   // a device's event loop too, which asks a process that serves the device
  kVhost,       // a device's event loop too, which tells the kernel to serve the device
  kVsock,       // a device's event loop too, with sockets that it is handed
  kConsole,     // carries the guest's output to the terminal
  kControl,     // answers those who steer the machine, on a socket
  kSupervisor,  // waits outside a jail for the one inside
  kBootFinder,  // the process that looks for a kernel on a disk: reads open files, writes results
};

}  // namespace vmm::sandbox
