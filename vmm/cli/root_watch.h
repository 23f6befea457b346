// SPDX-License-Identifier: Apache-2.0
// RootWatch: sees on the guest's console that its kernel or initrd gave up looking for a root
// device, and lets the user be told what the machine knows of the reason.
//
// The guest can write what it likes; all it can cause is that one call.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "devices/legacy/serial.h"

namespace vmm::cli {

// Whether a kernel, initramfs-tools, dracut or Alpine's initramfs says with this line that there is
// no root device.
bool says_no_root(std::string_view line);

// What to tell a user whose guest finds none. `nr_disks` of the machine; `read`: the guest has sent
// requests to one.
std::string explain_no_root(std::size_t nr_disks, bool read);

// Hands everything on to another sink, from any thread.
class RootWatch final : public legacy::ConsoleSink {
 public:
  // `next` must outlive this. `on_no_root` is called once at most, on the writer's thread.
  RootWatch(legacy::ConsoleSink& next, std::function<void()> on_no_root)
      : next_(next), on_no_root_(std::move(on_no_root)) {}

  void write(std::span<const std::byte> bytes) override;

 private:
  static constexpr std::size_t kMaxLine = 512;  // bytes; what is behind them is not looked at

  bool found_in(std::span<const std::byte> bytes);

  legacy::ConsoleSink& next_;
  const std::function<void()> on_no_root_;
  std::mutex mutex_;  // guards what follows
  std::string line_;
  bool found_ = false;
};

}  // namespace vmm::cli
