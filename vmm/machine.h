// SPDX-License-Identifier: Apache-2.0
// Machine: puts a virtual machine together from its configuration, runs it, and takes it apart.
//
//   auto machine = Machine::create(config, console);
//   machine->start();
//   ... poll machine->ended_fd(), hand what is typed to machine->input() ...
//   Outcome outcome = machine->finish();
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/control/protocol.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"
#include "vmm/outcome.h"

namespace vmm {

struct AttachedDisk;
struct Backends;
class Luggage;
class MachineDisk;
struct MachineStat;

namespace kvm {
struct VcpuRegisters;
}

namespace legacy {
class ConsoleSink;
}  // namespace legacy

class Machine {
 public:
  // Checks and opens everything the configuration names, and loads the kernel; no guest code runs
  // yet. `console` gets what the guest's consoles send, on threads of the machine's; it must
  // outlive the machine.
  static Result<std::unique_ptr<Machine>> create(const MachineConfig& config,
                                                 legacy::ConsoleSink& console, Backends backends);
  ~Machine();

  // Puts every thread into its sandbox, the calling one included, and lets the vCPUs run. After
  // sandbox::close_doors(). Once.
  Result<void> start();

  // From any thread: changes to disks that failed and wait (werror=) are carried out again. The
  // vCPUs stand still from the first that waits until none does, if somebody watches
  // waiting_fd(): when it is readable, follow_waiting().
  void retry_writes();
  int waiting_fd() const;
  void follow_waiting();

  // From any thread. A guest's operating system then shuts down, if it likes.
  void press_power_button();

  // From any thread, between start() and finish(): the vCPUs stand still, or go on (once no change
  // to a disk waits: resume() has them tried again). pause() waits
  // until they do; where one is held up (by a terminal that nobody reads), it stands still once it
  // is free, and false is returned meanwhile. Disk I/O under way goes on.
  bool pause();
  void resume();
  bool paused() const;

  // From any thread, between start() and finish().
  MachineStat stat() const;

  // From any thread, between start() and finish(): each vCPU's registers, or nothing where it is
  // held up by a device.
  std::vector<std::optional<kvm::VcpuRegisters>> registers();

  // From any thread.
  std::size_t nr_disks() const;
  bool disks_read() const;  // by the guest: it has a driver for them

  // From any thread, between start() and finish(). `disk`: "vda", ..., or the file as the
  // configuration names it; fails with kNotFound.
  Result<MachineDisk*> find_disk(std::string_view disk);
  // Into the first bay that is empty; gives the disk's name. `options` are those that the disk's
  // option says, the files those that the image takes, opened and locked.
  Result<std::string> attach_disk(disk::DiskOptions options, AttachedDisk disk);
  // The same, into the place where it was in the boot before. Before start().
  Result<void> attach_again(std::size_t index, disk::DiskOptions options, AttachedDisk disk);
  // After finish(): the disks that are in bays, for the next boot.
  void hand_on_disks(Luggage& luggage);
  // Growing may take some seconds.
  Result<void> grow_disk(std::string_view disk, std::uint64_t size);
  // How much memory the guest shall do without, in bytes. It gives it when it can. Fails with
  // kUnsupported where the machine has no balloon.
  Result<void> inflate(std::uint64_t bytes);
  // What is not given stays as it is; 0: no limit.
  Result<void> limit_disk(std::string_view disk, std::optional<std::uint64_t> operations,
                          std::optional<std::uint64_t> bytes);

  // From any thread: ends the run, with the outcome kStopped.
  void end();

  // Becomes readable when the guest, KVM, or end() has ended the run. Stays so.
  int ended_fd() const;
  bool ended_from_outside() const;  // by end()

  // Stops the vCPUs, waits for disk I/O in flight, and closes the disks. An error of that turns an
  // outcome without one into kFailure. Once, after start().
  Outcome finish();

  // The console's other direction; from any thread. Returns how many bytes fitted: keep the rest
  // until `on_input_room` is called, on a thread of the machine's, without locks.
  std::size_t input(std::span<const std::byte> bytes);

  // Before start().
  void set_on_input_room(std::function<void()> on_input_room);

  // The flattened device tree that describes the machine, whether its guest is given it or not.
  Result<std::vector<std::byte>> device_tree() const;

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace vmm
