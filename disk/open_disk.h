// SPDX-License-Identifier: Apache-2.0
// open_disk(): from a file's name to a Disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "disk/disk.h"
#include "disk/write_errors.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/event_loop.h"

namespace vmm::disk {

enum class Format { kRaw, kQcow1, kQcow2 };
// "raw", "qcow" (version 1), "qcow2".
const char* name_of(Format format);
Result<Format> parse_format(std::string_view name);

enum class CacheMode {
  kWriteback,     // the host's page cache; durable after flush
  kNone,          // O_DIRECT; durable after flush
  kWritethrough,  // every write is durable when it is done
  kUnsafe,        // flush does nothing: a host crash may lose everything
};
Result<CacheMode> parse_cache_mode(std::string_view name);

// Whether files that an image names (its backing file, its data file) are opened. Names are always
// local paths, never protocols.
enum class BackingPolicy {
  kOpen,  // with the rights of this process
  // As kOpen where the format was told: by `format`, by the file's name (.qcow2, .qcow), or by the
  // image above. Refused where qcow2 was only recognised: a guest can write such a header, with any
  // file's name in it, into its raw disk.
  kOpenIfTold,
  kRefuse,  // such an image is refused
  kIgnore,  // backing files are left out: for tools that only look at this one file
};

struct DiskOptions {
  std::string path;
  // Without it the file's first bytes decide. A guest can write those into a raw disk, so whoever
  // knows the format should say it.
  std::optional<Format> format;
  bool read_only = false;
  bool direct = false;  // O_DIRECT whatever the cache mode
  CacheMode cache = CacheMode::kWriteback;
  bool discard = true;         // guest discards give space back
  bool detect_zeroes = false;  // writes of zeros are not stored
  bool lock = true;            // against other processes, as QEMU does
  BackingPolicy backing = BackingPolicy::kOpen;
  // Opens the files of the chain, and locks them, instead of this process; not with `temporary`.
  std::function<Result<UniqueFd>(const std::string& path, int flags)> opener;
  bool no_follow = false;  // neither the file nor one that it names may be a symbolic link
  // Writes go to a temporary file that is gone at the end; the image itself is only read.
  bool temporary = false;
  // What a device tells the guest as its serial number; empty: the file's name. Disks ignore it.
  std::string serial;
  // How many queues a device has for it; 0: one for each vCPU, up to 4. Disks ignore it.
  std::uint16_t nr_queues = 0;
  // What a device lets through per second; 0: no limit. Disks ignore it.
  std::uint64_t max_operations = 0;
  std::uint64_t max_bytes = 0;
  // What a device does when a change fails. Disks ignore it.
  WriteErrors write_errors = WriteErrors::kReport;
  // qcow2 only; 0 means the default.
  std::uint64_t l2_cache_size = 0;        // bytes
  std::uint32_t l2_cache_entry_size = 0;  // bytes
  std::uint64_t refcount_cache_size = 0;  // bytes
};

// Where a file that `image` names is: relative names start at the image's directory. Fails for
// names with a protocol.
Result<std::string> resolve_name(const std::string& image, const std::string& name);

// Errors start with the file's name and say what is wrong and what to do. Errors of the disk itself
// do not name the file.
Task<Result<std::unique_ptr<Disk>>> open_disk(EventLoop& loop, DiskOptions options);

}  // namespace vmm::disk
