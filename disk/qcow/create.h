// SPDX-License-Identifier: Apache-2.0
// Making a new qcow2 image.
#pragma once

#include <cstdint>
#include <string>

#include "disk/qcow/header.h"
#include "disk/storage.h"

namespace vmm::disk::qcow {

// The names and defaults are those of `qemu-img create -o`.
struct FormatOptions {
  std::uint64_t size = 0;     // virtual, bytes
  std::uint32_t version = 3;  // compat=0.10 is 2, compat=1.1 is 3
  std::uint64_t cluster_size = 65536;
  std::uint32_t refcount_bits = 16;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  CompressionType compression_type = CompressionType::kZlib;
  std::string backing_file;    // as it is to stand in the image
  std::string backing_format;  // "raw", "qcow", "qcow2"
  std::string data_file;       // as it is to stand in the image; empty: none
  bool data_file_raw = false;
};

// Fails with kInvalid where options contradict each other or the format's limits.
Result<Header> header_for(const FormatOptions& options);

// Writes an empty image with these features. `storage` is empty, or its contents are given up.
Task<Result<void>> format_image(Storage& storage, const FormatOptions& options);

}  // namespace vmm::disk::qcow
