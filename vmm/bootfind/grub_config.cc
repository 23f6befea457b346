// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/grub_config.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <span>
#include <utility>

#include "vmm/bootfind/grub_syntax.h"

namespace vmm::bootfind {
namespace {

using grub::Block;
using grub::Command;
using grub::Word;

constexpr std::size_t kMaxSteps = 100'000;   // commands run
constexpr std::size_t kMaxValue = 16 << 10;  // bytes in a variable or an argument
constexpr std::size_t kMaxLine = 64 << 10;   // bytes in the arguments of one command
constexpr std::size_t kMaxVariables = 1000;
constexpr unsigned kMaxCalls = 16;    // functions in functions, files in files
constexpr unsigned kMaxSubmenus = 4;  // one in another

using Arguments = std::vector<std::string>;

struct MenuItem {
  std::string title, id;
  std::string path;  // the ids of the submenus around it, each with a ">"
  bool submenu = false;
  std::shared_ptr<const Block> body;
  std::vector<std::size_t> children;  // indices of items, for a submenu
  std::optional<std::size_t> entry;   // index into the result, where it has a kernel
};

// What the body of one menu entry loads.
struct Loaded {
  std::string kernel, command_line, root_uuid;
  std::vector<std::string> initrds;
};

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// GRUB joins a command line again with spaces, and quotes what had some.
std::string join(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    line += word.find(' ') == std::string::npos ? word : '"' + word + '"';
  }
  return line;
}

// "(hd0,gpt2)/vmlinuz" -> "/vmlinuz"
std::string without_device(const std::string& path) {
  if (path.empty() || path[0] != '(') return path;
  const std::size_t end = path.find(')');
  return end == std::string::npos ? path : path.substr(end + 1);
}

class Interpreter {
 public:
  explicit Interpreter(const GrubInput& input) : input_(input) {
    variables_ = {{"prefix", input.prefix},
                  {"root", ""},
                  {"config_directory", input.prefix},
                  {"grub_cpu", "x86_64"},
                  {"grub_platform", "efi"},
                  {"feature_menuentry_id", "y"},
                  {"feature_menuentry_options", "y"},
                  {"feature_timeout_style", "y"},
                  {"feature_default_font_path", "y"},
                  {"feature_all_video_module", "y"},
                  {"feature_platform_search_hint", "y"},
                  {"feature_ntldr", "y"},
                  {"feature_nativedisk_cmd", "y"},
                  {"feature_200_final", "y"},
                  {"feature_chainloader_bpb", "y"}};
  }

  Result<GrubResult> run() {
    VMM_TRY(Block script, grub::parse(input_.script));
    run_block(script);
    run_submenus();
    GrubResult result;
    result.uses_bls = uses_bls_;
    result.variables = variables_;
    in_entry_ = true;
    load_menu(top_, result.config);
    result.config.default_entry = find_default();
    return result;
  }

 private:
  bool spend_step() { return ++nr_steps_ <= kMaxSteps; }

  void set(const std::string& name, std::string value) {
    if (value.size() > kMaxValue) value.resize(kMaxValue);
    if (variables_.size() < kMaxVariables || variables_.count(name) != 0) {
      variables_[name] = std::move(value);
    }
  }
  std::string get(const std::string& name) const {
    auto found = variables_.find(name);
    return found == variables_.end() ? "" : found->second;
  }

  // Appends the argument, or the arguments, that `word` gives.
  void expand(const Word& word, Arguments& out) const {
    std::string current;
    bool there = false;
    for (const grub::WordPart& part : word) {
      if (current.size() > kMaxValue) break;
      const std::string value = part.variable ? get(part.text) : part.text;
      if (!part.variable || part.quoted) {
        there = true;
        current += value;
        continue;
      }
      for (char c : value) {
        if (c != ' ' && c != '\t' && c != '\n') {
          there = true;
          current += c;
        } else if (there) {
          out.push_back(std::exchange(current, ""));
          there = false;
        }
      }
    }
    if (current.size() > kMaxValue) current.resize(kMaxValue);
    if (there) out.push_back(std::move(current));
  }

