// SPDX-License-Identifier: Apache-2.0
// Finder: what a disk offers to boot. It walks the partitions and file systems, collects the
// entries of BLS, GRUB and syslinux and the kernels that lie about, and keeps those whose kernel is
// there.
//
// It runs in the jailed child process (jail.h): what it reads is the image's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vmm/bootfind/boot_entry.h"
#include "vmm/bootfind/config_entry.h"
#include "vmm/bootfind/file_system.h"
#include "vmm/bootfind/grub_config.h"
#include "vmm/bootfind/partitions.h"
#include "vmm/bootfind/source.h"

namespace vmm::bootfind {

// Takes bytes in order.
using Sink = std::function<Result<void>(std::span<const std::byte>)>;

class Finder {
 public:
  // `disk` stays while the finder is used.
  Finder(Source& disk, const FinderOptions& options);
  ~Finder();

  // kNotFound says what was looked at.
  Result<void> scan();

  const std::vector<BootEntry>& entries() const { return entries_; }
  // The index of the entry that `wanted` means: "" the default one, else its number from 1, its id
  // or its title.
  Result<std::size_t> choose(const std::string& wanted) const;
  Result<void> write_kernel(std::size_t index, const Sink& sink);
  // All initrds one after the other. Nothing is written where there is none.
  Result<void> write_initrd(std::size_t index, const Sink& sink);

 private:
  struct Volume {          // a file system, and where it lies
    std::string name;      // "partition 1 (ext4)"
    std::string partuuid;  // empty on a disk without partitions
    std::unique_ptr<Source> part;
    std::unique_ptr<FileSystem> fs;
  };
  struct Place {  // a file
    std::size_t volume;
    std::string path;
  };
  struct Files {
    Place kernel;
    std::vector<Place> initrds;
  };
  struct GrubFound {
    std::string path;
    GrubResult result;
  };

  Result<void> open_volumes();
  void open_volume(std::unique_ptr<Source> part, std::string name, std::string partuuid);
  void search_volume(std::size_t index);
  std::vector<GrubFound> read_grub(Volume& volume);
  void add_bls(std::size_t index, const std::vector<GrubFound>& grub);
  void add_syslinux(std::size_t index);
  void add_plain_kernels(std::size_t index);
  void add_config(std::size_t index, const std::string& path, BootMethod method,
                  const BootConfig& config);
  bool resolve(const ConfigEntry& config, std::size_t home, Files& files);
  bool is_listed(const Place& kernel) const;
  std::string root_parameter();
  void sort_by_method();
  Result<void> write_file(const Place& place, std::uint64_t limit, std::uint64_t& written,
                          const Sink& sink);

  CachedSource disk_;
  const FinderOptions options_;
  std::vector<Volume> volumes_;
  std::vector<std::string> looked_at_;
  std::vector<BootEntry> entries_;
  std::vector<Files> files_;  // of the entry with the same index
};

}  // namespace vmm::bootfind
