// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/finder.h"

#include <fmt/core.h>

#include <algorithm>

#include "vmm/bootfind/bls.h"
#include "vmm/bootfind/plain_kernels.h"
#include "vmm/bootfind/syslinux_config.h"

namespace vmm::bootfind {
namespace {

constexpr std::size_t kMaxVolumes = 64;
constexpr std::size_t kCopySize = 1 << 20;

// Where boot loaders keep their files, seen from a root file system, a /boot of its own, or an ESP.
constexpr const char* kGrubDirectories[] = {"/boot/grub", "/boot/grub2", "/grub", "/grub2"};
constexpr const char* kBlsDirectories[] = {"/loader", "/boot/loader"};
constexpr const char* kSyslinuxFiles[] = {
    "/boot/extlinux.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/syslinux.cfg",
    "/extlinux.conf",
    "/extlinux/extlinux.conf",
    "/syslinux/syslinux.cfg",
    "/syslinux.cfg",
    "/boot/isolinux/isolinux.cfg",
    "/isolinux/isolinux.cfg",
};

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string joined(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

}  // namespace

Finder::Finder(Source& disk, const FinderOptions& options) : disk_(disk), options_(options) {
}
Finder::~Finder() = default;

Result<void> Finder::scan() {
  VMM_CHECK(open_volumes());
  for (std::size_t i = 0; i < volumes_.size(); ++i) search_volume(i);
  for (std::size_t i = 0; i < volumes_.size(); ++i) add_plain_kernels(i);
  if (entries_.empty()) {
    return fail(ErrorKind::kNotFound,
                fmt::format("no kernel was found on the disk (looked at: {}); give one with -k",
                            joined(looked_at_, "; ")));
  }
  sort_by_method();
  return {};
}

Result<void> Finder::open_volumes() {
  VMM_TRY(PartitionTable table, read_partitions(disk_));
  if (!table.remark.empty()) looked_at_.push_back(table.remark);
  if (table.kind == TableKind::kNone) {
    open_volume(std::make_unique<PartSource>(disk_, 0, disk_.size()), "the whole disk", "");
    return {};
  }
  for (const Partition& partition : table.partitions) {
    if (volumes_.size() >= kMaxVolumes) break;
    open_volume(std::make_unique<PartSource>(disk_, partition.start, partition.size),
                fmt::format("partition {}", partition.number), partition.uuid);
  }
  if (table.partitions.empty()) looked_at_.push_back("a partition table without partitions");
  return {};
}

void Finder::open_volume(std::unique_ptr<Source> part, std::string name, std::string partuuid) {
  Result<std::unique_ptr<FileSystem>> fs = open_file_system(*part);
  if (!fs) {
    looked_at_.push_back(fmt::format("{}: {}", name, fs.error().message()));
    return;
  }
  name += fmt::format(" ({})", (*fs)->type());
  looked_at_.push_back(name + ": no boot entries, no vmlinuz");
  volumes_.push_back({std::move(name), std::move(partuuid), std::move(part), *std::move(fs)});
}

void Finder::search_volume(std::size_t index) {
  const std::vector<GrubFound> grub = read_grub(volumes_[index]);
  add_bls(index, grub);
  for (const GrubFound& found : grub) {
    add_config(index, found.path, BootMethod::kGrub, found.result.config);
  }
  add_syslinux(index);
}

std::vector<Finder::GrubFound> Finder::read_grub(Volume& volume) {
  FileSystem& fs = *volume.fs;
  std::vector<GrubFound> all;
  for (const std::string prefix : kGrubDirectories) {
    const std::string path = prefix + "/grub.cfg";
    Result<std::string> script = read_text(fs, path, kMaxConfigFile);
    if (!script) {
      if (script.error().kind() != ErrorKind::kNotFound)
        looked_at_.push_back(script.error().message());
      continue;
    }
    GrubInput input;
    input.script = *std::move(script);
    input.prefix = prefix;
    input.environment = read_text(fs, prefix + "/grubenv", kMaxConfigFile).value_or("");
    input.read_file = [&fs](const std::string& name) -> std::optional<std::string> {
      Result<std::string> text = read_text(fs, name, kMaxConfigFile);
      return text ? std::optional(*std::move(text)) : std::nullopt;
    };
    input.has_file = [&fs](const std::string& name) { return has_file(fs, name); };
    Result<GrubResult> result = run_grub_config(input);
    if (result) {
      all.push_back({path, *std::move(result)});
    } else {
      looked_at_.push_back(fmt::format("{}, {}: {}", volume.name, path, result.error().message()));
    }
  }
  return all;
}

void Finder::add_bls(std::size_t index, const std::vector<GrubFound>& grub) {
  FileSystem& fs = *volumes_[index].fs;
  const GrubVariables none;
  const GrubVariables& variables = grub.empty() ? none : grub.front().result.variables;
  for (const std::string directory : kBlsDirectories) {
    Result<std::vector<std::string>> names = fs.list(directory + "/entries");
    if (!names) continue;
    std::vector<BlsFile> files;
    for (const std::string& name : *names) {
      if (files.size() >= kMaxEntries) break;
      Result<std::string> text = read_text(fs, directory + "/entries/" + name, 64 << 10);
      if (text) files.push_back({name, *std::move(text)});
    }
    std::string wanted =
        loader_conf_default(read_text(fs, directory + "/loader.conf", kMaxConfigFile).value_or(""));
    if (auto saved = variables.find("saved_entry"); wanted.empty() && saved != variables.end()) {
      wanted = saved->second;
    }
    add_config(index, directory + "/entries", BootMethod::kBls, read_bls(files, variables, wanted));
  }
}

void Finder::add_syslinux(std::size_t index) {
  for (const std::string path : kSyslinuxFiles) {
    Result<std::string> text = read_text(*volumes_[index].fs, path, kMaxConfigFile);
    if (!text) continue;
    add_config(index, path, BootMethod::kSyslinux,
               parse_syslinux_config(*text, directory_of(path)));
  }
}

void Finder::add_config(std::size_t index, const std::string& path, BootMethod method,
                        const BootConfig& config) {
  for (std::size_t i = 0; i < config.entries.size() && entries_.size() < kMaxEntries; ++i) {
    const ConfigEntry& from = config.entries[i];
    Files files;
    if (!resolve(from, index, files)) {
      looked_at_.push_back(fmt::format("{}, {}: {} or an initrd of it is not there",
                                       volumes_[index].name, path, printable(from.kernel)));
      continue;
    }
    // The first configuration with a default that works has it.
    entries_.push_back({.method = method,
                        .is_default = i == config.default_entry,
                        .id = from.id,
                        .title = from.title,
                        .where = volumes_[index].name + ", " + path,
                        .kernel = from.kernel,
                        .initrds = from.initrds,
                        .command_line = from.command_line});
    files_.push_back(std::move(files));
  }
}

// Paths are on the file system that the entry names, else on the one with the configuration, else
// on any that has the kernel. The initrds are beside it.
bool Finder::resolve(const ConfigEntry& config, std::size_t home, Files& files) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < volumes_.size(); ++i) {
    if (!config.root_uuid.empty() && volumes_[i].fs->uuid() == config.root_uuid) order.push_back(i);
  }
  order.push_back(home);
  for (std::size_t i = 0; i < volumes_.size(); ++i) order.push_back(i);

