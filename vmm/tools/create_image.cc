// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/create_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "disk/file_storage.h"
#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/header.h"
#include "vmm/tools/file_name.h"
#include "vmm/tools/image_name.h"
#include "vmm/tools/opened_image.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

using disk::qcow::FormatOptions;

Unexpected<Error> invalid(std::string message) {
  return fail(ErrorKind::kInvalid, std::move(message));
}

Result<bool> parse_switch(const std::string& name, const std::string& value) {
  if (value == "on") return true;
  if (value == "off") return false;
  return invalid(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
}

Result<std::uint32_t> parse_compat(const std::string& value) {
  if (value == "0.10" || value == "v2") return 2;
  if (value == "1.1" || value == "v3") return 3;
  return invalid(fmt::format("compat '{}' is not known: use 0.10 or 1.1", value));
}

const std::string* find_option(const NewImage& image, std::string_view name) {
  const std::string* found = nullptr;
  for (const auto& [each, value] : image.options) {
    if (each == name) found = &value;
  }
  return found;
}

// One option of a qcow2 image into `to`; false where the name is not known.
Result<bool> apply_qcow2_option(const std::string& name, const std::string& value,
                                FormatOptions& to) {
  if (name == "cluster_size") {
    VMM_TRY(to.cluster_size, parse_size(value));
  } else if (name == "compat") {
    VMM_TRY(to.version, parse_compat(value));
  } else if (name == "refcount_bits") {
    VMM_TRY(const std::uint64_t bits, parse_size(value));
    to.refcount_bits = static_cast<std::uint32_t>(std::min<std::uint64_t>(bits, UINT32_MAX));
  } else if (name == "lazy_refcounts") {
    VMM_TRY(to.lazy_refcounts, parse_switch(name, value));
  } else if (name == "extended_l2") {
    VMM_TRY(to.extended_l2, parse_switch(name, value));
  } else if (name == "compression_type") {
    if (value != "zlib" && value != "zstd") {
      return invalid(fmt::format("compression_type '{}' is not known: use zlib or zstd", value));
    }
    to.compression_type =
        value == "zstd" ? disk::qcow::CompressionType::kZstd : disk::qcow::CompressionType::kZlib;
  } else if (name == "data_file") {
    to.data_file = value;
  } else if (name == "data_file_raw") {
    VMM_TRY(to.data_file_raw, parse_switch(name, value));
  } else if (name == "preallocation") {
    if (value != "off" && value != "metadata" && value != "falloc" && value != "full") {
      return invalid(fmt::format("Invalid parameter '{}' for preallocation", value));
    }
  } else if (name != "nocow" && name != "extent_size_hint") {
    return false;
  }
  return true;
}

Result<FormatOptions> qcow2_options(const NewImage& image) {
  FormatOptions options;
  options.size = image.size.value_or(0);
  options.backing_file = image.backing_file;
  options.backing_format = image.backing_format;
  for (const auto& [name, value] : image.options) {
    VMM_TRY(const bool known, apply_qcow2_option(name, value, options));
    if (!known) {
      const bool encryption = name.starts_with("encrypt");
      return fail(encryption ? ErrorKind::kUnsupported : ErrorKind::kInvalid,
                  encryption ? fmt::format("{}: encryption is not supported", name)
                             : fmt::format("Invalid parameter '{}'", name));
    }
  }
  return options;
}

Result<disk::qcow1::Header> qcow1_header(const NewImage& image) {
  return disk::qcow1::header_for((*image.size + 511) / 512 * 512, image.backing_file);
}

Result<void> check_qcow1_options(const NewImage& image) {
  for (const auto& [name, value] : image.options) {
    if (name.starts_with("encrypt")) {
      return fail(ErrorKind::kUnsupported, fmt::format("{}: encryption is not supported", name));
    }
    return invalid(fmt::format("Invalid parameter '{}'", name));
  }
  VMM_CHECK(qcow1_header(image));
  return {};
}

Task<Result<void>> create_qcow1(disk::Storage& storage, const NewImage& image) {
  VMM_CO_TRY(const disk::qcow1::Header header, qcow1_header(image));
  co_return co_await disk::qcow1::format_image(storage, header);
}

Task<Result<void>> reserve(disk::Storage& storage, std::uint64_t size, std::string preallocation) {
  if (preallocation == "falloc") co_return co_await storage.allocate(0, size);
  if (preallocation == "full") {
    VMM_CO_CHECK(co_await storage.write_zeroes(0, size));
    co_return co_await storage.sync();
  }
  co_return Result<void>();
}

Task<Result<void>> create_raw(disk::Storage& storage, const NewImage& image) {
  // Readers see whole sectors.
  const std::uint64_t size = (*image.size + 511) / 512 * 512;
  VMM_CO_CHECK(co_await storage.truncate(size));
  co_return co_await reserve(storage, size, preallocation_of(image));
}

Task<Result<void>> create_data_file(EventLoop& loop, std::string path, std::uint64_t size) {
  disk::FileOptions options;
  options.create = true;
  VMM_CO_TRY(const auto storage, disk::FileStorage::open(loop, path, options));
  co_return co_await storage->truncate(size);
}

Task<Result<void>> create_qcow2(EventLoop& loop, disk::Storage& storage, const NewImage& image) {
  VMM_CO_TRY(FormatOptions options, qcow2_options(image));
  options.size = (options.size + 511) / 512 * 512;
  if (!options.data_file.empty()) {
    VMM_CO_CHECK(co_await create_data_file(loop, resolve_against(image.path, options.data_file),
                                           options.data_file_raw ? options.size : 0));
  }
  co_return co_await disk::qcow::format_image(storage, options);
}

Task<Result<void>> preallocate_qcow2(EventLoop& loop, const NewImage& image) {
  const std::string how = preallocation_of(image);
  if (how == "off") co_return Result<void>();
  ImageOptions options;
  options.path = image.path;
  options.format = "qcow2";
  options.driver_options["backing"] = "off";
  VMM_CO_TRY(const auto opened, co_await OpenedImage::open(loop, std::move(options)));
  VMM_CO_CHECK(co_await opened->qcow2()->preallocate(0, how == "falloc", how == "full"));
  co_return co_await opened->disk().close();
}

Task<Result<void>> create(EventLoop& loop, const NewImage& image) {
  // What can be refused is refused before anything is emptied.
  if (image.format == "qcow2") {
    VMM_CO_TRY(const disk::qcow::Header header, qcow2_header_of(image));
    if (!image.backing_file.empty() && preallocation_of(image) != "off" &&
        !header.geometry.extended_l2) {
      co_return fail(ErrorKind::kInvalid,
                     "Backing file and preallocation can only be used at the same time if "
                     "extended_l2 is enabled");
    }
  } else if (image.format == "raw") {
    VMM_CO_CHECK(check_raw_options(image));
  } else if (image.format == "qcow") {
    VMM_CO_CHECK(check_qcow1_options(image));
  } else {
    co_return fail(ErrorKind::kInvalid, fmt::format("Unknown file format '{}'", image.format));
  }
  disk::FileOptions options;
  options.create = true;
  VMM_CO_TRY(auto storage, disk::FileStorage::open(loop, image.path, options));
  if (image.format == "raw") co_return co_await create_raw(*storage, image);
  if (image.format == "qcow") co_return co_await create_qcow1(*storage, image);
  VMM_CO_CHECK(co_await create_qcow2(loop, *storage, image));
  storage.reset();  // with its lock
  co_return co_await preallocate_qcow2(loop, image);
}

}  // namespace

