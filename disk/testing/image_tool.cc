// SPDX-License-Identifier: Apache-2.0
// image-tool FILE [ro]: runs the requests on its standard input on an image, 16 at a time where
// they do not overlap, and stops at the first that fails. For the differential tests.
// image-tool FILE check [leaks|all]: prints "corruptions leaks corruptions-fixed leaks-fixed" and
// what was found.
//
//   write|read OFFSET LENGTH VALUE    read checks that every byte is VALUE
//   zero|zero-unmap|discard OFFSET LENGTH
//   flush
//   dump PATH                         the whole disk's bytes, to a file
//   snapshot create|apply|delete NAME
//   resize SIZE
//   preallocate FROM metadata|falloc|full
//   empty                             forgets all guest data, as after a commit
//   flatten                           takes over what the backing file shows, and does without it
//   compress OFFSET VALUE             one cluster, filled with VALUE
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "disk/checks.h"
#include "disk/disk.h"
#include "disk/file_storage.h"
#include "disk/open_disk.h"
#include "disk/qcow/check.h"
#include "disk/qcow/compressed.h"
#include "disk/qcow/qcow_disk.h"
#include "vmm/io/sync.h"

namespace vmm::disk {
namespace {

struct Request {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  int value = 0;
};

bool g_failed = false;

void say_failed(const Request& request, const std::string& why) {
  g_failed = true;
  std::fprintf(stderr, "%s %llu %llu: %s\n", request.name.c_str(),
               static_cast<unsigned long long>(request.offset),
               static_cast<unsigned long long>(request.length), why.c_str());
}

Task<void> perform(Disk& disk, Request request) {
  Result<void> done;
  const auto value = static_cast<std::byte>(request.value);
  if (request.name == "write" || request.name == "read") {
    const bool write = request.name == "write";
    std::vector<std::byte> data(request.length,
                                write ? value : static_cast<std::byte>(~request.value));
    iovec iov = as_iovec(std::span<std::byte>(data));
    const IoVec list(&iov, 1);
    // Not as a conditional expression: g++ 12 destroys twice what a co_await in one gives.
    if (write) {
      done = co_await disk.writev(request.offset, list);
    } else {
      done = co_await disk.readv(request.offset, list);
    }
    for (std::size_t i = 0; done && i < data.size(); ++i) {
      if (data[i] == value) continue;
      say_failed(request, "byte " + std::to_string(request.offset + i) + " is " +
                              std::to_string(std::to_integer<int>(data[i])));
      break;
    }
  } else if (request.name == "discard") {
    done = co_await disk.discard(request.offset, request.length);
  } else if (request.name == "zero") {
    done = co_await disk.write_zeroes(request.offset, request.length, ZeroMode::kKeepAllocated);
  } else if (request.name == "zero-unmap") {
    done = co_await disk.write_zeroes(request.offset, request.length, ZeroMode::kMayUnmap);
  } else if (request.name == "flush") {
    done = co_await disk.flush();
  } else {
    done = fail(ErrorKind::kInvalid, "unknown request");
  }
  if (!done) say_failed(request, done.error().message());
}

Task<Result<void>> dump(Disk& disk, const std::string& path) {
  std::ofstream out(path, std::ios::binary);
  std::vector<std::byte> data(1 << 20);
  for (std::uint64_t at = 0; at < disk.size(); at += data.size()) {
    iovec iov{data.data(), std::min<std::uint64_t>(data.size(), disk.size() - at)};
    VMM_CO_CHECK(co_await disk.readv(at, IoVec(&iov, 1)));
    out.write(reinterpret_cast<const char*>(data.data()),
              static_cast<std::streamsize>(iov.iov_len));
  }
  co_return Result<void>();
}

Task<Result<void>> compress_cluster(qcow::QcowDisk& disk, std::uint64_t offset, int value) {
  const std::uint64_t size =
      std::min<std::uint64_t>(disk.geometry().cluster_size(), disk.size() - offset);
  std::vector<std::byte> data(disk.geometry().cluster_size(), static_cast<std::byte>(value));
  std::fill(data.begin() + static_cast<std::ptrdiff_t>(size), data.end(), std::byte{0});
  std::vector<std::byte> packed(data.size());
  VMM_CO_TRY(std::size_t length, qcow::compress(disk.header().compression_type, data, packed));
  iovec iov{data.data(), size};
  co_return co_await disk.write_compressed(offset, std::span(packed).first(length), IoVec(&iov, 1));
}

Task<Result<void>> flatten(qcow::QcowDisk& disk) {
  VMM_CO_TRY(const std::optional<std::string> over, co_await disk.snapshot_over_backing());
  if (over) co_return fail(ErrorKind::kUnsupported, "the snapshot " + *over + " would change");
  std::vector<std::byte> data(disk.geometry().cluster_size());
  for (std::uint64_t at = 0; at < disk.size(); at += data.size()) {
    iovec iov{data.data(), std::min<std::uint64_t>(data.size(), disk.size() - at)};
    VMM_CO_CHECK(co_await disk.readv(at, IoVec(&iov, 1)));
    if (!is_zero(IoVec(&iov, 1))) {
      VMM_CO_CHECK(co_await disk.writev(at, IoVec(&iov, 1)));
    }
  }
  VMM_CO_CHECK(co_await disk.flush());
  co_return co_await disk.set_backing("", "");
}

// A request that must be alone: snapshots, the size, the backing file.
Result<void> maintain(EventLoop& loop, Disk& disk, const std::string& name) {
  auto* image = dynamic_cast<qcow::QcowDisk*>(&disk);
  if (image == nullptr) return fail(ErrorKind::kUnsupported, "not a qcow2 image");
  char verb[16], argument[256];
  if (name == "snapshot" && std::scanf("%15s %255s", verb, argument) == 2) {
    const std::string what = verb;
    if (what == "apply") return loop.run_until(image->apply_snapshot(argument));
    if (what == "delete") return loop.run_until(image->delete_snapshot(argument));
    qcow::Snapshot snapshot;
    snapshot.name = argument;
    return loop.run_until(image->create_snapshot(std::move(snapshot)));
  }
  unsigned long long number = 0;
  int value = 0;
  if (name == "resize" && std::scanf("%llu", &number) == 1) {
    return loop.run_until(image->resize(number));
  }
  if (name == "empty") return loop.run_until(image->make_empty());
  if (name == "flatten") return loop.run_until(flatten(*image));
  if (name == "preallocate" && std::scanf("%llu %15s", &number, verb) == 2) {
    const std::string how = verb;
    return loop.run_until(image->preallocate(number, how == "falloc", how == "full"));
  }
  if (name == "compress" && std::scanf("%llu %d", &number, &value) == 2) {
    return loop.run_until(compress_cluster(*image, number, value));
  }
  return fail(ErrorKind::kInvalid, "arguments are missing");
}

int run(const DiskOptions& options) {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Result<std::unique_ptr<Disk>> disk = loop->run_until(open_disk(*loop, options));
  if (!disk) {
    std::fprintf(stderr, "%s\n", disk.error().message().c_str());
    return 2;
  }
  Gate gate(*loop);
  std::vector<Request> batch;
  auto finish = [&] {
    for (const Request& request : batch) spawn(gate, perform(**disk, request));
    loop->run_until(gate.close());
    gate.reopen();
    batch.clear();
  };
  char name[16], path[512];
  while (!g_failed && std::scanf("%15s", name) == 1) {
    Request request{name};
    if (request.name == "dump") {
      if (std::scanf("%511s", path) != 1) return 2;
      finish();
      Result<void> dumped = loop->run_until(dump(**disk, path));
      if (!dumped) say_failed(request, dumped.error().message());
      continue;
    }
    static const std::vector<std::string> alone = {"snapshot", "resize",  "compress",
                                                   "empty",    "flatten", "preallocate"};
    if (std::find(alone.begin(), alone.end(), name) != alone.end()) {
      finish();
      Result<void> done = maintain(*loop, **disk, request.name);
      if (!done) say_failed(request, done.error().message());
      continue;
    }
    unsigned long long offset = 0, length = 0;
    if (request.name != "flush" && std::scanf("%llu %llu", &offset, &length) != 2) return 2;
    request.offset = offset;
    request.length = length;
    if ((request.name == "write" || request.name == "read") &&
        std::scanf("%d", &request.value) != 1) {
      return 2;
    }
    bool meets = batch.size() >= 16;
    for (const Request& other : batch) {
      meets |= other.offset < offset + length && offset < other.offset + other.length;
    }
    if (meets) finish();
    batch.push_back(std::move(request));
  }
  finish();
  Result<void> closed = loop->run_until((*disk)->close());
  if (!closed) std::fprintf(stderr, "close: %s\n", closed.error().message().c_str());
  return g_failed || !closed ? 1 : 0;
}

Task<Result<qcow::CheckReport>> check_file(EventLoop& loop, Storage& storage, qcow::Repair repair) {
  VMM_CO_TRY(qcow::Header header, co_await qcow::read_header(storage));
  co_return co_await qcow::check_image(loop, storage, header, repair);
}

int check(const std::string& path, const std::string& how) {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  const qcow::Repair repair = how == "leaks" ? qcow::Repair::kLeaks
                              : how == "all" ? qcow::Repair::kAll
                                             : qcow::Repair::kNone;
  FileOptions options;
  options.read_only = repair == qcow::Repair::kNone;
  Result<std::unique_ptr<FileStorage>> file = FileStorage::open(*loop, path, options);
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().message().c_str());
    return 2;
  }
  Result<qcow::CheckReport> report = loop->run_until(check_file(*loop, **file, repair));
  if (!report) {
    std::fprintf(stderr, "%s\n", report.error().message().c_str());
    return 1;
  }
  std::printf("%llu %llu %llu %llu\n", static_cast<unsigned long long>(report->corruptions),
              static_cast<unsigned long long>(report->leaks),
              static_cast<unsigned long long>(report->corruptions_fixed),
              static_cast<unsigned long long>(report->leaks_fixed));
  for (const std::string& message : report->messages) std::printf("%s\n", message.c_str());
  return 0;
}

}  // namespace
}  // namespace vmm::disk

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (argc >= 3 && std::strcmp(argv[2], "check") == 0) {
    return vmm::disk::check(argv[1], argc > 3 ? argv[3] : "");
  }
  vmm::disk::DiskOptions options;
  options.path = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "ro") options.read_only = true;
    if (flag == "direct") options.cache = vmm::disk::CacheMode::kNone;
    if (flag == "temporary") options.temporary = true;
    if (flag == "small-cache") {
      options.l2_cache_entry_size = 512;
      options.l2_cache_size = options.refcount_cache_size = 1024;
    }
  }
  return vmm::disk::run(options);
}
