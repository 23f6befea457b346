// SPDX-License-Identifier: Apache-2.0
// Opens an image that the input chose, and works on it.
//
// The image is one that vmm itself makes, with bytes changed where the input says, or the input's
// own bytes. Where nothing was changed and nothing failed, every read must give what was written,
// before and after closing: a fuzzer for crashes is one for lost data too.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "fuzz/sparse_storage.h"
#include "vmm/core/log.h"
#include "vmm/io/sync.h"

namespace vmm::fuzz {
namespace {

using disk::qcow::QcowDisk;
using disk::qcow::QcowOptions;

constexpr std::uint64_t kMaxModel = 1 << 20;    // bytes of the disk that the model follows
constexpr std::uint64_t kMaxRequest = 1 << 17;  // bytes

[[noreturn]] void wrong(const char* what) {
  std::fprintf(stderr, "image_fuzz: %s\n", what);
  std::abort();
}

class ImageFuzzer {
 public:
  ImageFuzzer(EventLoop& loop, FuzzedDataProvider& input) : loop_(loop), input_(input) {}

  void run() {
    if (!make_image()) return;
    choose_options();
    for (unsigned i = 0; i < 8 && input_.remaining_bytes() > 0 && open(); ++i) {
      work();
      close();
    }
    bytes_->operations_until_failure = ~0u;
    if (pristine_ && open()) check_all();
    if (disk_) close();
  }

 private:
  bool make_image() {
    if (input_.ConsumeProbability<float>() < 0.1f) {
      std::vector<std::uint8_t> raw =
          input_.ConsumeBytes<std::uint8_t>(input_.ConsumeIntegralInRange<std::size_t>(0, 1 << 16));
      pristine_ = false;
      store(0, raw);
      return true;
    }
    disk::qcow::FormatOptions options;
    options.version = input_.ConsumeBool() ? 3 : 2;
    options.cluster_size = std::uint64_t{1} << input_.ConsumeIntegralInRange(9, 16);
    options.refcount_bits = options.version == 2 ? 16 : 1u << input_.ConsumeIntegralInRange(0, 6);
    options.lazy_refcounts = options.version == 3 && input_.ConsumeBool();
    options.extended_l2 =
        options.version == 3 && options.cluster_size >= 16384 && input_.ConsumeBool();
    options.size = input_.ConsumeBool()
                       ? input_.ConsumeIntegralInRange<std::uint64_t>(1, kMaxModel / 512) * 512
                       : input_.ConsumeIntegralInRange<std::uint64_t>(0, std::uint64_t{1} << 32);
    disk::Storage& storage =
        *(storage_ = std::make_unique<SparseStorage>(loop_, bytes_, false, false));
    Result<void> formatted = loop_.run_until(disk::qcow::format_image(storage, options));
    if (!formatted) return false;
    model_.assign(std::min(options.size, kMaxModel), std::byte{0});
    unknown_.assign(model_.size(), std::byte{0});

    for (unsigned patches = input_.ConsumeIntegralInRange(0, 8); patches > 0; --patches)
      patch(options.cluster_size);
    return true;
  }

  // Damages metadata: the header byte by byte, tables by whole entries of a plausible shape.
  void patch(std::uint64_t cluster_size) {
    pristine_ = false;
    if (input_.ConsumeBool()) {
      std::uint64_t at = input_.ConsumeIntegralInRange<std::uint64_t>(0, 112);
      store(at,
            input_.ConsumeBytes<std::uint8_t>(input_.ConsumeIntegralInRange<std::size_t>(1, 8)));
      return;
    }
    std::uint64_t cluster = input_.ConsumeIntegralInRange<std::uint64_t>(0, 16);
    std::uint64_t index = input_.ConsumeIntegralInRange<std::uint64_t>(0, cluster_size / 8 - 1);
    std::uint64_t entry = input_.ConsumeIntegralInRange<std::uint64_t>(0, 32) * cluster_size;
    if (input_.ConsumeBool()) entry = input_.ConsumeIntegral<std::uint64_t>();
    entry |= std::uint64_t{input_.ConsumeIntegralInRange<unsigned>(0, 3)} << 62;
    std::vector<std::uint8_t> big_endian(8);
    for (unsigned i = 0; i < 8; ++i)
      big_endian[i] = static_cast<std::uint8_t>(entry >> (56 - 8 * i));
    store(cluster * cluster_size + index * 8, big_endian);
  }

