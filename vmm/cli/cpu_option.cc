// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/cpu_option.h"

#include <fmt/core.h>

#include <charconv>
#include <span>

#include "arch/x86/cpu_flags.h"
#include "vmm/host_cpu.h"

namespace vmm::cli {
namespace {

// What stands between commas; never nothing.
std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(',');
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool read_number(std::string_view text, unsigned& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number < kMaxHostCpus;
}

// "3" or "2-5".
bool read_range(std::string_view text, unsigned& first, unsigned& last) {
  const std::size_t dash = text.find('-');
  if (!read_number(text.substr(0, dash), first)) return false;
  last = first;
  return dash == text.npos || (read_number(text.substr(dash + 1), last) && first <= last);
}

}  // namespace

Result<std::vector<std::string>> parse_cpu_option(std::string_view text) {
  const std::vector<std::string_view> parts = parts_of(text);
  if (parts.front() != "host") {
    return fail(ErrorKind::kInvalid,
                fmt::format("--cpu {}: write host, or host,-FLAG,... without features", text));
  }
  std::vector<std::string> hidden;
  for (std::string_view part : std::span(parts).subspan(1)) {
    if (!part.starts_with('-')) {
      return fail(
          ErrorKind::kInvalid,
          fmt::format("--cpu {}: '{}' is not -FLAG; features can be taken away only", text, part));
    }
    Result<void> known = x86::check_cpu_flag(part.substr(1));
    if (!known) {
      return Unexpected(std::move(known).error().with_context(fmt::format("--cpu {}", text)));
    }
    hidden.emplace_back(part.substr(1));
  }
  return hidden;
}

Result<std::vector<unsigned>> parse_pin_option(std::string_view text, unsigned nr_cpus) {
  std::vector<unsigned> cpus;
  if (text.empty()) return cpus;
  for (std::string_view part : parts_of(text)) {
    unsigned first, last;
    if (!read_range(part, first, last)) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("--pin {}: write processors of this host as in 0,2-3", text));
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) {
      if (!may_run_on(cpu)) {
        return fail(ErrorKind::kInvalid,
                    fmt::format("--pin {}: this host has no processor {} for us", text, cpu));
      }
      cpus.push_back(cpu);
    }
  }
  if (cpus.size() != nr_cpus) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--pin {}: {} processors of the host for {} virtual ones (--cpus): "
                            "give one for each",
                            text, cpus.size(), nr_cpus));
  }
  return cpus;
}

}  // namespace vmm::cli
