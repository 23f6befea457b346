// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/create_tool.h"

#include <fmt/core.h>

#include "vmm/tools/create_image.h"
#include "vmm/tools/file_name.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

Result<NewImage> new_image(const CreateConfig& config) {
  NewImage image;
  image.path = config.path;
  if (!config.format.empty()) image.format = config.format;
  for (const std::string& text : config.options) {
    VMM_TRY(const OptionList list, parse_option_list(text));
    VMM_CHECK(apply_create_options(list, image));
  }
  if (!config.backing_file.empty()) image.backing_file = config.backing_file;
  if (!config.backing_format.empty()) image.backing_format = config.backing_format;
  if (!config.size.empty()) {
    const Result<std::uint64_t> size = parse_size(config.size);
    if (!size) {
      return fail(ErrorKind::kInvalid,
                  "Invalid image size specified. You may use k, M, G, T, P or E suffixes for "
                  "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    if (image.size) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("{}: The image size must be specified only once", image.path));
    }
    image.size = *size;
  }
  return image;
}

// The backing file has to be there, and gives the size where none is asked for.
Result<void> look_at_backing(Session& session, NewImage& image) {
  if (image.backing_format.empty()) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{}: Backing file specified without backing format", image.path));
  }
  ImageOptions options;
  options.path = resolve_against(image.path, image.backing_file);
  options.format = image.backing_format;
  options.read_only = true;
  auto backing = session.open(std::move(options));
  if (!backing) {
    return Unexpected(std::move(backing).error().with_context(image.path));
  }
  if (!image.size) image.size = (*backing)->disk().size();
  return session.close(**backing);
}

Result<int> run(const CreateConfig& config, const Console& console) {
  for (const std::string& text : config.options) {
    if (!names_help(text)) continue;
    fmt::print(console.out, "{}", create_options_help(config.format));
    return 0;
  }
  VMM_TRY(NewImage image, new_image(config));
  VMM_TRY(Session session, Session::start());
  if (!image.backing_file.empty() && !config.unsafe) {
    VMM_CHECK(look_at_backing(session, image));
  }
  if (!image.size) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{}: Image creation needs a size parameter", image.path));
  }
  console.print("{}\n", describe(image));
  std::fflush(console.out);  // before what goes wrong is told on the other stream
  VMM_CHECK(session.wait(create_image(session.loop(), std::move(image))));
  return 0;
}

}  // namespace

int run_create(const CreateConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
