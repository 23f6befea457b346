// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/answer.h"

#include <algorithm>
#include <optional>

#include "vmm/bootfind/config_entry.h"
#include "vmm/core/byte_order.h"

namespace vmm::bootfind {
namespace {

constexpr std::size_t kMaxText = 64 << 10;
constexpr std::uint32_t kMaxInitrds = 16;
enum : std::uint32_t { kIsError = 0, kIsEntries = 1 };

class Writer {
 public:
  void number(std::size_t value) {
    char raw[4];
    store_le(raw, static_cast<std::uint32_t>(value));
    out_.append(raw, sizeof raw);
  }
  void text(const std::string& value) {
    const std::size_t size = std::min(value.size(), kMaxText);
    number(size);
    out_.append(value, 0, size);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// After something that is not there, everything reads as 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

  std::uint32_t number(std::uint32_t limit) {
    if (rest_.size() < 4) return bad();
    const auto value = load_le<std::uint32_t>(rest_.data());
    rest_.remove_prefix(4);
    return value <= limit ? value : bad();
  }
  std::string text() {
    const std::uint32_t size = number(kMaxText);
    if (size > rest_.size()) bad();
    if (!ok_) return "";
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return printable(value);
  }

 private:
  std::uint32_t bad() {
    ok_ = false;
    return 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

void write_entry(Writer& out, const BootEntry& entry) {
  out.number(static_cast<std::size_t>(entry.method));
  out.number(entry.is_default);
  for (const std::string* text :
       {&entry.id, &entry.title, &entry.where, &entry.kernel, &entry.command_line}) {
    out.text(*text);
  }
  out.number(entry.initrds.size());
  for (const std::string& path : entry.initrds) out.text(path);
}

BootEntry read_entry(Reader& in) {
  BootEntry entry;
  entry.method = static_cast<BootMethod>(in.number(static_cast<std::uint32_t>(BootMethod::kPlain)));
  entry.is_default = in.number(1) != 0;
  for (std::string* text :
       {&entry.id, &entry.title, &entry.where, &entry.kernel, &entry.command_line}) {
    *text = in.text();
  }
  const std::uint32_t nr_initrds = in.number(kMaxInitrds);
  for (std::uint32_t i = 0; i < nr_initrds && in.ok(); ++i) entry.initrds.push_back(in.text());
  return entry;
}

}  // namespace

std::string encode_answer(const Result<Answer>& answer) {
  Writer out;
  if (!answer) {
    out.number(kIsError);
    out.number(static_cast<std::size_t>(answer.error().kind()));
    out.text(answer.error().message());
    return out.take();
  }
  out.number(kIsEntries);
  out.number(answer->chosen);
  out.number(answer->entries.size());
  for (const BootEntry& entry : answer->entries) write_entry(out, entry);
  return out.take();
}

Result<Answer> decode_answer(std::string_view bytes) {
  Reader in(bytes);
  if (in.number(kIsEntries) == kIsError && in.ok()) {
    const auto kind =
        static_cast<ErrorKind>(in.number(static_cast<std::uint32_t>(ErrorKind::kOutOfRange)));
    std::string message = in.text();
    if (in.ok() && in.at_end()) return fail(kind, std::move(message));
  }
  Answer answer;
  answer.chosen = in.number(kMaxEntries);
  const std::uint32_t nr_entries = in.number(kMaxEntries);
  for (std::uint32_t i = 0; i < nr_entries && in.ok(); ++i)
    answer.entries.push_back(read_entry(in));
  if (!in.ok() || !in.at_end() || answer.chosen >= answer.entries.size()) {
    return fail(ErrorKind::kInvalid, "the answer makes no sense");
  }
  return answer;
}

}  // namespace vmm::bootfind
