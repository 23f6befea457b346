// SPDX-License-Identifier: Apache-2.0
// The control protocol: lines of JSON over a Unix socket (docs/control.md). The machine speaks
// first, a greeting; then each request gets one answer, in order.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/core/result.h"

namespace vmm::control {

inline constexpr int kProtocolVersion = 1;
// A request that is longer ends the connection, in bytes.
inline constexpr std::size_t kMaxRequest = 4096;

// The machine, as requests see it. Called on the control thread.
class Target {
 public:
  virtual ~Target() = default;
  virtual bool paused() const = 0;
  virtual void press_power_button() = 0;
  virtual void end() = 0;    // at once
  virtual bool pause() = 0;  // false: not all vCPUs stand still yet
  virtual void resume() = 0;
  virtual nlohmann::ordered_json stat() = 0;   // an object
  virtual nlohmann::ordered_json debug() = 0;  // an array, a vCPU each
  // How much memory the guest shall give back, in bytes.
  virtual Result<void> inflate(std::uint64_t bytes) = 0;
  // Of a disk by its name. In bytes; it becomes larger, never smaller.
  virtual Result<void> grow_disk(const std::string& disk, std::uint64_t size) = 0;
  // Per second; 0: no limit; nothing: as it is.
  virtual Result<void> limit_disk(const std::string& disk, std::optional<std::uint64_t> operations,
                                  std::optional<std::uint64_t> bytes) = 0;
  // Of the image behind a disk; done when this comes back.
  enum class SnapshotChange { kCreate, kDelete };
  virtual Result<void> change_snapshot(const std::string& disk, SnapshotChange change,
                                       const std::string& name) = 0;
  virtual Result<nlohmann::ordered_json> snapshots(const std::string& disk) = 0;  // an array
};

// Lines, with the newline.
std::string greeting(std::string_view version, std::string_view name, const Target& target);
// Whatever `request` is, there is an answer.
std::string answer(std::string_view request, Target& target);

}  // namespace vmm::control