std::string preallocation_of(const NewImage& image) {
  const std::string* value = find_option(image, "preallocation");
  return value == nullptr ? "off" : *value;
}

Result<void> check_raw_options(const NewImage& image) {
  for (const auto& [name, value] : image.options) {
    if (name == "preallocation") {
      if (value != "off" && value != "falloc" && value != "full") {
        return invalid(fmt::format("Unsupported preallocation mode '{}'", value));
      }
    } else if (name != "nocow" && name != "extent_size_hint") {
      return invalid(fmt::format("Invalid parameter '{}'", name));
    }
  }
  if (!image.backing_file.empty()) return invalid("raw images have no backing files");
  return {};
}

Result<disk::qcow::Header> qcow2_header_of(const NewImage& image) {
  VMM_TRY(const FormatOptions options, qcow2_options(image));
  return disk::qcow::header_for(options);
}

Result<void> apply_create_options(const OptionList& options, NewImage& image) {
  for (const auto& [name, value] : options) {
    if (name == "size") {
      VMM_TRY(image.size, parse_size(value));
    } else if (name == "backing_file") {
      if (value.empty()) return invalid("Expected backing file name, got empty string");
      image.backing_file = value;
    } else if (name == "backing_fmt") {
      image.backing_format = value;
    } else {
      image.options.emplace_back(name, value);
    }
  }
  return {};
}

std::string describe(const NewImage& image) {
  std::string line = fmt::format("Formatting '{}', fmt={}", image.path, image.format);
  const bool qcow2 = image.format == "qcow2";
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) line += fmt::format(" {}={}", name, value);
  };
  const auto option = [&](const char* name, const char* fallback) {
    const std::string* value = find_option(image, name);
    return value == nullptr ? std::string(fallback) : *value;
  };
  const auto size_value = [&](const char* name, const char* fallback) {
    const Result<std::uint64_t> size = parse_size(option(name, fallback));
    return size ? std::to_string(*size) : option(name, fallback);
  };
  if (qcow2) {
    add("cluster_size", size_value("cluster_size", "65536"));
    add("extended_l2", option("extended_l2", "off"));
    add("preallocation", option("preallocation", ""));
    add("compression_type", option("compression_type", "zlib"));
  }
  add("size", std::to_string(image.size.value_or(0)));
  if (qcow2) add("compat", option("compat", ""));
  add("backing_file", image.backing_file);
  add("backing_fmt", image.backing_format);
  if (qcow2) {
    add("data_file", option("data_file", ""));
    add("data_file_raw", option("data_file_raw", ""));
    add("lazy_refcounts", option("lazy_refcounts", "off"));
    add("refcount_bits", option("refcount_bits", "16"));
  } else {
    add("preallocation", option("preallocation", ""));
  }
  return line;
}

Task<Result<void>> create_image(EventLoop& loop, NewImage image) {
  image.path = local_path(image.path);
  Result<void> created = co_await create(loop, image);
  if (!created) co_return Unexpected(std::move(created).error().with_context(image.path));
  co_return created;
}

}  // namespace vmm::tools
