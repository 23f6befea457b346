// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/disk.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "vmm/tools/image_name.h"
#include "vmm/version.h"

namespace vmm::cli {

namespace {

constexpr Command kCommands[] = {
    {"bench", "Measure how fast an image serves requests", disk_bench_command},
    {"check", "Look whether an image contradicts itself, and repair it", disk_check_command},
    {"commit", "Write what an overlay changed into its backing file", disk_commit_command},
    {"compare", "Look whether two images hold the same", disk_compare_command},
    {"convert", "Copy images into a new one, in any format", disk_convert_command},
    {"create", "Make an empty image", disk_create_command},
    {"dd", "Copy a part of an image into a new one", disk_dd_command},
    {"info", "Tell what an image says of itself", disk_info_command},
    {"io", "Read and write an image by short commands, like qemu-io", disk_io_command},
    {"map", "List where the bytes of an image are stored", disk_map_command},
    {"measure", "Tell how large the file of a new image will be", disk_measure_command},
    {"rebase", "Give an overlay another backing file", disk_rebase_command},
    {"resize", "Change the virtual size of an image", disk_resize_command},
    {"snapshot", "List, make, apply and delete snapshots inside an image", disk_snapshot_command},
};

// Whose options the tools take.
constexpr const char* kQemuVersion = "7.2.0";

// The words of the long options that `--text` may stand for: its own where it is one.
std::vector<std::string> long_options_like(const CLI::App& app, std::string_view text) {
  std::vector<std::string> found;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (name == text) return {name};
      if (name.starts_with(text)) found.push_back(name);
    }
  }
  return found;
}

// Writes abbreviated long options in full, as getopt_long() takes them: `--back` for
// `--backing-chain`. What is not clear stays as it is, and parse() refuses it.
std::vector<std::string> in_full(const CLI::App& app, std::span<char* const> values) {
  std::vector<std::string> words(values.begin(), values.end());
  for (std::string& word : words) {
    if (word == "--") break;
    if (!word.starts_with("--")) continue;
    const std::size_t end = std::min(word.find('='), word.size());
    const auto names = long_options_like(app, std::string_view(word).substr(2, end - 2));
    if (names.size() == 1) word.replace(2, end - 2, names.front());
  }
  return words;
}

// Takes the options that stand before the command off `values`: only -T, which has no effect.
std::span<char* const> without_trace(std::span<char* const> values) {
  while (!values.empty()) {
    const std::string_view word = values[0];
    const bool apart = word == "-T" || word == "--trace";
    if (!apart && !word.starts_with("-T") && !word.starts_with("--trace=")) break;
    values = values.subspan(std::min<std::size_t>(apart ? 2 : 1, values.size()));
  }
  return values;
}

}  // namespace

Result<int> disk_command(const Arguments& arguments) {
  const std::span<char* const> values = without_trace(arguments.values);
  if (!values.empty() && is_version_flag(values[0])) return print_version(arguments.program);
  return dispatch("Makes, inspects, converts and exercises disk images.", kCommands,
                  {arguments.program, values});
}

bool is_version_flag(std::string_view word) {
  return word == "-V" || word == "--version";
}

int print_version(std::string_view program) {
  if (program == "qemu-img" || program == "qemu-io") {
    fmt::print("{} version {} (vmm {})\n", program, kQemuVersion, kVersion);
  } else {
    fmt::print("{} {}, with the options of qemu {}\n", program, kVersion, kQemuVersion);
  }
  return kExitSuccess;
}

bool read_names(const tools::Console& console, std::initializer_list<tools::ImageOptions*> images) {
  for (tools::ImageOptions* image : images) {
    const std::string name = image->path;
    if (Result<void> read = tools::resolve_image_name(*image); !read) {
      console.error("Could not open '{}': {}", name, read.error().message());
      return false;
    }
  }
  return true;
}

std::optional<int> parse_tool(CLI::App& app, const Arguments& arguments) {
  const std::vector<std::string> words = in_full(app, arguments.values);
  std::vector<char*> values;
  for (const std::string& word : words) values.push_back(const_cast<char*>(word.c_str()));
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 1) {
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
  }
  const std::optional<int> status = parse(app, {arguments.program, values});
  return status == kExitUsage ? kExitFailure : status;
}

}  // namespace vmm::cli