  void store(std::uint64_t at, const std::vector<std::uint8_t>& data) {
    SparseStorage storage(loop_, bytes_, false, false);
    std::vector<std::uint8_t> copy = data;
    iovec iov{copy.data(), copy.size()};
    (void)loop_.run_until(storage.writev(at, IoVec(&iov, 1)));
  }

  void choose_options() {
    options_.read_only = input_.ConsumeProbability<float>() < 0.1f;
    options_.l2_cache_size = input_.ConsumeIntegralInRange<std::uint64_t>(0, 64 << 10);
    if (input_.ConsumeBool()) options_.l2_cache_entry_size = 512;
    options_.refcount_cache_size = input_.ConsumeIntegralInRange<std::uint64_t>(0, 16 << 10);
    options_.discard = input_.ConsumeBool();
    options_.detect_zeroes = input_.ConsumeBool();
    yields_ = input_.ConsumeBool();
  }

  bool open() {
    auto storage = std::make_unique<SparseStorage>(loop_, bytes_, options_.read_only, yields_);
    Result<disk::qcow::Header> header = loop_.run_until(disk::qcow::read_header(*storage));
    if (header) {
      Result<std::unique_ptr<QcowDisk>> opened = loop_.run_until(
          QcowDisk::open(loop_, std::move(storage), *header, nullptr, nullptr, options_));
      if (opened) disk_ = std::move(*opened);
    }
    if (!disk_ && pristine_) wrong("an image of our own does not open");
    return disk_ != nullptr;
  }

  void close() {
    Result<void> closed = loop_.run_until(disk_->close());
    if (!closed && pristine_) wrong("an image of our own does not close");
    disk_.reset();
  }

  void work() {
    Gate gate(loop_);
    while (input_.remaining_bytes() > 0) {
      unsigned action = input_.ConsumeIntegralInRange<unsigned>(0, 15);
      if (action == 0) break;  // close and open again
      if (action == 1 && input_.ConsumeProbability<float>() < 0.2f) {
        pristine_ = false;
        bytes_->operations_until_failure = input_.ConsumeIntegralInRange<unsigned>(0, 20);
        bytes_->fail_once = input_.ConsumeBool();
        continue;
      }
      if (action == 2) {  // several at once: what overlapping ones leave behind is not modelled
        for (unsigned count = input_.ConsumeIntegralInRange(2, 4); count > 0; --count) {
          spawn(gate, request(choose()));
        }
        loop_.run_until(drain(gate));
        pristine_ = false;
        continue;
      }
      loop_.run_until(request(choose()));
    }
  }

  static Task<void> drain(Gate& gate) {
    co_await gate.close();
    gate.reopen();
  }

  struct Request {
    unsigned kind;
    std::uint64_t offset;
    std::uint64_t length;
    std::byte value;
  };

  Request choose() {
    Request request;
    request.kind = input_.ConsumeIntegralInRange<unsigned>(0, 6);
    std::uint64_t size = disk_->size();
    request.offset = input_.ConsumeIntegralInRange<std::uint64_t>(0, std::min(size, kMaxModel));
    if (input_.ConsumeProbability<float>() < 0.1f)
      request.offset = input_.ConsumeIntegralInRange<std::uint64_t>(0, size);
    request.length = input_.ConsumeIntegralInRange<std::uint64_t>(0, kMaxRequest);
    if (request.length > size - request.offset && input_.ConsumeProbability<float>() < 0.95f) {
      request.length = size - request.offset;
    }
    if (request.kind >= 3 && input_.ConsumeBool() && size < kMaxModel)
      request.length = size - request.offset;
    request.value = std::byte{input_.ConsumeIntegralInRange<std::uint8_t>(0, 3)};
    return request;
  }

