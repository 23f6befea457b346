// SPDX-License-Identifier: Apache-2.0
// ImageInfo: what the header of an image tells, without the image being opened as a disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "disk/qcow/bitmap_directory.h"
#include "disk/qcow/snapshot_table.h"
#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/task.h"
#include "vmm/tools/console.h"
#include "vmm/tools/image.h"
#include "vmm/tools/json.h"
#include "vmm/tools/luks_info.h"

namespace vmm::tools {

struct Qcow2Info {
  bool version_3 = true;
  bool zstd = false;
  bool lazy_refcounts = false;
  std::uint32_t refcount_bits = 16;
  std::optional<std::string> data_file;
  bool data_file_raw = false;
  bool corrupt = false;
  bool extended_l2 = false;
  std::vector<disk::qcow::Bitmap> bitmaps;
  bool aes = false;              // encrypted in the old way
  std::optional<LuksInfo> luks;  // encrypted
};

struct ImageInfo {
  std::string path;
  std::string format;
  std::uint64_t virtual_size = 0;  // bytes
  std::uint64_t actual_size = 0;   // bytes on the host
  std::uint64_t cluster_size = 0;  // bytes; 0: the format has none
  bool encrypted = false;
  bool dirty = false;
  std::string backing_file;    // as the image names it; empty: none
  std::string backing_format;  // empty: not said
  std::optional<Qcow2Info> qcow2;
  std::vector<disk::qcow::Snapshot> snapshots;

  // The backing file as seen from here.
  std::string full_backing_file() const;
};

Task<Result<ImageInfo>> read_image_info(EventLoop& loop, ImageOptions options);

// "    compat: 1.1" and so on; without the title.
void print_qcow2_info(const Console& console, const Qcow2Info& info);
// The table under "Snapshot list:", with its title; nothing where there are none.
void print_snapshots(const Console& console, const std::vector<disk::qcow::Snapshot>& snapshots);
void print_image_info(const Console& console, const ImageInfo& info);
Json image_info_json(const ImageInfo& info);

}  // namespace vmm::tools