  // What goes beyond the limit is cut off.
  Arguments expand_all(const std::vector<Word>& words) const {
    Arguments arguments;
    std::size_t length = 0, counted = 0;
    for (const Word& word : words) {
      expand(word, arguments);
      for (; counted < arguments.size(); ++counted) length += arguments[counted].size() + 1;
      if (length > kMaxLine) break;
    }
    return arguments;
  }

  // The status of the last command.
  bool run_block(const Block& block) {
    bool status = true;
    for (const Command& command : block) {
      if (!spend_step()) return false;
      status = run_command(command);
    }
    return status;
  }

  bool run_command(const Command& command) {
    switch (command.kind) {
      case Command::Kind::kSimple:
        return run_simple(expand_all(command.words));
      case Command::Kind::kIf:
        for (const grub::Branch& branch : command.branches) {
          if (branch.condition.empty() || run_block(branch.condition))
            return run_block(branch.body);
        }
        return true;
      case Command::Kind::kFunction: {
        Arguments name = expand_all(command.words);
        if (!name.empty() && functions_.size() < kMaxVariables) functions_[name[0]] = command.body;
        return true;
      }
      case Command::Kind::kMenuEntry:
      case Command::Kind::kSubmenu:
        add_item(command);
        return true;
    }
    return true;
  }

