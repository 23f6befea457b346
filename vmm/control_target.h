// SPDX-License-Identifier: Apache-2.0
// ControlTarget: a Machine as the control protocol sees it. What `stat` gives is described in
// docs/control.md.
#pragma once

#include <chrono>

#include "vmm/control/protocol.h"

namespace vmm {

class Machine;

class ControlTarget final : public control::Target {
 public:
  // Both must outlive it.
  ControlTarget(Machine& machine, control::ConsoleLog& console)
      : machine_(machine), console_(console) {}

  bool paused() const override;
  void press_power_button() override;
  void end() override;
  bool pause() override;
  void resume() override;
  nlohmann::ordered_json stat() override;
  nlohmann::ordered_json debug() override;
  Result<void> inflate(std::uint64_t bytes) override;
  Result<void> grow_disk(const std::string& disk, std::uint64_t size) override;
  Result<void> limit_disk(const std::string& disk, std::optional<std::uint64_t> operations,
                          std::optional<std::uint64_t> bytes) override;
  Result<void> change_snapshot(const std::string& disk, SnapshotChange change,
                               const std::string& name) override;
  Result<nlohmann::ordered_json> snapshots(const std::string& disk) override;
  Result<std::string> attach_disk(const std::string& option,
                                  std::vector<control::GivenFile> files) override;
  Result<void> detach_disk(const std::string& disk) override;
  control::ConsoleLog& console() override { return console_; }
  std::size_t type(std::span<const std::byte> bytes) override;

 private:
  Machine& machine_;
  control::ConsoleLog& console_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace vmm
