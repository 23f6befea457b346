// SPDX-License-Identifier: Apache-2.0
// Images in memory for tests of the qcow engine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "disk/qcow/check.h"
#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/testing/memory_storage.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {

class QcowFixture {
 public:
  explicit QcowFixture(unsigned max_delay = 0, std::uint64_t seed = 1)
      : loop(*EventLoop::create()), max_delay_(max_delay), seed_(seed) {}

  void format(const FormatOptions& options) {
    require(loop->run_until(format_image(*make_storage(false), options)));
  }

  Result<std::unique_ptr<QcowDisk>> try_open(QcowOptions options = {},
                                             std::unique_ptr<Disk> backing = nullptr) {
    std::unique_ptr<Storage> storage = make_storage(options.read_only);
    Result<Header> header = loop->run_until(read_header(*storage));
    if (!header) return Unexpected(header.error());
    std::unique_ptr<Storage> data_file;
    if (header->has(Incompatible::kDataFile)) {
      data_file = std::make_unique<MemoryStorage>(*loop, data, max_delay_, ++seed_);
    }
    return loop->run_until(QcowDisk::open(*loop, std::move(storage), *header, std::move(backing),
                                          std::move(data_file), options));
  }
  void open(QcowOptions options = {}, std::unique_ptr<Disk> backing = nullptr) {
    Result<std::unique_ptr<QcowDisk>> opened = try_open(options, std::move(backing));
    require(opened);
    disk = std::move(*opened);
  }
  void close() {
    require(loop->run_until(disk->close()));
    disk.reset();
  }

  // Of the bytes as they are in the file.
  CheckReport check(Repair repair = Repair::kNone) {
    MemoryStorage storage(*loop, bytes);
    Result<Header> header = loop->run_until(read_header(storage));
    require(header);
    Result<CheckReport> report = loop->run_until(check_image(*loop, storage, *header, repair));
    require(report);
    return *report;
  }
  bool sound() {
    const CheckReport report = check();
    for (const std::string& message : report.messages) UNSCOPED_INFO(message);
    return report.corruptions == 0 && report.leaks == 0;
  }
  void flush() { require(loop->run_until(disk->flush())); }

  Result<void> try_write(std::uint64_t offset, std::vector<std::byte> data) {
    iovec iov = as_iovec(std::span<std::byte>(data));
    return loop->run_until(disk->writev(offset, IoVec(&iov, 1)));
  }
  void write(std::uint64_t offset, std::uint64_t length, unsigned char value) {
    require(try_write(offset, std::vector<std::byte>(length, std::byte{value})));
  }
  std::vector<std::byte> read(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> data(length, std::byte{0xee});
    iovec iov = as_iovec(std::span<std::byte>(data));
    require(loop->run_until(disk->readv(offset, IoVec(&iov, 1))));
    return data;
  }
  Result<void> try_snapshot(const std::string& name) {
    Snapshot snapshot;
    snapshot.name = name;
    return loop->run_until(disk->create_snapshot(std::move(snapshot)));
  }
  Result<void> try_resize(std::uint64_t size) { return loop->run_until(disk->resize(size)); }
  // Whether the range holds nothing but `value`.
  bool holds(std::uint64_t offset, std::uint64_t length, unsigned char value) {
    return read(offset, length) == std::vector<std::byte>(length, std::byte{value});
  }

  template <class T>
  static void require(const Result<T>& result) {
    INFO((result ? std::string() : result.error().message()));
    REQUIRE(result.has_value());
  }

  std::unique_ptr<EventLoop> loop;
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();
  // Of the data file, where the image has one.
  std::shared_ptr<MemoryStorage::Bytes> data = std::make_shared<MemoryStorage::Bytes>();
  // What images are made and opened on; `bytes` unless a test has another.
  std::function<std::unique_ptr<Storage>(bool read_only)> make_storage = [this](bool read_only) {
    return std::make_unique<MemoryStorage>(*loop, bytes, max_delay_, ++seed_, read_only);
  };
  std::unique_ptr<QcowDisk> disk;

 private:
  unsigned max_delay_;
  std::uint64_t seed_;
};

}  // namespace vmm::disk::qcow
