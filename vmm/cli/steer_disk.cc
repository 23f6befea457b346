// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/steer_disk.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "disk/whole_sectors.h"
#include "vmm/cli/command_line.h"
#include "vmm/cli/json_fields.h"
#include "vmm/cli/size.h"
#include "vmm/cli/steer.h"

namespace vmm::cli {
namespace {

void add_names(CommandLine& app, std::string& name, std::string& disk) {
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("DISK", disk, "vda, vdb, ..., as 'vmm stat' shows it, or its file")->required();
}

Result<int> send(const std::string& name, control::Client& machine, const Json& request) {
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  VMM_TRY([[maybe_unused]] std::string answer, ask_machine(machine, name, line));
  return kExitSuccess;
}

Result<std::uint64_t> size_of_disk(control::Client& machine, const std::string& name,
                                   const std::string& disk) {
  VMM_TRY(const std::string answer, ask_machine(machine, name, R"({"command":"stat"})"));
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  for (const Json& each : field(field(parsed, "stat"), "disks")) {
    if (text(each, "name") == disk || text(each, "file") == disk) return number(each, "size");
  }
  return fail(
      ErrorKind::kNotFound,
      fmt::format("{}: there is no disk '{}': 'vmm stat' shows those there are", name, disk));
}

// Whole sectors, as `vmm disk resize` does.
Result<std::uint64_t> wanted_size(const std::string& words, std::uint64_t now) {
  const bool relative = words.starts_with('+');
  VMM_TRY(std::uint64_t size,
          parse_size(std::string_view(words).substr(relative ? 1 : 0), 1, "SIZE"));
  if (relative) size += now;  // neither is more than 2^63 - 1
  return disk::whole_sectors(size);
}

}  // namespace

Result<int> limit_command(const Arguments& arguments) {
  CommandLine app("Limits how fast the guest of a running virtual machine uses a disk.");
  std::string name, disk;
  std::optional<std::string> operations, bytes;
  add_names(app, name, disk);
  app.add_option("--iops", operations, "Requests per second; 0: as many as it can; else unchanged")
      ->type_name("N");
  app.add_option("--bw", bytes,
                 "Bytes per second, with a suffix K, M, G; 0: as many as it can; else unchanged")
      ->type_name("SIZE");
  if (std::optional<int> status = parse(app, arguments)) return *status;
  if (!operations && !bytes) {
    return fail(ErrorKind::kInvalid, "limit: give --iops, --bw or both; 'vmm stat' shows them");
  }
  Json request = {{"command", "limit"}, {"disk", disk}};
  if (operations) {
    VMM_TRY(const std::uint64_t value, parse_count(*operations, "--iops"));
    request["iops"] = value;
  }
  if (bytes) {
    VMM_TRY(const std::uint64_t value, parse_size(*bytes, 1, "--bw"));
    request["bw"] = value;
  }
  VMM_TRY(control::Client machine, find_machine(name));
  return send(name, machine, request);
}

Result<int> resize_command(const Arguments& arguments) {
  CommandLine app(
      "Makes a disk of a running virtual machine larger; the guest sees it at once. "
      "'vmm disk resize' does so for images that are not in use.");
  std::string name, disk, words;
  add_names(app, name, disk);
  app.add_option("SIZE", words, "In bytes, or with a suffix: 20G; +1G for so much more")
      ->required();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(control::Client machine, find_machine(name));
  std::uint64_t now = 0;
  if (words.starts_with('+')) {
    VMM_TRY(now, size_of_disk(machine, name, disk));
  }
  VMM_TRY(const std::uint64_t size, wanted_size(words, now));
  return send(name, machine, {{"command", "resize"}, {"disk", disk}, {"size", size}});
}

}  // namespace vmm::cli
