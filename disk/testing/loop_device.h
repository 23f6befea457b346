// SPDX-License-Identifier: Apache-2.0
// LoopDevice: a block device for a test, full of one byte, on a file without a name.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/core/unique_fd.h"

namespace vmm::disk {

class LoopDevice {
 public:
  static constexpr unsigned char kLeftOver = 0xd5;

  // `sector` in bytes: 512 or 4096. `size` is a multiple of it.
  explicit LoopDevice(std::uint64_t size, std::uint32_t sector = 512) {
    char name[] = "/tmp/vmm-loop-XXXXXX";
    const UniqueFd file(::mkostemp(name, O_CLOEXEC));
    ::unlink(name);
    const std::vector<unsigned char> left_over(size, kLeftOver);
    if (!file || ::write(file.get(), left_over.data(), size) != static_cast<ssize_t>(size)) return;
    const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return;
    // Others take devices at the same time.
    for (int tries = 0; tries < 64 && !device_; ++tries) {
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return;
      const std::string path = "/dev/loop" + std::to_string(number);
      UniqueFd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      if (!device) return;
      loop_config config{};
      config.fd = static_cast<std::uint32_t>(file.get());
      config.block_size = sector;
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR;  // gone with its last user
      if (::ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) continue;
      device_ = std::move(device);
      path_ = path;
    }
  }

  // Empty: there is none here, which needs root and the kernel's loop module.
  const std::string& path() const { return path_; }

 private:
  UniqueFd device_;
  std::string path_;
};

}  // namespace vmm::disk
