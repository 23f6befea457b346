// SPDX-License-Identifier: Apache-2.0
// Finding the kernel that a disk would boot by itself, without running its boot loader: the
// kernel, its initrd and its command line, as BLS entries, grub.cfg, syslinux or /boot say.
//
// The disk's bytes may be hostile. They are parsed in a child process that has the image's
// descriptors read-only, memory and time up to a limit, and nothing else (confined_child.h).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vmm/bootfind/boot_entry.h"
#include "vmm/bootfind/source.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::bootfind {

// Opens the disk for reading, with nothing that needs a thread or io_uring later. It runs in the
// child, before that is confined. Its errors name the image.
using OpenSource = std::function<Result<std::unique_ptr<Source>>()>;

struct BootOptions {
  std::string entry;  // --boot: a number from the list, an id or a title; "": the default entry
  FinderOptions finder;
  std::chrono::milliseconds time_limit{30'000};
};

struct BootChoice {
  BootEntry entry;
  UniqueFd kernel;           // a sealed memfd
  UniqueFd initrd;           // the same; none where the entry has none
  std::string command_line;  // the entry's own
  std::string description;   // for the log: `"Debian GNU/Linux" (partition 1 (ext4), /boot/...)`
};

// Errors do not name the image, but for those of `open`. kNotFound: the disk has no kernel (and
// nothing else); the message says what was looked at. To be called while the process has one
// thread.
Result<BootChoice> find_boot(const OpenSource& open, const BootOptions& options);
Result<std::vector<BootEntry>> list_boot(const OpenSource& open, const BootOptions& options);

// What `--boot list` prints; lines, each with its newline.
std::string format_list(const std::vector<BootEntry>& entries);

}  // namespace vmm::bootfind
