// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/io_shell.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "vmm/tools/image_name.h"
#include "vmm/tools/io_command.h"

namespace vmm::tools {

namespace {

constexpr std::size_t kMisalignment = 16;  // bytes

// The input's next line without its newline; false at the end.
bool read_line(std::FILE* in, std::string& line) {
  char* raw = nullptr;
  std::size_t capacity = 0;
  const ssize_t length = getline(&raw, &capacity, in);
  const std::unique_ptr<char, decltype(&std::free)> owner(raw, &std::free);
  if (length < 0) return false;
  line.assign(raw, static_cast<std::size_t>(length));
  if (!line.empty() && line.back() == '\n') line.pop_back();
  return true;
}

void complain_about_count(std::FILE* err, const IoCommand& command, const IoWords& words) {
  fmt::print(err, "bad argument count {} to {}, expected ", words.size() - 1, words[0]);
  if (command.max_arguments == IoCommand::kManyArguments) {
    fmt::print(err, "at least {} arguments\n", command.min_arguments);
  } else if (command.min_arguments == command.max_arguments) {
    fmt::print(err, "{} arguments\n", command.min_arguments);
  } else {
    fmt::print(err, "between {} and {} arguments\n", command.min_arguments, command.max_arguments);
  }
}

}  // namespace

IoShell::IoShell(EventLoop& loop, Console console, Settings settings)
    : loop_(loop), console_(std::move(console)), settings_(std::move(settings)), gate_(loop) {
}

IoShell::~IoShell() {
  close();
}

bool IoShell::open(ImageOptions options) {
  if (image_) {
    console_.error("file open already, try 'help close'");
    return false;
  }
  const std::string path = options.path;
  if (Result<void> named = resolve_image_name(options); !named) {
    console_.error("can't open device {}: {}", path, named.error().message());
    return false;
  }
  auto image = wait(OpenedImage::open(loop_, std::move(options)));
  if (!image) {
    console_.error("can't open device {}: {}", path, image.error().message());
    return false;
  }
  image_ = std::move(*image);
  return true;
}

bool IoShell::close() {
  if (!image_) return true;
  drain();
  const Result<void> closed = wait(image_->disk().close());
  image_.reset();
  if (!closed) console_.error(closed.error());
  return closed.has_value();
}

void IoShell::drain() {
  wait(gate_.close());
  gate_.reopen();
}

bool IoShell::run_line(std::string_view line) {
  const IoWords words = split_words(line);
  if (words.empty()) return true;
  const IoCommand* command = find_io_command(words[0]);
  if (command == nullptr) {
    fmt::print(console_.err, "command \"{}\" not found\n", words[0]);
    return false;
  }
  if (command->needs != IoCommand::Needs::kNothing && !image_) {
    fmt::print(console_.err, "no file open, try 'help open'\n");
    return false;
  }
  const auto nr_arguments = static_cast<int>(words.size() - 1);
  if (nr_arguments < command->min_arguments ||
      (command->max_arguments != IoCommand::kManyArguments &&
       nr_arguments > command->max_arguments)) {
    complain_about_count(console_.err, *command, words);
    return false;
  }
  if (command->needs == IoCommand::Needs::kWritableImage && image_->disk().read_only()) {
    console_.error("Block node is read-only");
    return false;
  }
  return command->run(*this, *command, words);
}

bool IoShell::run_script() {
  const bool prompting = isatty(fileno(console_.in)) == 1;
  bool ok = true;
  std::string line;
  while (!quit_) {
    if (prompting) {
      fmt::print(console_.out, "{}> ", console_.program);
      std::fflush(console_.out);
    }
    if (!read_line(console_.in, line)) break;
    ok &= run_line(line);
  }
  return ok;
}

std::shared_ptr<IoBuffer> IoShell::buffer(std::uint64_t size, int pattern) const {
  const std::size_t skip = settings_.misalign ? kMisalignment : 0;
  auto buffer = std::make_shared<IoBuffer>(IoBuffer{AlignedBuffer(size + skip), {}});
  if (!buffer->memory) {
    fmt::print(console_.err, "no memory for {} bytes\n", size);
    return nullptr;
  }
  buffer->memory.fill(static_cast<std::byte>(pattern));
  buffer->bytes = buffer->memory.span().subspan(skip);
  return buffer;
}

bool IoShell::failed(const char* what, const Error& error) const {
  // Beyond the end is an I/O error to those who compare the line.
  const int err = error.kind() == ErrorKind::kOutOfRange ? EIO : error.to_errno();
  fmt::print(console_.out, "{} failed: {}\n", what, std::strerror(err));
  return false;
}

}  // namespace vmm::tools
