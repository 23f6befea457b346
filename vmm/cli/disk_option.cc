// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/disk_option.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "vmm/cli/size.h"
#include "vmm/machine_config.h"

namespace vmm::cli {
namespace {

constexpr std::size_t kMaxSerial = 20;  // virtio 1.2, 5.2.6: GET_ID

// The words an option takes, and what each means.
template <class T>
struct Word {
  std::string_view word;
  T meaning;
};

template <class T, std::size_t N>
Result<T> meaning_of(std::string_view name, std::string_view value, const Word<T> (&words)[N]) {
  std::string known;
  for (const Word<T>& each : words) {
    if (each.word == value) return each.meaning;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", each.word);
  }
  return fail(ErrorKind::kInvalid, fmt::format("{}={}: expected one of {}", name, value, known));
}

constexpr Word<bool> kDiscardWords[] = {{"unmap", true}, {"ignore", false}};
constexpr Word<bool> kZeroWords[] = {{"off", false}, {"on", true}, {"unmap", true}};
constexpr Word<disk::BackingPolicy> kBackingWords[] = {{"auto", disk::BackingPolicy::kOpenIfTold},
                                                       {"on", disk::BackingPolicy::kOpen},
                                                       {"off", disk::BackingPolicy::kRefuse}};
constexpr Word<disk::WriteErrors> kWriteErrorWords[] = {{"report", disk::WriteErrors::kReport},
                                                        {"enospc", disk::WriteErrors::kWaitNoSpace},
                                                        {"stop", disk::WriteErrors::kWait}};

// "name" alone; false where it is not known.
bool apply_flag(std::string_view name, disk::DiskOptions& options) {
  if (name == "ro" || name == "rw") {
    options.read_only = name == "ro";
  } else if (name == "direct") {
    options.direct = true;
  } else if (name == "nofollow") {
    options.no_follow = true;
  } else if (name == "snapshot") {
    options.temporary = true;
  } else {
    return false;
  }
  return true;
}

// "name=value"; false where it is not known.
Result<bool> apply_value(std::string_view name, std::string_view value,
                         disk::DiskOptions& options) {
  if (name == "format") {
    VMM_TRY(options.format, disk::parse_format(value));
  } else if (name == "cache") {
    VMM_TRY(options.cache, disk::parse_cache_mode(value));
  } else if (name == "discard") {
    VMM_TRY(options.discard, meaning_of(name, value, kDiscardWords));
  } else if (name == "detect-zeroes") {
    VMM_TRY(options.detect_zeroes, meaning_of(name, value, kZeroWords));
  } else if (name == "backing") {
    VMM_TRY(options.backing, meaning_of(name, value, kBackingWords));
  } else if (name == "werror") {
    VMM_TRY(options.write_errors, meaning_of(name, value, kWriteErrorWords));
  } else if (name == "l2-cache-size") {
    VMM_TRY(options.l2_cache_size, parse_size(value, 1, name));
  } else if (name == "l2-cache-entry-size") {
    VMM_TRY(const std::uint64_t size, parse_size(value, 1, name));
    // What is no size of an entry stays none.
    options.l2_cache_entry_size =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(size, UINT32_MAX));
  } else if (name == "refcount-cache-size") {
    VMM_TRY(options.refcount_cache_size, parse_size(value, 1, name));
  } else if (name == "iops") {
    VMM_TRY(options.max_operations, parse_count(value, name));
  } else if (name == "bw") {
    VMM_TRY(options.max_bytes, parse_size(value, 1, name));
  } else if (name == "serial") {
    if (value.size() > kMaxSerial) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("serial={}: at most {} bytes reach the guest", value, kMaxSerial));
    }
    options.serial = value;
  } else if (name == "queues") {
    const auto [end, error] =
        std::from_chars(value.data(), value.data() + value.size(), options.nr_queues);
    if (error != std::errc() || end != value.data() + value.size() || options.nr_queues == 0 ||
        options.nr_queues > MachineConfig::kMaxCpus) {
      return fail(ErrorKind::kInvalid, fmt::format("queues={}: expected a number from 1 to {}",
                                                   value, MachineConfig::kMaxCpus));
    }
  } else {
    return false;
  }
  return true;
}

Result<void> apply_option(std::string_view option, disk::DiskOptions& options) {
  const std::size_t equals = option.find('=');
  Result<bool> known = equals == option.npos ? Result<bool>(apply_flag(option, options))
                                             : apply_value(option.substr(0, equals),
                                                           option.substr(equals + 1), options);
  if (!known) {
    return Unexpected(
        std::move(known).error().with_context(fmt::format("--disk {}", options.path)));
  }
  if (*known) return {};
  return fail(
      ErrorKind::kInvalid,
      fmt::format(
          "--disk {}: there is no option '{}'; known are ro, rw, snapshot, direct, nofollow, "
          "and with a value format=, cache=, discard=, detect-zeroes=, backing=, "
          "l2-cache-size=, l2-cache-entry-size=, refcount-cache-size=, serial=, queues=, werror=, "
          "iops=, bw=; ',,' stands for a comma in a name",
          options.path, option));
}

}  // namespace

std::string take_part(std::string_view& rest) {
  std::string part;
  while (!rest.empty() && (rest[0] != ',' || rest.starts_with(",,"))) {
    part += rest[0];
    rest.remove_prefix(rest[0] == ',' ? 2 : 1);
  }
  return part;
}

Result<disk::DiskOptions> parse_disk_option(std::string_view text) {
  disk::DiskOptions options;
  options.backing = disk::BackingPolicy::kOpenIfTold;
  options.write_errors = disk::WriteErrors::kWaitNoSpace;
  std::string_view rest = text;
  options.path = take_part(rest);
  if (options.path.empty()) {
    return fail(ErrorKind::kInvalid, fmt::format("--disk '{}': there is no file name", text));
  }
  while (!rest.empty()) {
    rest.remove_prefix(1);
    VMM_CHECK(apply_option(take_part(rest), options));
  }
  return options;
}

}  // namespace vmm::cli
