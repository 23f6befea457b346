// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/syslinux_config.h"

#include <algorithm>
#include <utility>

#include "vmm/bootfind/text_lines.h"

namespace vmm::bootfind {
namespace {

struct Label {
  ConfigEntry entry;
  std::string append;
  bool is_default = false;
};

// The command line without the initrd= words, whose files go to `initrds`.
std::string take_initrds(const std::string& append, std::vector<std::string>& initrds) {
  std::string line;
  for (const std::string& word : split_words(append)) {
    if (word.rfind("initrd=", 0) == 0) {
      for (std::string& path : split(word.substr(7), ',')) initrds.push_back(std::move(path));
      continue;
    }
    if (line.size() + word.size() > kMaxCommandLine) break;
    if (!line.empty()) line += ' ';
    line += word;
  }
  return line;
}

class Reader {
 public:
  explicit Reader(const std::string& directory) : directory_(directory) {}

  void read(const KeyLine& line) {
    const std::string key = lower_case(line.key);
    std::string value(line.value);
    if (key == "label") {
      if (labels_.size() >= kMaxEntries) return;
      labels_.emplace_back();
      labels_.back().entry.id = labels_.back().entry.title = std::move(value);
    } else if (key == "default" && labels_.empty()) {
      default_ = std::move(value);
    } else if (key == "append") {
      (labels_.empty() ? append_ : labels_.back().append) = std::move(value);
    } else if (!labels_.empty()) {
      read_in_label(key, std::move(value));
    }
  }

  BootConfig finish() {
    BootConfig config;
    for (Label& label : labels_) {
      if (label.entry.kernel.empty()) continue;
      ConfigEntry entry = std::move(label.entry);
      // "APPEND -" in a label takes the global one back.
      const std::string append = label.append.empty() ? append_ : label.append;
      entry.command_line = take_initrds(append == "-" ? "" : append, entry.initrds);
      if (entry.initrds.size() > 16) entry.initrds.resize(16);
      entry.kernel = absolute(entry.kernel);
      for (std::string& path : entry.initrds) path = absolute(path);
      // MENU DEFAULT goes before DEFAULT, which may name the menu program.
      const bool named = !has_menu_default_ && entry.id == default_;
      if (label.is_default || named) config.default_entry = config.entries.size();
      config.entries.push_back(std::move(entry));
    }
    return config;
  }

 private:
  void read_in_label(const std::string& key, std::string value) {
    Label& label = labels_.back();
    if (key == "linux" || key == "kernel") {
      label.entry.kernel = std::move(value);
    } else if (key == "initrd") {
      label.entry.initrds = split(value, ',');
    } else if (key == "menu") {
      const std::vector<std::string> words = split_words(value);
      if (words.empty()) return;
      if (lower_case(words[0]) == "default") label.is_default = has_menu_default_ = true;
      if (lower_case(words[0]) == "label") set_title(label, value.substr(5));
    }
  }

  // A "^" in front of a letter makes it the hot key.
  static void set_title(Label& label, std::string text) {
    text.erase(std::remove(text.begin(), text.end(), '^'), text.end());
    text.erase(0, text.find_first_not_of(" \t"));
    if (!text.empty()) label.entry.title = std::move(text);
  }

  std::string absolute(const std::string& path) const {
    if (!path.empty() && path[0] == '/') return path;
    return directory_ + (directory_ == "/" ? "" : "/") + path;
  }

  const std::string directory_;
  std::vector<Label> labels_;
  std::string default_, append_;
  bool has_menu_default_ = false;
};

}  // namespace

BootConfig parse_syslinux_config(std::string_view text, const std::string& directory) {
  Reader reader(directory);
  for (const KeyLine& line : key_lines(text)) reader.read(line);
  return reader.finish();
}

}  // namespace vmm::bootfind
