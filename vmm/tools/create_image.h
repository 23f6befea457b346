// SPDX-License-Identifier: Apache-2.0
// Making new images, with the options of `qemu-img create -o`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "disk/qcow/header.h"
#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/task.h"
#include "vmm/tools/option_list.h"

namespace vmm::tools {

// As asked for; what is not set is left to the format.
struct NewImage {
  std::string path;
  std::string format = "raw";
  std::optional<std::uint64_t> size;  // virtual, bytes
  std::string backing_file;           // as it is to stand in the image
  std::string backing_format;
  OptionList options;  // of -o; those with a field above are not in here
};

// Sorts the options of -o into `image`. Fails for names and values the format does not know.
Result<void> apply_create_options(const OptionList& options, NewImage& image);

// What -o takes for a format, a line each; `help` and `?` as an option ask for it.
std::string create_options_help(const std::string& format);
bool names_help(const std::string& options);

// "Formatting 'x', fmt=qcow2 cluster_size=65536 ...".
std::string describe(const NewImage& image);

// What of `image` can be said without the file. They fail for options that the format refuses.
Result<disk::qcow::Header> qcow2_header_of(const NewImage& image);
Result<void> check_raw_options(const NewImage& image);
std::string preallocation_of(const NewImage& image);  // "off" where nothing is said

// Makes the file, or empties it. `image.size` is there.
Task<Result<void>> create_image(EventLoop& loop, NewImage image);

}  // namespace vmm::tools