  void add_item(const Command& command) {
    if (in_entry_ || items_.size() >= kMaxEntries) return;
    const Arguments words = expand_all(command.words);
    MenuItem item;
    item.submenu = command.kind == Command::Kind::kSubmenu;
    item.body = command.body;
    item.path = current_path_;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == "--id" || words[i] == "$menuentry_id_option") {
        if (i + 1 < words.size()) item.id = words[++i];
      } else if (words[i].rfind("--id=", 0) == 0) {
        item.id = words[i].substr(5);
      } else if (is_one_of(words[i], {"--class", "--users", "--hotkey", "--source"})) {
        ++i;
      } else if (words[i].rfind("--", 0) != 0 && item.title.empty()) {
        item.title = words[i];
      }
    }
    current_menu().push_back(items_.size());
    items_.push_back(std::move(item));
  }

  std::vector<std::size_t>& current_menu() { return submenu_ ? items_[*submenu_].children : top_; }

  bool run_simple(Arguments words) {
    if (words.empty()) return true;
    const std::string name = words[0];
    const std::span<const std::string> rest = std::span(words).subspan(1);
    if (const std::size_t equals = name.find('='); equals != std::string::npos && equals > 0) {
      set(name.substr(0, equals), name.substr(equals + 1));
      return true;
    }
    if (name == "[" || name == "test") {
      std::span<const std::string> terms = rest;
      if (name == "[" && !terms.empty() && terms.back() == "]")
        terms = terms.first(terms.size() - 1);
      return test(terms);
    }
    if (name == "!") return !run_simple(Arguments(rest.begin(), rest.end()));
    if (is_one_of(name, {"false", "keystatus", "cmostest"})) return false;
    if (auto function = functions_.find(name); function != functions_.end()) {
      return call(function->second, rest);
    }
    run_builtin(name, rest);
    return true;  // what is not known here succeeds in GRUB as well
  }

  bool call(std::shared_ptr<const Block> body, std::span<const std::string> arguments) {
    if (nr_calls_ >= kMaxCalls) return false;
    ++nr_calls_;
    for (std::size_t i = 0; i < 9; ++i) {
      set(std::to_string(i + 1), i < arguments.size() ? arguments[i] : "");
    }
    set("@", join(arguments));
    set("*", join(arguments));
    set("#", std::to_string(arguments.size()));
    const bool status = run_block(*body);
    --nr_calls_;
    return status;
  }

  void run_builtin(const std::string& name, std::span<const std::string> words) {
    if (name == "set") {
      if (words.empty()) return;
      const std::size_t equals = words[0].find('=');
      if (equals != std::string::npos) set(words[0].substr(0, equals), words[0].substr(equals + 1));
    } else if (name == "unset") {
      for (const std::string& word : words) variables_.erase(word);
    } else if (name == "load_env") {
      for (auto& [key, value] : parse_grub_environment(input_.environment)) set(key, value);
    } else if (is_one_of(name, {"source", ".", "configfile"})) {
      if (!words.empty()) run_file(without_device(words[0]));
    } else if (name == "search" || name.rfind("search.", 0) == 0) {
      search(name, words);
    } else if (name == "blscfg") {
      uses_bls_ = true;
    } else if (is_one_of(name, {"linux", "linux16", "linuxefi"})) {
      if (words.empty()) return;
      loaded_.kernel = without_device(words[0]);
      loaded_.command_line = join(words.subspan(1));
      if (loaded_.command_line.size() > kMaxCommandLine) loaded_.command_line.clear();
      loaded_.root_uuid = root_uuid_;
    } else if (is_one_of(name, {"initrd", "initrd16", "initrdefi"})) {
      loaded_.initrds.clear();
      for (const std::string& word : words) {
        if (loaded_.initrds.size() < 16) loaded_.initrds.push_back(without_device(word));
      }
    }
  }

  void run_file(const std::string& path) {
    if (!input_.read_file || nr_calls_ >= kMaxCalls) return;
    const std::optional<std::string> text = input_.read_file(path);
    if (!text) return;
    Result<Block> block = grub::parse(*text);
    if (!block) return;
    ++nr_calls_;
    run_block(*block);
    --nr_calls_;
  }

  // search --no-floppy --fs-uuid --set=root UUID; search.fs_uuid UUID root
  void search(const std::string& name, std::span<const std::string> words) {
    bool by_uuid = name == "search.fs_uuid";
    std::string value;
    for (const std::string& word : words) {
      if (word == "--fs-uuid" || word == "-u") {
        by_uuid = true;
      } else if (word.rfind("-", 0) != 0 && (value.empty() || name == "search")) {
        value = word;
      }
    }
    if (by_uuid) root_uuid_ = value;
  }

  // What [ ... ] says. -a binds closer than -o, as in GRUB.
  bool test(std::span<const std::string> terms) {
    bool any = false, all = true;
    std::size_t start = 0;
    for (std::size_t i = 0; i <= terms.size(); ++i) {
      const bool end = i == terms.size();
      if (!end && terms[i] != "-a" && terms[i] != "-o") continue;
      all = all && test_one(terms.subspan(start, i - start));
      if (end || terms[i] == "-o") {
        any = any || all;
        all = true;
      }
      start = i + 1;
    }
    return any;
  }

  bool test_one(std::span<const std::string> terms) {
    bool negated = false;
    while (!terms.empty() && terms[0] == "!") {
      negated = !negated;
      terms = terms.subspan(1);
    }
    return test_plain(terms) != negated;
  }

  bool test_plain(std::span<const std::string> terms) {
    if (terms.empty()) return false;
    if (terms.size() == 1) return !terms[0].empty();
    if (terms.size() == 2) {
      if (terms[0] == "-z") return terms[1].empty();
      if (terms[0] == "-n") return !terms[1].empty();
      const bool asks_file = is_one_of(terms[0], {"-e", "-f", "-s"});
      return asks_file && input_.has_file && input_.has_file(without_device(terms[1]));
    }
    const std::string& op = terms[1];
    const int order = terms[0].compare(terms[2]);
    if (op == "=" || op == "==") return order == 0;
    if (op == "!=") return order != 0;
    if (op == "<") return order < 0;
    if (op == ">") return order > 0;
    const long long a = std::strtoll(terms[0].c_str(), nullptr, 10);
    const long long b = std::strtoll(terms[2].c_str(), nullptr, 10);
    if (op == "-eq") return a == b;
    if (op == "-ne") return a != b;
    if (op == "-lt") return a < b;
    if (op == "-le") return a <= b;
    if (op == "-gt") return a > b;
    return op == "-ge" && a >= b;
  }

  static const std::string& name_of(const MenuItem& item) {
    return item.id.empty() ? item.title : item.id;
  }

  // A submenu's body adds items: those it adds are looked at in turn.
  void run_submenus() {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const std::string path = items_[i].path + name_of(items_[i]) + ">";
      const auto depth = std::count(path.begin(), path.end(), '>');
      if (!items_[i].submenu || depth > kMaxSubmenus) continue;
      submenu_ = i;
      current_path_ = path;
      const std::shared_ptr<const Block> body = items_[i].body;
      run_block(*body);
    }
    submenu_.reset();
  }

  void load_menu(const std::vector<std::size_t>& menu, BootConfig& config) {
    for (std::size_t index : menu) {
      if (items_[index].submenu) {
        load_menu(items_[index].children, config);
        continue;
      }
      loaded_ = {};
      const std::string outer_root = root_uuid_;
      set("chosen", name_of(items_[index]));
      const std::shared_ptr<const Block> body = items_[index].body;
      run_block(*body);
      root_uuid_ = outer_root;
      if (loaded_.kernel.empty()) continue;
      items_[index].entry = config.entries.size();
      config.entries.push_back({items_[index].path + name_of(items_[index]), items_[index].title,
                                loaded_.kernel, loaded_.initrds, loaded_.command_line,
                                loaded_.root_uuid});
    }
  }

  // GRUB's "default": numbers from 0, titles or ids, with ">" between the levels.
  std::size_t find_default() const {
    std::string wanted = get("default");
    const std::vector<std::size_t>* menu = &top_;
    while (true) {
      const std::size_t end = std::min(wanted.find('>'), wanted.size());
      const std::string head = wanted.substr(0, end);
      wanted.erase(0, end + 1);
      const MenuItem* item = pick(*menu, head);
      if (item == nullptr) return 0;
      if (item->entry) return *item->entry;
      if (!item->submenu) return 0;
      menu = &item->children;
    }
  }

  // The item `name` stands for; the first one where it stands for none.
  const MenuItem* pick(const std::vector<std::size_t>& menu, const std::string& name) const {
    if (menu.empty()) return nullptr;
    const bool number = !name.empty() && name.size() < 6 &&
                        name.find_first_not_of("0123456789") == std::string::npos;
    if (number) {
      const auto index = static_cast<std::size_t>(std::stoul(name));
      return &items_[menu[index < menu.size() ? index : 0]];
    }
    // An entry may have no id; an empty name is none of them.
    for (std::size_t index : name.empty() ? std::vector<std::size_t>() : menu) {
      if (items_[index].id == name || items_[index].title == name) return &items_[index];
    }
    return &items_[menu[0]];
  }

  const GrubInput& input_;
  GrubVariables variables_;
  std::map<std::string, std::shared_ptr<const Block>, std::less<>> functions_;
  std::vector<MenuItem> items_;
  std::vector<std::size_t> top_;
  std::optional<std::size_t> submenu_;  // whose body runs
  std::string current_path_;
  std::string root_uuid_;
  Loaded loaded_;
  bool in_entry_ = false;  // the menus are complete: bodies add nothing to them
  bool uses_bls_ = false;
  std::size_t nr_steps_ = 0;
  unsigned nr_calls_ = 0;
};

}  // namespace

