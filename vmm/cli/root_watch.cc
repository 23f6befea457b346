// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/root_watch.h"

namespace vmm::cli {

bool says_no_root(std::string_view line) {
  auto has = [&](std::string_view text) { return line.find(text) != std::string_view::npos; };
  return has("VFS: Unable to mount root fs") || has("VFS: Cannot open root device") ||  // Linux
         has("Gave up waiting for root") ||                     // initramfs-tools
         (has("ALERT!") && has("does not exist")) ||            // the same
         (has("dracut-initqueue") && has("Could not boot")) ||  // dracut
         has("Mounting root failed");                           // mkinitfs
}

std::string explain_no_root(std::size_t nr_disks, bool read) {
  if (nr_disks == 0) {
    return "the guest finds no root device, and this machine has no disk: give one with -d";
  }
  if (read) {
    return "the guest finds no root device, although it reads this machine's disks: look at root= "
           "(-p), and whether the kernel or its initrd has the file system's driver";
  }
  return "the guest finds no root device, and has read no disk of this machine: its kernel or "
         "initrd lacks the drivers virtio_pci and virtio_blk. Boot the disk's own kernel (no -k), "
         "give the initrd that belongs to the kernel (-i), or put the drivers into it (Debian: "
         "MODULES=most in initramfs.conf)";
}

void RootWatch::write(std::span<const std::byte> bytes) {
  next_.write(bytes);
  if (found_in(bytes)) on_no_root_();
}

bool RootWatch::found_in(std::span<const std::byte> bytes) {
  std::lock_guard lock(mutex_);
  if (found_) return false;
  for (std::byte byte : bytes) {
    const char c = static_cast<char>(byte);
    if (c != '\n') {
      if (line_.size() < kMaxLine) line_ += c;
      continue;
    }
    found_ = says_no_root(line_);
    line_.clear();
    if (found_) return true;
  }
  return false;
}

}  // namespace vmm::cli
