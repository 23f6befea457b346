// SPDX-License-Identifier: Apache-2.0
// EscapeParser: finds the VMM's own keys among what is typed for the guest.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace vmm::cli {

// Ctrl-a x: end the VM. Ctrl-a ?, Ctrl-a h: help. Ctrl-a a, Ctrl-a Ctrl-a: a Ctrl-a for the guest.
// Ctrl-a and any other key: both go to the guest.
class EscapeParser {
 public:
  static constexpr std::byte kEscape{0x01};  // Ctrl-a

  struct Parsed {
    std::vector<std::byte> for_guest;
    bool quit = false;  // nothing after it was looked at
    bool help = false;
  };

  // A Ctrl-a at the end waits for the next call.
  Parsed parse(std::span<const std::byte> typed);

 private:
  bool escaped_ = false;
};

}  // namespace vmm::cli
