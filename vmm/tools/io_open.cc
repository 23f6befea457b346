// SPDX-License-Identifier: Apache-2.0
// open, close and reopen.
#include <fmt/core.h>

#include "vmm/tools/io_transfer.h"

namespace vmm::tools {

namespace {

// Puts the options of one -o into `image`; false with a line on `err`.
bool add_driver_options(const Console& console, const std::string& text, ImageOptions& image) {
  const Result<void> added = parse_driver_options(text, image);
  if (!added) console.error(added.error());
  return added.has_value();
}

bool set_cache_mode(const Console& console, const std::string& word, ImageOptions& image) {
  const Result<CacheMode> mode = parse_cache_mode(word);
  if (!mode) {
    console.error("Invalid cache option: {}", word);
    return false;
  }
  image.cache = *mode;
  return true;
}

}  // namespace

namespace io_commands_impl {

bool open(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  ImageOptions image;
  OptionReader options(words, "snCro:ki:t:d:U", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 's':
        image.snapshot = true;
        break;
      case 'n':
        image.cache = {.direct = true};
        break;
      case 'C':
        console.error("copy on read (-C) is not supported");
        return false;
      case 'r':
        image.read_only = true;
        break;
      case 'k':
        break;
      case 'U':
        image.force_share = true;
        break;
      case 't':
        if (!set_cache_mode(console, options.value(), image)) return false;
        break;
      case 'd':
        if (!parse_discard_mode(options.value(), image)) {
          console.error("Invalid discard option: {}", options.value());
          return false;
        }
        break;
      case 'i':
        if (!is_aio_mode(options.value())) {
          console.error("Invalid aio option: {}", options.value());
          return false;
        }
        break;
      case 'o':
        if (!add_driver_options(console, options.value(), image)) return false;
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  const auto& operands = options.operands();
  if (operands.size() == 1 && image.path.empty()) {
    image.path = operands[0];
  } else if (operands.size() == 1) {
    console.error(
        "can't open device {}: Can't specify 'file' and 'filename' options at the same "
        "time",
        operands[0]);
    return false;
  } else if (!operands.empty() || image.path.empty()) {
    return print_usage(console.out, command);
  }
  return shell.open(std::move(image));
}

bool close(IoShell& shell, const IoCommand&, const IoWords&) {
  return shell.close();
}

bool reopen(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  const ImageOptions before = shell.image()->options();
  ImageOptions image = before;
  bool mode_given = false;
  OptionReader options(words, "c:o:rw", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'c':
        if (!set_cache_mode(console, options.value(), image)) return false;
        break;
      case 'o':
        if (!add_driver_options(console, options.value(), image)) return false;
        break;
      case 'r':
      case 'w':
        if (mode_given) {
          console.error("Only one -r/-w option may be given");
          return false;
        }
        mode_given = true;
        image.read_only = letter == 'r';
        if (letter == 'w') image.force_share = false;  // only readers may look past a lock
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  if (!options.operands().empty()) return print_usage(console.out, command);
  if (!shell.close()) return false;
  if (shell.open(std::move(image))) return true;
  shell.open(before);  // as it was; where that fails too, nothing is open
  return false;
}

}  // namespace io_commands_impl
}  // namespace vmm::tools
