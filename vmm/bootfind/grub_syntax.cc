// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/grub_syntax.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace vmm::bootfind::grub {
namespace {

constexpr unsigned kMaxDepth = 32;
constexpr std::size_t kMaxCommands = 20000;

struct Token {
  enum class Kind { kWord, kEnd, kLineEnd };  // kLineEnd: a newline or ";"
  Kind kind = Kind::kEnd;
  Word word;
  unsigned line = 0;

  // The word where it is one plain literal, as reserved words must be.
  std::string_view literal() const {
    const bool plain =
        kind == Kind::kWord && word.size() == 1 && !word[0].variable && !word[0].quoted;
    return plain ? std::string_view(word[0].text) : std::string_view();
  }
};

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Token next() {
    skip_blank();
    Token token;
    token.line = line_;
    if (at_end()) return token;
    if (peek() == '\n' || peek() == ';') {
      line_ += text_[at_++] == '\n';
      token.kind = Token::Kind::kLineEnd;
      return token;
    }
    token.kind = Token::Kind::kWord;
    // "&&", "||", "&", "|", "<", ">" are not in what grub-mkconfig writes: parts of a word here.
    while (!at_end() && !ends_word(peek())) read_part(token.word);
    return token;
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return text_[at_]; }
  static bool ends_word(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';';
  }

  void skip_blank() {
    while (!at_end()) {
      if (peek() == ' ' || peek() == '\t' || peek() == '\r') {
        ++at_;
      } else if (text_.substr(at_, 2) == "\\\n") {
        at_ += 2;
        ++line_;
      } else if (peek() == '#') {
        while (!at_end() && peek() != '\n') ++at_;
      } else {
        return;
      }
    }
  }

  static void add_literal(Word& word, std::string_view text, bool quoted) {
    if (!word.empty() && !word.back().variable && word.back().quoted == quoted) {
      word.back().text += text;
    } else {
      word.push_back({std::string(text), false, quoted});
    }
  }

  void read_part(Word& word) {
    const char c = text_[at_];
    if (c == '\'') {
      const std::size_t end = std::min(text_.find('\'', at_ + 1), text_.size());
      take_quoted_literal(word, text_.substr(at_ + 1, end - at_ - 1));
      at_ = end + 1;
    } else if (c == '"') {
      ++at_;
      read_double_quoted(word);
    } else if (c == '$') {
      read_variable(word, false);
    } else if (c == '\\') {
      ++at_;
      if (at_end()) return;
      if (peek() != '\n') add_literal(word, text_.substr(at_, 1), true);
      line_ += text_[at_++] == '\n';
    } else {
      add_literal(word, text_.substr(at_++, 1), false);
    }
  }

  void take_quoted_literal(Word& word, std::string_view text) {
    for (char c : text) line_ += c == '\n';
    add_literal(word, text, true);
  }

  void read_double_quoted(Word& word) {
    add_literal(word, "", true);  // "" is a word
    while (!at_end() && peek() != '"') {
      if (peek() == '$') {
        read_variable(word, true);
        continue;
      }
      if (peek() == '\\' && at_ + 1 < text_.size() &&
          std::string_view("$\"\\\n").find(text_[at_ + 1]) != std::string_view::npos) {
        ++at_;
        if (peek() == '\n') {
          ++line_;
          ++at_;
          continue;
        }
      }
      line_ += peek() == '\n';
      add_literal(word, text_.substr(at_++, 1), true);
    }
    ++at_;
  }

  void read_variable(Word& word, bool quoted) {
    ++at_;  // "$"
    if (!at_end() && peek() == '{') {
      const std::size_t end = std::min(text_.find('}', at_), text_.size());
      word.push_back({std::string(text_.substr(at_ + 1, end - at_ - 1)), true, quoted});
      at_ = end + 1;
      return;
    }
    std::size_t end = at_;
    if (end < text_.size() && std::string_view("?*#@").find(text_[end]) != std::string_view::npos) {
      ++end;
    } else {
      while (end < text_.size() && is_name_char(text_[end])) ++end;
    }
    if (end == at_) {
      add_literal(word, "$", quoted);
    } else {
      word.push_back({std::string(text_.substr(at_, end - at_)), true, quoted});
    }
    at_ = end;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
};

class Parser {
 public:
  explicit Parser(std::string_view script) : lexer_(script) { advance(); }

