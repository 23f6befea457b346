// SPDX-License-Identifier: Apache-2.0
// ConsoleTee: what the guest's console says goes to the log that `vmm console` reads, and on to
// another sink. From any thread.
#pragma once

#include "devices/legacy/serial.h"
#include "vmm/control/console_log.h"

namespace vmm::cli {

class ConsoleTee final : public legacy::ConsoleSink {
 public:
  // Both must outlive this.
  ConsoleTee(control::ConsoleLog& log, legacy::ConsoleSink& next) : log_(log), next_(next) {}

  void write(std::span<const std::byte> bytes) override {
    log_.append(bytes);
    next_.write(bytes);
  }

 private:
  control::ConsoleLog& log_;
  legacy::ConsoleSink& next_;
};

}  // namespace vmm::cli