  for (std::size_t volume : order) {
    FileSystem& fs = *volumes_[volume].fs;
    if (!has_file(fs, config.kernel)) continue;
    files = {{volume, config.kernel}, {}};
    bool complete = true;
    for (const std::string& path : config.initrds) {
      complete = complete && has_file(fs, path);
      files.initrds.push_back({volume, path});
    }
    if (complete) return true;
  }
  return false;
}

void Finder::add_plain_kernels(std::size_t index) {
  for (const std::string directory : {"/boot", "/"}) {
    Result<std::vector<std::string>> names = volumes_[index].fs->list(directory);
    if (!names) continue;
    for (const PlainKernel& plain : find_plain_kernels(*names)) {
      const std::string prefix = directory == "/" ? "/" : directory + "/";
      const Place kernel{index, prefix + plain.kernel};
      if (entries_.size() >= kMaxEntries || !has_file(*volumes_[index].fs, kernel.path)) continue;
      if (is_listed(kernel)) continue;
      Files files{kernel, {}};
      BootEntry entry{.method = BootMethod::kPlain,
                      .is_default = true,  // the first one found, which is the newest
                      .id = plain.kernel,
                      .title = kernel.path,
                      .where = volumes_[index].name,
                      .kernel = kernel.path,
                      .initrds = {},
                      .command_line = root_parameter()};
      if (!plain.initrd.empty() && has_file(*volumes_[index].fs, prefix + plain.initrd)) {
        files.initrds.push_back({index, prefix + plain.initrd});
        entry.initrds.push_back(prefix + plain.initrd);
      }
      entries_.push_back(std::move(entry));
      files_.push_back(std::move(files));
    }
  }
}

