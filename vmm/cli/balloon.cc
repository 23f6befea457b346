// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/balloon.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "vmm/cli/command_line.h"
#include "vmm/cli/json_fields.h"
#include "vmm/cli/size.h"
#include "vmm/cli/steer.h"

namespace vmm::cli {
namespace {

std::string mib(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

Result<void> inflate(control::Client& machine, const std::string& name, std::uint64_t bytes) {
  const Json request = {{"command", "balloon"}, {"size", bytes}};
  VMM_TRY([[maybe_unused]] std::string answer, ask_machine(machine, name, request.dump()));
  return {};
}

}  // namespace

std::string describe_balloon(const std::string& answer) {
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  const Json& stat = field(parsed, "stat");
  const Json& balloon = field(stat, "balloon");
  if (!balloon.is_object()) return "";
  std::string lines =
      fmt::format("balloon: {} of {}, {} asked for; {} came back so far, free pages included\n",
                  mib(number(balloon, "actual")), mib(number(stat, "memory")),
                  mib(number(balloon, "target")), mib(number(balloon, "returned")));
  const Json& guest = field(balloon, "guest");
  if (guest.empty()) return lines + "  the guest tells nothing of its memory\n";
  return lines + fmt::format(
                     "  the guest says: {} in all, {} free, {} available, {} of disk caches, {} "
                     "swapped out\n",
                     mib(number(guest, "total")), mib(number(guest, "free")),
                     mib(number(guest, "available")), mib(number(guest, "disk_caches")),
                     mib(number(guest, "swap_out")));
}

Result<int> balloon_command(const Arguments& arguments) {
  CommandLine app(
      "Asks the guest of a running virtual machine to give memory back, or tells how much it has "
      "given. The machine needs --balloon, and the guest a driver.");
  std::string name;
  std::optional<std::string> size;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("SIZE", size,
                 "How much the guest shall do without, in MiB, or with a suffix K, M, G; 0 gives "
                 "it all back; without it nothing changes");
  if (std::optional<int> status = parse(app, arguments)) return *status;
  std::optional<std::uint64_t> bytes;
  if (size) {
    VMM_TRY(bytes, parse_size(*size, std::uint64_t{1} << 20, "SIZE"));
  }
  VMM_TRY(control::Client machine, find_machine(name));
  if (bytes) {
    VMM_CHECK(inflate(machine, name, *bytes));
    return kExitSuccess;
  }
  VMM_TRY(const std::string answer, ask_machine(machine, name, R"({"command":"stat"})"));
  const std::string lines = describe_balloon(answer);
  if (lines.empty()) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("{}: it has no balloon: run it with --balloon", name));
  }
  fmt::print("{}", lines);
  return kExitSuccess;
}

}  // namespace vmm::cli
