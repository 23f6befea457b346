// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/rebase_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "disk/open_disk.h"
#include "disk/qcow/qcow_disk.h"
#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/block_status.h"
#include "vmm/tools/progress.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kChunk = 2 << 20;  // bytes compared at once

// What the new backing file has at `offset`: zeros beyond its end, and where there is none.
Task<Result<void>> read_new(disk::Disk* backing, std::uint64_t offset, std::span<std::byte> to) {
  const std::uint64_t size = backing == nullptr ? 0 : backing->size();
  const std::uint64_t there =
      offset >= size ? 0 : std::min<std::uint64_t>(to.size(), size - offset);
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(there), to.end(), std::byte{0});
  if (there == 0) co_return Result<void>();
  const iovec iov{to.data(), there};
  co_return co_await backing->readv(offset, IoVec(&iov, 1));
}

// Writes into the overlay, cluster by cluster, what the guest sees now and would not see with the
// new backing file. As data even where it is zeros: a zero that the image needs no cluster for
// today would show what is behind it tomorrow.
Task<Result<void>> keep_contents(disk::qcow::QcowDisk& overlay, disk::Disk* backing,
                                 Progress& progress) {
  const std::uint64_t cluster = overlay.geometry().cluster_size();
  const std::uint64_t chunk = std::max(kChunk, cluster);
  const AlignedBuffer before(chunk);
  const AlignedBuffer after(chunk);
  if (!before || !after) co_return fail(ErrorKind::kInvalid, "no memory for the copy");
  const std::uint64_t end = overlay.size();
  for (std::uint64_t offset = 0; offset < end;) {
    VMM_CO_TRY(const BlockStatus status, co_await block_status(overlay, offset, end));
    const std::uint64_t length = std::min(status.length, chunk - offset % chunk);
    if (status.depth > 0 || !status.present) {
      const iovec old{before.data(), length};
      VMM_CO_CHECK(co_await overlay.readv(offset, IoVec(&old, 1)));
      VMM_CO_CHECK(co_await read_new(backing, offset, after.span().first(length)));
      for (std::uint64_t at = 0; at < length;) {
        const std::uint64_t size = std::min(length - at, cluster - (offset + at) % cluster);
        if (std::memcmp(before.data() + at, after.data() + at, size) != 0) {
          const iovec part{before.data() + at, size};
          VMM_CO_CHECK(co_await overlay.writev(offset + at, IoVec(&part, 1)));
        }
        at += size;
      }
    }
    offset += length;
    progress.advance(length);
  }
  co_return Result<void>();
}

Result<std::unique_ptr<OpenedImage>> open_backing(Session& session, const RebaseConfig& config,
                                                  const std::string& overlay) {
  if (config.backing_file.empty() || config.unsafe) return std::unique_ptr<OpenedImage>();
  ImageOptions options;
  VMM_TRY(options.path, disk::resolve_name(overlay, config.backing_file));
  options.format = config.backing_format;
  options.read_only = true;
  options.cache = config.source_cache;
  options.force_share = config.force_share;
  return session.open(std::move(options));
}

// A snapshot that shows something of the old backing file would show something else afterwards.
Result<void> check_snapshots(Session& session, disk::qcow::QcowDisk& overlay) {
  VMM_TRY(const std::optional<std::string> over, session.wait(overlay.snapshot_over_backing()));
  if (!over) return {};
  return fail(ErrorKind::kUnsupported,
              fmt::format("the snapshot '{}' shows data of the backing file and would lose it: "
                          "delete the snapshot first, or use -u where the new backing file holds "
                          "the same",
                          *over));
}

Result<void> check_words(const RebaseConfig& config) {
  if (!config.unsafe && !config.names_backing) {
    return fail(ErrorKind::kInvalid, "Must specify backing file (-b) or use unsafe mode (-u)");
  }
  const std::string& format = config.backing_format;
  if (format.empty() || format == "file" || format == "host_device") return {};
  VMM_CHECK(disk::parse_format(format));
  return {};
}

Result<int> run(const RebaseConfig& config, const Console& console) {
  VMM_CHECK(check_words(config));
  if (!config.backing_file.empty() && config.backing_format.empty()) {
    return fail(ErrorKind::kInvalid,
                fmt::format("Could not change the backing file to '{}': backing format must be "
                            "specified",
                            config.backing_file));
  }
  VMM_TRY(Session session, Session::start());
  ImageOptions options = config.image;
  if (config.unsafe) options.driver_options["backing"] = "off";
  VMM_TRY(const auto image, session.open(std::move(options)));
  if (image->qcow2() == nullptr) {
    return fail(
        ErrorKind::kUnsupported,
        fmt::format("the backing file of {} images cannot be changed", image->disk().format()));
  }
  if (!config.unsafe) {
    VMM_CHECK(check_snapshots(session, *image->qcow2()));
  }
  VMM_TRY(const auto backing, open_backing(session, config, image->options().path));
  if (!config.unsafe) {
    Progress progress(console.out, config.progress && !console.quiet, image->disk().size());
    disk::Disk* below = backing ? &backing->disk() : nullptr;
    VMM_CHECK(session.wait(keep_contents(*image->qcow2(), below, progress)));
    // The copies must be there before the old backing file is not.
    VMM_CHECK(session.wait(image->disk().flush()));
  }
  VMM_CHECK(session.wait(image->qcow2()->set_backing(config.backing_file, config.backing_format)));
  if (backing) {
    VMM_CHECK(session.close(*backing));
  }
  VMM_CHECK(session.close(*image));
  return 0;
}

}  // namespace

int run_rebase(const RebaseConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