Result<GrubResult> run_grub_config(const GrubInput& input) {
  return Interpreter(input).run();
}

GrubVariables parse_grub_environment(std::string_view text) {
  GrubVariables variables;
  while (!text.empty() && variables.size() < kMaxVariables) {
    std::string line;
    std::size_t at = 0;
    for (; at < text.size() && text[at] != '\n'; ++at) {
      if (text[at] == '\\' && at + 1 < text.size()) ++at;
      line += text[at];
    }
    text.remove_prefix(std::min(at + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (line.empty() || line[0] == '#' || equals == std::string::npos) continue;
    variables[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return variables;
}

std::string expand_variables(std::string_view text, const GrubVariables& variables) {
  std::string out;
  for (std::size_t at = 0; at < text.size() && out.size() < kMaxValue;) {
    if (text[at] != '$') {
      out += text[at++];
      continue;
    }
    const bool braces = at + 1 < text.size() && text[at + 1] == '{';
    const std::size_t start = at + (braces ? 2 : 1);
    std::size_t end = start;
    while (end < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) {
      ++end;
    }
    if (end == start) {
      out += text[at++];
      continue;
    }
    auto found = variables.find(text.substr(start, end - start));
    if (found != variables.end()) out += found->second;
    at = end + (braces && end < text.size() && text[end] == '}' ? 1 : 0);
  }
  return out;
}

}  // namespace vmm::bootfind