  Task<void> request(Request request) {
    const bool inside = request.length <= disk_->size() - request.offset;
    Result<void> done;
    std::vector<std::byte> data;
    if (request.kind < 2) data.assign(request.length, request.value);
    iovec iov{data.data(), data.size()};
    switch (request.kind) {
      case 0:
        done = co_await disk_->writev(request.offset, IoVec(&iov, 1));
        if (done) remember(request.offset, request.length, request.value);
        break;
      case 1:
        done = co_await disk_->readv(request.offset, IoVec(&iov, 1));
        if (done) compare(request.offset, data);
        break;
      case 2:
        done = co_await disk_->flush();
        break;
      case 3:
        done = co_await disk_->discard(request.offset, request.length);
        if (done) forget(request.offset, request.length);
        break;
      case 4:
      case 5:
        done = co_await disk_->write_zeroes(
            request.offset, request.length,
            request.kind == 4 ? disk::ZeroMode::kMayUnmap : disk::ZeroMode::kKeepAllocated);
        if (done) remember(request.offset, request.length, std::byte{0});
        break;
      default:
        if (request.offset < disk_->size()) (void)co_await disk_->extent_at(request.offset);
        break;
    }
    if (!done && pristine_ && inside && !options_.read_only) {
      // The storage is full: not a fault.
      if (bytes_->blocks.size() < SparseStorage::kMaxBlocks) wrong(done.error().message().c_str());
      pristine_ = false;
    }
    if (done && !inside && request.kind != 2 && request.kind != 6)
      wrong("a request beyond the end succeeded");
  }

  // The model: what the first bytes hold, and which of them nobody can know.
  void remember(std::uint64_t offset, std::uint64_t length, std::byte value) {
    const auto [from, to] = followed(offset, length);
    std::fill(model_.begin() + from, model_.begin() + to, value);
    std::fill(unknown_.begin() + from, unknown_.begin() + to, std::byte{0});
  }
  void forget(std::uint64_t offset, std::uint64_t length) {  // zeros or what was there
    const auto [from, to] = followed(offset, length);
    std::fill(unknown_.begin() + from, unknown_.begin() + to, std::byte{0xff});
  }
  void compare(std::uint64_t offset, const std::vector<std::byte>& data) const {
    if (!pristine_) return;
    const auto [from, to] = followed(offset, data.size());
    const auto length = static_cast<std::size_t>(to - from);
    if (!same(data.data(), model_.data() + from, unknown_.data() + from, length))
      wrong("a read gives what was not written");
  }
  // Without coverage, which would cost more here than all of the disk's own code.
  __attribute__((no_sanitize("coverage", "address"))) static bool same(const std::byte* read,
                                                                       const std::byte* written,
                                                                       const std::byte* unknown,
                                                                       std::size_t length) {
    for (std::size_t i = 0; i < length; ++i) {
      if (read[i] != written[i] && unknown[i] == std::byte{0}) return false;
    }
    return true;
  }
  // The part of a range that the model follows, as indexes.
  std::pair<std::ptrdiff_t, std::ptrdiff_t> followed(std::uint64_t offset,
                                                     std::uint64_t length) const {
    const std::uint64_t from = std::min<std::uint64_t>(offset, model_.size());
    const std::uint64_t to = from + std::min<std::uint64_t>(length, model_.size() - from);
    return {static_cast<std::ptrdiff_t>(from), static_cast<std::ptrdiff_t>(to)};
  }
  void check_all() {
    std::vector<std::byte> data(model_.size());
    iovec iov{data.data(), data.size()};
    if (data.empty()) return;
    if (!loop_.run_until(disk_->readv(0, IoVec(&iov, 1))))
      wrong("an image of our own cannot be read");
    compare(0, data);
  }

  EventLoop& loop_;
  FuzzedDataProvider& input_;
  std::shared_ptr<SparseStorage::Bytes> bytes_ = std::make_shared<SparseStorage::Bytes>();
  std::unique_ptr<SparseStorage> storage_;
  QcowOptions options_;
  bool yields_ = false;
  bool pristine_ = true;  // nothing was damaged and nothing failed
  std::vector<std::byte> model_;
  std::vector<std::byte> unknown_;  // 0xff where nobody can know
  std::unique_ptr<QcowDisk> disk_;
};

}  // namespace
}  // namespace vmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmm;
  log::set_level(log::Level::kError);
  static std::unique_ptr<EventLoop> loop = *EventLoop::create(EventLoop::Backend::kThreadPool);
  FuzzedDataProvider input(data, size);
  fuzz::ImageFuzzer(*loop, input).run();
  return 0;
}
