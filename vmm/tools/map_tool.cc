// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/map_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "vmm/tools/block_status.h"
#include "vmm/tools/file_name.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

// Each layer's file, as the layer above names it.
std::map<const disk::Disk*, std::string> name_layers(const disk::Disk& disk, std::string path) {
  std::map<const disk::Disk*, std::string> names;
  const disk::Disk* layer = &disk;
  while (layer != nullptr) {
    const auto* qcow = dynamic_cast<const disk::qcow::QcowDisk*>(layer);
    std::string file = path;
    if (qcow != nullptr) {
      const auto data_file = qcow->header().text(disk::qcow::ExtensionType::kDataFileName);
      if (data_file && qcow->header().has(disk::qcow::Incompatible::kDataFile)) {
        file = resolve_against(path, *data_file);
      }
    }
    names[layer] = file;
    if (const auto* qcow1 = dynamic_cast<const disk::qcow1::Qcow1Disk*>(layer)) {
      path = resolve_against(path, qcow1->header().backing_file);
      layer = qcow1->backing();
      continue;
    }
    if (qcow == nullptr) break;
    path = resolve_against(path, qcow->header().backing_file);
    layer = qcow->backing();
  }
  return names;
}

class Printer {
 public:
  Printer(const Console& console, bool json, std::map<const disk::Disk*, std::string> names)
      : out_(console.out), json_(json), names_(std::move(names)) {}

  void begin() const {
    if (!json_) fmt::print(out_, "{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
  }

  Result<void> line(const BlockStatus& status) {
    if (json_) {
      json_line(status);
      return {};
    }
    if (!status.data || status.zero) return {};
    if (!status.has_offset) {
      return fail(ErrorKind::kUnsupported,
                  "File contains external, encrypted or compressed clusters.");
    }
    fmt::print(out_, "{:<16}{:<16}{:<16}{}\n", hex(status.start), hex(status.length),
               hex(status.offset), names_[status.layer]);
    return {};
  }

  void end() const {
    if (json_) fmt::print(out_, "]\n");
  }

 private:
  static std::string hex(std::uint64_t value) {
    return value == 0 ? "0" : fmt::format("{:#x}", value);
  }

  void json_line(const BlockStatus& status) {
    fmt::print(out_,
               "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, "
               "\"data\": {}",
               first_ ? "[" : ",\n", status.start, status.length, status.depth, status.present,
               status.zero, status.data);
    if (status.has_offset) fmt::print(out_, ", \"offset\": {}", status.offset);
    fmt::print(out_, "}}");
    first_ = false;
  }

  std::FILE* out_;
  bool json_;
  std::map<const disk::Disk*, std::string> names_;
  bool first_ = true;
};

Result<std::uint64_t> size_or(const std::string& text, std::uint64_t fallback, const char* what) {
  if (text.empty()) return fallback;
  const Result<std::uint64_t> size = parse_size(text);
  if (!size) return fail(ErrorKind::kInvalid, fmt::format("Invalid {}: '{}'", what, text));
  return *size;
}

Result<int> run(const MapConfig& config, const Console& console) {
  VMM_TRY(const bool json, wants_json(config.output));
  VMM_TRY(const std::uint64_t start, size_or(config.start, 0, "start offset"));
  VMM_TRY(const std::uint64_t length, size_or(config.length, UINT64_MAX, "max length"));
  VMM_TRY(Session session, Session::start());
  ImageOptions options = config.image;
  options.read_only = true;
  VMM_TRY(const auto image, session.open(std::move(options)));
  disk::Disk& disk = image->disk();
  const std::uint64_t end =
      start > disk.size() ? start : start + std::min(length, disk.size() - start);

  Printer printer(console, json, name_layers(disk, config.image.path));
  printer.begin();
  for (std::uint64_t offset = start; offset < end;) {
    VMM_TRY(const BlockStatus status, session.wait(merged_block_status(disk, offset, end)));
    VMM_CHECK(printer.line(status));
    offset = status.end();
  }
  if (json && start >= end) {
    VMM_CHECK(printer.line(BlockStatus{.start = start}));
  }
  printer.end();
  VMM_CHECK(session.close(*image));
  return 0;
}

}  // namespace

int run_map(const MapConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
