// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/debug.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "vmm/cli/command_line.h"
#include "vmm/cli/json_fields.h"
#include "vmm/cli/steer.h"

namespace vmm::cli {
namespace {

// Three to a line, as wide as a register.
std::string describe_group(const Json& group) {
  std::string lines;
  std::size_t count = 0;
  for (const auto& [name, value] : group.items()) {
    std::string digits = text(group, name.c_str());
    if (digits.starts_with("0x")) digits.erase(0, 2);
    lines += fmt::format("  {:>9} {:0>16}", name, digits);
    if (++count % 3 == 0) lines += '\n';
  }
  return count % 3 == 0 ? lines : lines + '\n';
}

std::string describe_segments(const Json& segments) {
  std::string lines = "         selector  base                limit       type p dpl db s l g\n";
  for (const auto& [name, segment] : segments.items()) {
    lines += fmt::format("  {:>6} {:>8}  {:<18}  {:<10}  {:>4} {} {:>3} {:>2} {} {} {}\n", name,
                         text(segment, "selector"), text(segment, "base"), text(segment, "limit"),
                         number(segment, "type"), field(segment, "present") == true ? 1 : 0,
                         number(segment, "dpl"), number(segment, "db"), number(segment, "s"),
                         number(segment, "l"), number(segment, "g"));
  }
  return lines;
}

std::string describe_vcpu(const Json& vcpu) {
  std::string lines = fmt::format("vCPU {}:", number(vcpu, "id"));
  if (!field(vcpu, "registers").is_object()) return lines + " is held up by a device\n";
  lines += '\n' + describe_group(field(vcpu, "registers")) +
           describe_group(field(vcpu, "control")) + describe_segments(field(vcpu, "segments"));
  for (const char* name : {"gdt", "idt"}) {
    const Json& table = field(vcpu, name);
    lines += fmt::format("  {:>6}           {:<18}  {}\n", name, text(table, "base"),
                         text(table, "limit"));
  }
  return lines;
}

}  // namespace

std::string describe_registers(const std::string& answer) {
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  std::string lines;
  for (const Json& vcpu : field(parsed, "vcpus")) lines += describe_vcpu(vcpu);
  return lines;
}

Result<int> debug_command(const Arguments& arguments) {
  CommandLine app(
      "Shows the registers of each processor of a running virtual machine, which stands still for "
      "that moment.");
  std::string name, output = "human";
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("--output", output, "How to show them")
      ->one_of({"human", "json"})
      ->capture_default_str();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(control::Client machine, find_machine(name));
  VMM_TRY(const std::string answer, ask_machine(machine, name, R"({"command":"debug"})"));
  if (output == "human") {
    fmt::print("{}", describe_registers(answer));
  } else {
    const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
    fmt::print("{}\n", field(parsed, "vcpus").dump(2));
  }
  return kExitSuccess;
}

}  // namespace vmm::cli
