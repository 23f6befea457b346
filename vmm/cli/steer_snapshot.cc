// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/steer_snapshot.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "vmm/cli/json_fields.h"
#include "vmm/cli/steer.h"
#include "vmm/file_id.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/snapshot_tool.h"

namespace vmm::cli {
namespace {

using Action = tools::SnapshotConfig::Action;

const char* word_of(Action action) {
  switch (action) {
    case Action::kList:
      return "list";
    case Action::kCreate:
      return "create";
    case Action::kApply:
      return "apply";
    case Action::kDelete:
      break;
  }
  return "delete";
}

std::vector<disk::qcow::Snapshot> snapshots_in(const Json& answer) {
  std::vector<disk::qcow::Snapshot> all;
  for (const Json& each : field(answer, "snapshots")) {
    disk::qcow::Snapshot snapshot;
    snapshot.id = text(each, "id");
    snapshot.name = text(each, "name");
    snapshot.date_seconds = static_cast<std::uint32_t>(number(each, "date_seconds"));
    snapshot.vm_clock_nanoseconds = number(each, "vm_clock_ns");
    snapshot.vm_state_size = number(each, "vm_state_size");
    snapshot.instruction_count = number(each, "instruction_count");
    all.push_back(std::move(snapshot));
  }
  return all;
}

// Machines that do not answer are none that could do it.
Json disks_of(const std::string& name) {
  Result<control::Client> machine = find_machine(name);
  if (!machine) return {};
  const Result<std::string> answer = ask_machine(*machine, name, R"({"command":"stat"})");
  if (!answer) return {};
  const Json parsed = Json::parse(*answer, nullptr, /*allow_exceptions=*/false);
  return field(field(parsed, "stat"), "disks");
}

}  // namespace

std::optional<RunningDisk> machine_that_writes(const std::string& path) {
  const FileId wanted = file_id(path);
  if (!wanted.known()) return {};
  for (const std::string& name : names_of_machines()) {
    for (const Json& disk : disks_of(name)) {
      const FileId file{number(disk, "device"), number(disk, "inode")};
      if (file == wanted && field(disk, "read_only") == false) {
        return RunningDisk{name, text(disk, "name")};
      }
    }
  }
  return {};
}

Result<int> steer_snapshot(const RunningDisk& disk, const tools::SnapshotConfig& config,
                           const tools::Console& console) {
  Json request = {{"command", "snapshot"}, {"disk", disk.disk}, {"action", word_of(config.action)}};
  if (config.action != Action::kList) request["name"] = config.name;
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  VMM_TRY(control::Client machine, find_machine(disk.machine));
  VMM_TRY(const std::string answer, ask_machine(machine, disk.machine, line));
  if (config.action != Action::kList) return 0;
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  tools::print_snapshots(console, snapshots_in(parsed));
  return 0;
}

}  // namespace vmm::cli
