// SPDX-License-Identifier: Apache-2.0
// OpenedImage: an image that the tools opened, with what they do to one beyond what a guest can.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/tools/image.h"

namespace vmm::disk {
class RawDisk;
namespace qcow {
class QcowDisk;
}
namespace qcow1 {
class Qcow1Disk;
}
}  // namespace vmm::disk

namespace vmm::tools {

// A run of bytes in one state, as seen from an offset.
struct Allocation {
  std::uint64_t end = 0;   // bytes, exclusive
  bool allocated = false;  // the image itself says what is there, not its backing file
};

class OpenedImage {
 public:
  static Task<Result<std::unique_ptr<OpenedImage>>> open(EventLoop& loop, ImageOptions options);

  const ImageOptions& options() const { return options_; }
  disk::Disk& disk() { return *disk_; }
  // The disk of the image's format, without what cache modes put around it.
  disk::Disk& format_disk();
  // The same by its format; null where it has another.
  disk::qcow::QcowDisk* qcow2();
  disk::qcow1::Qcow1Disk* qcow1();
  disk::RawDisk* raw();

  // Changes the virtual size. `preallocation`: off, metadata, falloc, full.
  Task<Result<void>> truncate(std::uint64_t size, std::string preallocation);
  // Bytes of a cluster; 0 for formats without.
  std::uint64_t cluster_size();
  // Whether clusters can be stored compressed; the two after it fail where not.
  bool can_compress() { return cluster_size() != 0; }
  // Packs one whole cluster, on any thread: bytes used of `packed`, or 0 where nothing is saved.
  Result<std::size_t> pack(std::span<const std::byte> cluster, std::span<std::byte> packed);
  // Stores what pack() made of a cluster; as it is where `packed` is empty.
  Task<Result<void>> write_packed(std::uint64_t offset, std::span<const std::byte> packed,
                                  IoVec cluster);
  // Stores each cluster compressed where that is smaller. `offset` starts a cluster.
  Task<Result<void>> write_compressed(std::uint64_t offset, IoVec iov);
  // `offset` < size().
  Task<Result<Allocation>> allocation_at(std::uint64_t offset);
  // "format name: qcow2" and the like, one line each, as the shell's `info` prints them.
  std::vector<std::string> info_lines();

 private:
  OpenedImage(EventLoop& loop, ImageOptions options, std::unique_ptr<disk::Disk> disk);
  Task<Result<void>> truncate_raw(std::uint64_t size, std::string preallocation);

  EventLoop& loop_;
  ImageOptions options_;
  std::unique_ptr<disk::Disk> disk_;
};

}  // namespace vmm::tools