bool Finder::is_listed(const Place& kernel) const {
  return std::any_of(files_.begin(), files_.end(), [&](const Files& files) {
    return files.kernel.volume == kernel.volume && files.kernel.path == kernel.path;
  });
}

// For a kernel that no boot loader has a command line for: the file system that has an init.
std::string Finder::root_parameter() {
  for (Volume& volume : volumes_) {
    const bool is_root = has_file(*volume.fs, "/sbin/init") ||
                         has_file(*volume.fs, "/etc/os-release") ||
                         has_file(*volume.fs, "/usr/lib/os-release");
    if (!is_root) continue;
    return fmt::format("root={} {}",
                       volume.partuuid.empty() ? options_.disk_name : "PARTUUID=" + volume.partuuid,
                       options_.read_only ? "ro" : "rw");
  }
  return "";
}

// Brings the preferred kind to the front, and leaves one default: the first of those there are.
void Finder::sort_by_method() {
  std::vector<std::size_t> order(entries_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return entries_[a].method < entries_[b].method;
  });
  std::vector<BootEntry> entries;
  std::vector<Files> files;
  for (std::size_t i : order) {
    entries.push_back(std::move(entries_[i]));
    files.push_back(std::move(files_[i]));
  }
  entries_ = std::move(entries);
  files_ = std::move(files);

  auto chosen = std::find_if(entries_.begin(), entries_.end(), [&](const BootEntry& entry) {
    return entry.is_default && entry.method == entries_.front().method;
  });
  if (chosen == entries_.end()) chosen = entries_.begin();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    entry->is_default = entry == chosen;
  }
}

Result<std::size_t> Finder::choose(const std::string& wanted) const {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const BootEntry& entry = entries_[i];
    if (wanted.empty() ? entry.is_default : wanted == std::to_string(i + 1)) return i;
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].id == wanted || entries_[i].title == wanted) return i;
  }
  return fail(ErrorKind::kInvalid,
              fmt::format("--boot {}: the disk has no such entry; --boot list shows its {}", wanted,
                          entries_.size()));
}

Result<void> Finder::write_kernel(std::size_t index, const Sink& sink) {
  std::uint64_t written = 0;
  return write_file(files_[index].kernel, options_.max_kernel, written, sink);
}

Result<void> Finder::write_initrd(std::size_t index, const Sink& sink) {
  std::uint64_t written = 0;
  for (const Place& place : files_[index].initrds) {
    // Linux looks for the next archive at a multiple of four bytes.
    const std::byte zeros[4]{};
    const std::size_t padding = (4 - written % 4) % 4;
    VMM_CHECK(sink(std::span(zeros).first(padding)));
    written += padding;
    VMM_CHECK(write_file(place, options_.max_initrd, written, sink));
  }
  return {};
}

// `written`: what went to the sink before; file and that must stay below `limit`.
Result<void> Finder::write_file(const Place& place, std::uint64_t limit, std::uint64_t& written,
                                const Sink& sink) {
  const Volume& volume = volumes_[place.volume];
  const std::string name = fmt::format("{}, {}", volume.name, printable(place.path));
  Result<std::unique_ptr<File>> opened = volume.fs->open(place.path);
  if (!opened) return Unexpected(std::move(opened).error().with_context(volume.name));
  File& file = **opened;
  if (file.size() == 0) return fail(ErrorKind::kInvalid, name + ": the file is empty");
  if (file.size() > limit - std::min(limit, written)) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{}: {} bytes are more than the {} MiB that are allowed", name,
                            file.size(), limit >> 20));
  }
  std::vector<std::byte> buffer(std::min<std::uint64_t>(file.size(), kCopySize));
  for (std::uint64_t offset = 0; offset < file.size();) {
    const auto part =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
    if (Result<void> read = file.read(offset, part); !read) {
      return Unexpected(std::move(read).error().with_context(name));
    }
    VMM_CHECK(sink(part));
    offset += part.size();
  }
  written += file.size();
  return {};
}

}  // namespace vmm::bootfind
