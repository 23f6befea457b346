// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/convert_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>

#include "vmm/tools/copy_image.h"
#include "vmm/tools/create_image.h"
#include "vmm/tools/file_name.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"
#include "vmm/tools/snapshot_choice.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes
constexpr unsigned kMaxWorkers = 16;

using Sources = std::vector<std::unique_ptr<OpenedImage>>;

Result<CacheMode> cache_mode(const std::string& word, const char* fallback, const char* which) {
  const Result<CacheMode> mode = parse_cache_mode(word.empty() ? fallback : word);
  if (mode) return *mode;
  return fail(ErrorKind::kInvalid, fmt::format("Invalid {} cache option: {}", which, word));
}

// Where the target has a backing file, `backing_size` is that file's.
Result<CopyConfig> copy_config(const ConvertConfig& config,
                               std::optional<std::uint64_t> backing_size) {
  CopyConfig copy;
  copy.nr_workers = config.nr_workers;
  copy.in_order = !config.out_of_order;
  copy.compressed = config.compressed;
  copy.skip_backing = backing_size.has_value();
  if (backing_size) {
    copy.target_zero_from = *backing_size;
  } else if (config.no_create && !config.target_is_zero) {
    copy.target_zero_from = CopyConfig::kNowhere;
  }
  if (config.nr_workers < 1 || config.nr_workers > kMaxWorkers) {
    return fail(ErrorKind::kInvalid,
                "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
  }
  if (!config.rate.empty()) {
    VMM_TRY(copy.max_bytes_per_second, parse_rate(config.rate));
  }
  if (config.target_is_zero && !config.no_create) {
    return fail(ErrorKind::kInvalid, "--target-is-zero requires use of -n flag");
  }
  if (!config.sparse_size.empty()) {
    const Result<std::uint64_t> size = parse_size(config.sparse_size);
    if (!size || *size % kSector != 0 || *size > (16U << 20)) {
      return fail(ErrorKind::kInvalid,
                  "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
                  "512 up to 16777216. Select 0 to disable sparse detection (fully allocates "
                  "output).");
    }
    copy.sparse_size = *size;
  }
  return copy;
}

Result<Sources> open_sources(Session& session, const ConvertConfig& config) {
  Sources sources;
  ImageOptions options;
  options.format = config.source_format;
  options.read_only = true;
  options.force_share = config.force_share;
  VMM_TRY(options.cache, cache_mode(config.source_cache, "writeback", "source"));
  for (std::size_t i = 0; i + 1 < config.files.size(); ++i) {
    options.path = config.files[i];
    options.is_option_list = config.source_image_opts;
    VMM_TRY(auto image, session.open(options));
    sources.push_back(std::move(image));
  }
  if (!config.snapshot.empty()) {
    VMM_TRY(const SnapshotChoice choice, parse_snapshot_choice(config.snapshot));
    VMM_CHECK(show_snapshot(session, *sources.front(), choice));
  }
  return sources;
}

Result<NewImage> new_image(const ConvertConfig& config, std::uint64_t size) {
  NewImage image;
  image.path = config.files.back();
  if (!config.target_format.empty()) image.format = config.target_format;
  for (const std::string& text : config.options) {
    VMM_TRY(const OptionList list, parse_option_list(text));
    VMM_CHECK(apply_create_options(list, image));
  }
  if (!config.backing_file.empty()) image.backing_file = config.backing_file;
  if (!config.backing_format.empty()) image.backing_format = config.backing_format;
  if (!image.backing_file.empty() && config.files.size() > 2) {
    return fail(ErrorKind::kInvalid,
                "Having a backing file for the target makes no sense when concatenating multiple "
                "input images");
  }
  if (!image.backing_file.empty() && image.backing_format.empty() && !config.no_create) {
    return fail(ErrorKind::kInvalid, "Use of backing file requires explicit backing format: -F");
  }
  if (!image.size) image.size = size;
  return image;
}

// Nothing where the target shall have none.
Result<std::optional<std::uint64_t>> size_of_backing(Session& session, const NewImage& target) {
  if (target.backing_file.empty()) return std::optional<std::uint64_t>();
  ImageOptions options;
  options.path = resolve_against(target.path, target.backing_file);
  options.format = target.backing_format;
  options.read_only = true;
  VMM_TRY(const auto backing, session.open(std::move(options)));
  const std::uint64_t size = backing->disk().size();
  VMM_CHECK(session.close(*backing));
  return std::optional(size);
}

Result<std::unique_ptr<OpenedImage>> open_target(Session& session, const ConvertConfig& config,
                                                 NewImage image, std::uint64_t size) {
  ImageOptions options;
  options.path = image.path;
  options.is_option_list = config.target_image_opts;
  options.format = image.format;
  options.discard_unmap = true;
  // What a half-made copy holds is of no use to anybody: nothing has to be durable before the end.
  VMM_TRY(options.cache, cache_mode(config.target_cache, "unsafe", "output"));
  if (!config.no_create) {
    VMM_CHECK(session.wait(create_image(session.loop(), std::move(image))));
  } else if (config.target_format.empty()) {
    options.format.clear();
  }
  VMM_TRY(auto target, session.open(std::move(options)));
  if (target->disk().size() < size) {
    return fail(ErrorKind::kInvalid, fmt::format("output file is smaller than input file: {} < {}",
                                                 target->disk().size(), size));
  }
  if (config.compressed && !target->can_compress()) {
    return fail(ErrorKind::kUnsupported, "Compression not supported for this file format");
  }
  return target;
}

std::function<void(std::uint64_t, const Error&)> warn_of_unreadable(const Console& console) {
  return [&console](std::uint64_t offset, const Error& error) {
    if (!console.quiet) {
      console.error("warning: error while reading offset {}: {}", offset, error.message());
    }
  };
}

bool asks_for_help(const ConvertConfig& config) {
  return std::any_of(config.options.begin(), config.options.end(), names_help);
}

Result<int> run(const ConvertConfig& config, const Console& console) {
  if (asks_for_help(config)) {
    fmt::print(console.out, "{}", create_options_help(config.target_format));
    return 0;
  }
  if (config.files.size() < 2) {
    return fail(ErrorKind::kInvalid, "Must specify image file name: a source, and a target");
  }
  VMM_CHECK(copy_config(config, {}));  // before anything is opened
  if (config.target_image_opts && !config.no_create) {
    return fail(ErrorKind::kInvalid, "--target-image-opts requires use of -n flag");
  }
  if (config.files.size() > 2 && !config.snapshot.empty()) {
    return fail(ErrorKind::kInvalid, "-l: a snapshot is read of one source only");
  }
  VMM_TRY(Session session, Session::start());
  VMM_TRY(const Sources sources, open_sources(session, config));
  std::uint64_t size = 0;
  std::vector<disk::Disk*> disks;
  for (const auto& source : sources) {
    disks.push_back(&source->disk());
    size += source->disk().size();
  }
  VMM_TRY(NewImage image, new_image(config, size));
  VMM_TRY(const auto backing_size, size_of_backing(session, image));
  VMM_TRY(CopyConfig copy, copy_config(config, backing_size));
  if (config.salvage) copy.on_unreadable = warn_of_unreadable(console);
  VMM_TRY(const auto target, open_target(session, config, std::move(image), size));
  Result<void> copied;
  {
    Progress progress(console.out, config.progress && !console.quiet, size);
    copied = session.wait(copy_image(session.loop(), disks, *target, copy, progress));
    if (copied) progress.finish();
  }
  const Result<void> closed = session.close(*target);
  for (const auto& source : sources) (void)session.close(*source);
  if (!copied) return Unexpected(copied.error());
  if (!closed) return Unexpected(closed.error());
  return 0;
}

}  // namespace

int run_convert(const ConvertConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
