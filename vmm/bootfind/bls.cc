// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/bls.h"

#include <fnmatch.h>

#include <algorithm>
#include <optional>

#include "vmm/bootfind/text_lines.h"
#include "vmm/bootfind/version_order.h"

namespace vmm::bootfind {
namespace {

struct BlsEntry {
  ConfigEntry entry;
  std::string sort_key, machine_id, version;
  bool tries_used_up = false;
};

// "name+LEFT-DONE.conf" counts boot attempts; with none left the entry is bad.
struct Stem {
  std::string id;
  bool tries_used_up = false;
};

Stem stem_of(const std::string& file_name) {
  Stem stem{file_name.substr(0, file_name.size() - 5), false};
  const std::size_t plus = stem.id.rfind('+');
  if (plus == std::string::npos) return stem;
  const std::string tries = stem.id.substr(plus + 1);
  if (tries.empty() || tries.find_first_not_of("0123456789-") != std::string::npos) return stem;
  stem.tries_used_up = tries == "0" || tries.rfind("0-", 0) == 0;
  stem.id.erase(plus);
  return stem;
}

void append_with_space(std::string& line, std::string_view more) {
  if (more.empty() || line.size() + more.size() > kMaxCommandLine) return;
  if (!line.empty()) line += ' ';
  line += more;
}

std::string absolute(std::string path) {
  return path.empty() || path[0] == '/' ? path : "/" + path;
}

std::optional<BlsEntry> parse(const BlsFile& file, const GrubVariables& variables) {
  if (file.name.size() < 6 || file.name.substr(file.name.size() - 5) != ".conf")
    return std::nullopt;
  BlsEntry bls;
  const Stem stem = stem_of(file.name);
  bls.entry.id = stem.id;
  bls.tries_used_up = stem.tries_used_up;
  for (const KeyLine& line : key_lines(file.text)) {
    const std::string value = expand_variables(line.value, variables);
    if (line.key == "title") {
      bls.entry.title = value;
    } else if (line.key == "version") {
      bls.version = value;
    } else if (line.key == "sort-key") {
      bls.sort_key = value;
    } else if (line.key == "machine-id") {
      bls.machine_id = value;
    } else if (line.key == "architecture") {
      if (lower_case(value) != "x64") return std::nullopt;
    } else if (line.key == "linux") {
      bls.entry.kernel = absolute(value);
    } else if (line.key == "initrd") {
      for (std::string& path : split_words(value)) {
        if (bls.entry.initrds.size() < 16) bls.entry.initrds.push_back(absolute(std::move(path)));
      }
    } else if (line.key == "options") {
      append_with_space(bls.entry.command_line, value);
    }
  }
  if (bls.entry.kernel.empty()) return std::nullopt;
  if (bls.entry.title.empty()) bls.entry.title = bls.entry.id;
  return bls;
}

// Whether a comes before b in the menu ("Sorting" in the specification).
bool comes_first(const BlsEntry& a, const BlsEntry& b) {
  if (a.tries_used_up != b.tries_used_up) return b.tries_used_up;
  if (a.sort_key.empty() != b.sort_key.empty()) return !a.sort_key.empty();
  if (a.sort_key != b.sort_key) return a.sort_key < b.sort_key;
  if (!a.sort_key.empty()) {
    if (a.machine_id != b.machine_id) return a.machine_id < b.machine_id;
    if (int order = compare_versions(a.version, b.version)) return order > 0;
  }
  return compare_versions(a.entry.id, b.entry.id) > 0;
}

bool is_wanted(const ConfigEntry& entry, const std::string& wanted) {
  // systemd-boot's pattern is for the file's name; GRUB's saved_entry has no ".conf".
  return entry.id == wanted || entry.title == wanted ||
         ::fnmatch(wanted.c_str(), (entry.id + ".conf").c_str(), FNM_CASEFOLD) == 0 ||
         ::fnmatch(wanted.c_str(), entry.id.c_str(), FNM_CASEFOLD) == 0;
}

}  // namespace

BootConfig read_bls(const std::vector<BlsFile>& files, const GrubVariables& variables,
                    std::string_view wanted) {
  std::vector<BlsEntry> found;
  for (const BlsFile& file : files) {
    if (found.size() >= kMaxEntries) break;
    if (std::optional<BlsEntry> entry = parse(file, variables)) found.push_back(std::move(*entry));
  }
  std::stable_sort(found.begin(), found.end(), comes_first);

  BootConfig config;
  const std::string pattern = std::string(wanted.substr(0, 256));
  bool chosen = pattern.empty();
  for (BlsEntry& bls : found) {
    if (!chosen && is_wanted(bls.entry, pattern)) {
      config.default_entry = config.entries.size();
      chosen = true;
    }
    config.entries.push_back(std::move(bls.entry));
  }
  return config;
}

std::string loader_conf_default(std::string_view text) {
  std::string value;
  for (const KeyLine& line : key_lines(text)) {
    if (line.key == "default") value = line.value;
  }
  return !value.empty() && value[0] == '@' ? "" : value;  // @saved: in an EFI variable
}

}  // namespace vmm::bootfind