  Result<Block> parse_all() {
    VMM_TRY(Block block, parse_block({}));
    if (token_.kind != Token::Kind::kEnd) return complain("is not expected");
    return block;
  }

 private:
  void advance() { token_ = lexer_.next(); }

  Unexpected<Error> complain(std::string_view what) const {
    return fail(
        ErrorKind::kInvalid,
        fmt::format("line {}: \"{}\" {}", token_.line,
                    token_.kind == Token::Kind::kEnd ? "the end of the file" : token_.literal(),
                    what));
  }

  bool at_one_of(std::initializer_list<std::string_view> words) const {
    for (std::string_view word : words) {
      if (token_.literal() == word) return true;
    }
    return false;
  }

  Result<void> expect(std::string_view word) {
    while (token_.kind == Token::Kind::kLineEnd) advance();
    if (token_.literal() != word) return complain(fmt::format("where \"{}\" was expected", word));
    advance();
    return {};
  }

  // Commands up to one of `ends` (which stays), or the end.
  Result<Block> parse_block(std::initializer_list<std::string_view> ends) {
    if (++depth_ > kMaxDepth) return complain("is nested too deeply");
    Block block;
    while (token_.kind != Token::Kind::kEnd && !at_one_of(ends)) {
      if (token_.kind == Token::Kind::kLineEnd) {
        advance();
        continue;
      }
      if (++nr_commands_ > kMaxCommands) return complain("is one command too many");
      VMM_TRY(std::optional<Command> command, parse_command());
      if (command) block.push_back(std::move(*command));
    }
    --depth_;
    return block;
  }

  Result<std::optional<Command>> parse_command() {
    if (at_one_of({"if"})) return parse_if();
    if (at_one_of({"function", "menuentry", "submenu"})) return parse_braced();
    if (at_one_of({"for", "while", "until"})) return skip_loop();
    Command command;
    while (token_.kind == Token::Kind::kWord && !(token_.literal() == "}")) {
      command.words.push_back(std::move(token_.word));
      advance();
    }
    if (command.words.empty()) return complain("is not expected");
    return std::optional(std::move(command));
  }

  Result<std::optional<Command>> parse_if() {
    Command command;
    command.kind = Command::Kind::kIf;
    do {
      advance();  // "if", "elif"
      Branch branch;
      VMM_TRY(branch.condition, parse_block({"then"}));
      VMM_CHECK(expect("then"));
      VMM_TRY(branch.body, parse_block({"elif", "else", "fi"}));
      command.branches.push_back(std::move(branch));
    } while (at_one_of({"elif"}));
    if (at_one_of({"else"})) {
      advance();
      Branch branch;
      VMM_TRY(branch.body, parse_block({"fi"}));
      command.branches.push_back(std::move(branch));
    }
    VMM_CHECK(expect("fi"));
    return std::optional(std::move(command));
  }

  Result<std::optional<Command>> parse_braced() {
    Command command;
    command.kind = at_one_of({"function"})    ? Command::Kind::kFunction
                   : at_one_of({"menuentry"}) ? Command::Kind::kMenuEntry
                                              : Command::Kind::kSubmenu;
    advance();
    while (token_.kind == Token::Kind::kWord && !at_one_of({"{"})) {
      command.words.push_back(std::move(token_.word));
      advance();
    }
    VMM_CHECK(expect("{"));
    VMM_TRY(Block body, parse_block({"}"}));
    VMM_CHECK(expect("}"));
    command.body = std::make_shared<const Block>(std::move(body));
    return std::optional(std::move(command));
  }

  Result<std::optional<Command>> skip_loop() {
    advance();
    VMM_TRY(Block head, parse_block({"do"}));
    VMM_CHECK(expect("do"));
    VMM_TRY(Block body, parse_block({"done"}));
    VMM_CHECK(expect("done"));
    return std::optional<Command>();
  }

  Lexer lexer_;
  Token token_;
  unsigned depth_ = 0;
  std::size_t nr_commands_ = 0;
};

}  // namespace

Result<Block> parse(std::string_view script) {
  return Parser(script).parse_all();
}

}  // namespace vmm::bootfind::grub
