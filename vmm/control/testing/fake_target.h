// SPDX-License-Identifier: Apache-2.0
// A Target that remembers what was asked of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vmm/control/protocol.h"

namespace vmm::control::testing {

struct FakeTarget final : Target {
  bool paused() const override { return is_paused; }
  void press_power_button() override { ++nr_presses; }
  void end() override { ++nr_ends; }
  bool pause() override {
    is_paused = can_pause;
    return can_pause;
  }
  void resume() override { is_paused = false; }
  nlohmann::ordered_json stat() override { return {{"answer", 42}, {"file", file}}; }
  nlohmann::ordered_json debug() override { return {{{"id", 0}}}; }
  Result<void> inflate(std::uint64_t bytes) override {
    balloon = bytes;
    return {};
  }
  Result<void> grow_disk(const std::string& disk, std::uint64_t bytes) override {
    if (disk != "vda") return fail(ErrorKind::kNotFound, "no such disk");
    size = bytes;
    return {};
  }
  Result<void> limit_disk(const std::string&, std::optional<std::uint64_t> operations,
                          std::optional<std::uint64_t> bytes) override {
    if (operations) iops = *operations;
    if (bytes) bw = *bytes;
    return {};
  }

  Result<void> change_snapshot(const std::string& disk, SnapshotChange change,
                               const std::string& name) override {
    if (disk != "vda") return fail(ErrorKind::kNotFound, "no such disk");
    if (change == SnapshotChange::kCreate) {
      all_snapshots.push_back(name);
    } else if (std::erase(all_snapshots, name) == 0) {
      return fail(ErrorKind::kNotFound, "no such snapshot");
    }
    return {};
  }
  Result<nlohmann::ordered_json> snapshots(const std::string&) override {
    return nlohmann::ordered_json(all_snapshots);
  }
  Result<std::string> attach_disk(const std::string& option,
                                  std::vector<GivenFile> given) override {
    files = std::move(given);
    return option + " in vdb";
  }
  Result<void> detach_disk(const std::string& disk) override {
    if (disk != "vdb") return fail(ErrorKind::kNotFound, "no such disk");
    files.clear();
    return {};
  }

  ConsoleLog& console() override { return log; }
  // Room for so many bytes.
  std::size_t type(std::span<const std::byte> bytes) override {
    const std::size_t taken = std::min(bytes.size(), room.load());
    room -= taken;
    std::lock_guard lock(typed_mutex);
    typed.append(reinterpret_cast<const char*>(bytes.data()), taken);
    return taken;
  }

  ConsoleLog log;
  std::atomic<std::size_t> room = 1 << 20;
  std::mutex typed_mutex;
  std::string typed;
  std::vector<GivenFile> files;
  std::vector<std::string> all_snapshots;
  std::uint64_t size = 0, balloon = 9, iops = 7, bw = 8;
  std::atomic<bool> is_paused = false;
  bool can_pause = true;
  std::atomic<int> nr_presses = 0;
  std::atomic<int> nr_ends = 0;
  std::string file = "disk.img";
};

}  // namespace vmm::control::testing
