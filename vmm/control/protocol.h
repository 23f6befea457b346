// SPDX-License-Identifier: Apache-2.0
// The control protocol: lines of JSON over a Unix socket (docs/control.md). The machine speaks
// first, a greeting; then each request gets one answer, in order.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/console_log.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::control {

inline constexpr int kProtocolVersion = 1;
// A request that is longer ends the connection, in bytes.
inline constexpr std::size_t kMaxRequest = 4096;

// Files that come with one request; as many as a chain of images may have, and an external data
// file.
inline constexpr std::size_t kMaxFiles = 253;

struct GivenFile {
  std::string path;  // as images above it, or the request, name it
  UniqueFd fd;
};

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
  // `option` is as for --disk; the files are those it takes, opened and locked. Gives the disk's
  // name.
  virtual Result<std::string> attach_disk(const std::string& option,
                                          std::vector<GivenFile> files) = 0;
  virtual Result<void> detach_disk(const std::string& disk) = 0;
  // What the guest's console says, and typing there: gives how many bytes were taken.
  virtual ConsoleLog& console() = 0;
  virtual std::size_t type(std::span<const std::byte> bytes) = 0;
};

// Lines, with the newline.
std::string greeting(std::string_view version, std::string_view name, const Target& target);
// Whatever `request` is, there is an answer. `console` becomes true where the connection is one to
// the guest's console behind it.
std::string answer(std::string_view request, Target& target, std::vector<UniqueFd> files = {},
                   bool* console = nullptr);

}  // namespace vmm::control
