// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/doctor.h"

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "vmm/cli/command_line.h"
#include "vmm/cli/doctor_checks.h"

namespace vmm::cli {
namespace {

constexpr const char* kFooter =
    "Exit status: 0 stock Linux guests will run; 1 they will not.\n\n"
    "JSON, one object: format (1), verdict (yes or no), summary (one line), "
    "instructions_per_second,\nchecks: an array of objects with name (kvm, capabilities, guest, "
    "io_uring, memory-lock),\nstatus (ok, warning, failed), detail, advice (may be empty).";

void print_text(const DoctorReport& report) {
  for (const Check& check : report.checks) {
    fmt::print("{:<8} {:<13} {}\n", name_of(check.status), check.name, check.detail);
    if (!check.advice.empty() && check.status != Check::Status::kOk) {
      fmt::print("{:22} -> {}\n", "", check.advice);
    }
  }
  fmt::print("{}\n", report.can_run_guests() ? "Linux guests will run here."
                                             : "Linux guests will not run here.");
}

void print_json(const DoctorReport& report) {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const Check& check : report.checks) {
    checks.push_back({{"name", check.name},
                      {"status", name_of(check.status)},
                      {"detail", check.detail},
                      {"advice", check.advice}});
  }
  nlohmann::ordered_json object = {{"format", 1},
                                   {"verdict", report.can_run_guests() ? "yes" : "no"},
                                   {"summary", report.summary()},
                                   {"instructions_per_second", report.instructions_per_second},
                                   {"checks", std::move(checks)}};
  // Bytes that are no UTF-8 (from an odd path) must not throw.
  fmt::print("{}\n", object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Result<int> doctor_command(const Arguments& arguments) {
  CommandLine app(
      "Says whether this host can run virtual machines, and what to do where it cannot.");
  std::string output = "text";
  app.add_option("--output", output, "How to print the findings")
      ->one_of({"text", "json"})
      ->capture_default_str();
  app.footer(kFooter);
  if (std::optional<int> status = parse(app, arguments)) return *status;

  DoctorReport report = examine();
  if (output == "json") {
    print_json(report);
  } else {
    print_text(report);
  }
  return report.can_run_guests() ? kExitSuccess : kExitFailure;
}

}  // namespace vmm::cli
