// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/check_tool.h"

#include <fmt/core.h>

#include "disk/file_storage.h"
#include "disk/open_disk.h"
#include "disk/qcow/check.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

constexpr int kClean = 0;
constexpr int kCorrupt = 2;
constexpr int kLeaks = 3;
constexpr int kNothingToCheck = 63;

using disk::qcow::CheckReport;
using disk::qcow::Repair;

Result<Repair> parse_repair(const std::string& word) {
  if (word.empty()) return Repair::kNone;
  if (word == "leaks") return Repair::kLeaks;
  if (word == "all") return Repair::kAll;
  return fail(ErrorKind::kInvalid,
              fmt::format("Unknown option value for -r (expecting 'leaks' or 'all'): {}", word));
}

Task<Result<CheckReport>> check(EventLoop& loop, ImageOptions options, Repair repair) {
  disk::FileOptions file_options;
  file_options.read_only = repair == Repair::kNone;
  file_options.lock = !options.force_share;
  VMM_CO_TRY(const auto storage, disk::FileStorage::open(loop, options.path, file_options));
  VMM_CO_TRY(const disk::qcow::Header header, co_await disk::qcow::read_header(*storage));
  co_return co_await disk::qcow::check_image(loop, *storage, header, repair);
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

void print_human(const Console& console, const CheckReport& report) {
  if (report.leaks_fixed + report.corruptions_fixed > 0) {
    console.print(
        "The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n    {} "
        "corruptions\n\nDouble checking the fixed image now...\n",
        report.leaks_fixed, report.corruptions_fixed);
  }
  if (report.corruptions > 0) {
    console.print(
        "\n{} errors were found on the image.\nData may be corrupted, or further writes to the "
        "image may corrupt it.\n",
        report.corruptions);
  }
  if (report.leaks > 0) {
    console.print(
        "\n{} leaked clusters were found on the image.\nThis means waste of disk space, but no "
        "harm to data.\n",
        report.leaks);
  }
  if (report.corruptions + report.leaks == 0) {
    console.print("No errors were found on the image.\n");
  }
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    console.print("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
                  report.allocated_clusters, report.total_clusters,
                  percent(report.allocated_clusters, report.total_clusters),
                  percent(report.fragmented_clusters, report.allocated_clusters),
                  percent(report.compressed_clusters, report.allocated_clusters));
  }
  console.print("Image end offset: {}\n", report.image_end_offset);
}

// Counts that are 0 are left out, as qemu-img does.
void print_json(const Console& console, const CheckReport& report, const std::string& path) {
  Json json = Json::object();
  const auto add = [&](const char* name, std::uint64_t value) {
    if (value != 0) json.add(name, value);
  };
  json.add("image-end-offset", report.image_end_offset);
  add("total-clusters", report.total_clusters);
  add("corruptions", report.corruptions);
  add("corruptions-fixed", report.corruptions_fixed);
  add("leaks", report.leaks);
  add("leaks-fixed", report.leaks_fixed);
  json.add("check-errors", 0);
  add("allocated-clusters", report.allocated_clusters);
  add("fragmented-clusters", report.fragmented_clusters);
  add("compressed-clusters", report.compressed_clusters);
  json.add("filename", path).add("format", "qcow2");
  console.print("{}\n", json.dump());
}

Result<int> run(const CheckConfig& config, const Console& console) {
  VMM_TRY(const bool json, wants_json(config.output));
  VMM_TRY(const Repair repair, parse_repair(config.repair));
  VMM_TRY(Session session, Session::start());
  VMM_TRY(const ImageInfo info, session.wait(read_image_info(session.loop(), config.image)));
  if (!info.qcow2) {
    console.error("This image format does not support checks");
    return kNothingToCheck;
  }
  Result<CheckReport> report = session.wait(check(session.loop(), config.image, repair));
  if (!report) return Unexpected(std::move(report).error().with_context("Check failed"));
  for (const std::string& message : report->messages) {
    fmt::print(console.err, "{}\n", message);
  }
  if (json) {
    print_json(console, *report, config.image.path);
  } else {
    print_human(console, *report);
  }
  if (report->corruptions > 0) return kCorrupt;
  return report->leaks > 0 ? kLeaks : kClean;
}

}  // namespace

int run_check(const CheckConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
