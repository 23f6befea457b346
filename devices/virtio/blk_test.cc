// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/blk.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "devices/testing/blk_bench.h"
#include "disk/write_errors.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::BlkBench;
using testing::BlkBenchOptions;
using testing::BlkCommand;
using testing::Buffer;
using testing::Used;

constexpr std::uint8_t kOk = 0, kIoError = 1, kUnsupported = 2;

struct Bench : BlkBench {
  explicit Bench(BlkBenchOptions options = {},
                 std::unique_ptr<EventLoop> own = *EventLoop::create())
      : BlkBench(*own, std::move(options)), loop_owner(std::move(own)) {}
  ~Bench() {
    disk.release();
    stop();
  }
  std::uint64_t config(unsigned offset, unsigned size) {
    return buses.read(driver->part(4) + offset, size);
  }
  unsigned interrupts(unsigned vector) { return msi.messages[vector]->nr_signals; }

  std::unique_ptr<EventLoop> loop_owner;
};

TEST_CASE("Blk: what is written is read again", "[blk]") {
  for (bool ioeventfd : {true, false}) {
    Bench bench({.ioeventfd = ioeventfd});
    bench.start();
    BlkCommand write = bench.command(BlkType::kOut, 8, 4096);
    bench.fill(write.data, 4096, 0x5a);
    Used used;
    CHECK(bench.run(write, &used) == kOk);
    CHECK(used.length == 1);
    CHECK(bench.disk.bytes[8 * 512 - 1] == std::byte{0});
    CHECK(bench.disk.bytes[8 * 512] == std::byte{0x5a});

    BlkCommand read = bench.command(BlkType::kIn, 8, 4096);
    CHECK(bench.run(read, &used) == kOk);
    CHECK(used.length == 4097);
    CHECK(bench.filled(read.data, 4096, 0x5a));
    CHECK(bench.interrupts(1) == 2);
    CHECK(bench.msi.messages[1]->data == 0x40);
    CHECK(bench.interrupts(0) == 0);
  }
}

TEST_CASE("Blk: FLUSH, GET_ID, DISCARD and WRITE_ZEROES do what they say", "[blk]") {
  Bench bench;
  bench.start();
  std::fill(bench.disk.bytes.begin(), bench.disk.bytes.end(), std::byte{7});

  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.disk.nr_unflushed == 1);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == kOk);
  CHECK(bench.disk.nr_unflushed == 0);

  BlkCommand id = bench.command(BlkType::kGetId, 0, 20);
  bench.fill(id.data, 20, 0xff);
  Used used;
  CHECK(bench.run(id, &used) == kOk);
  CHECK(used.length == 21);
  auto text = *bench.memory.read_object<std::array<char, 20>>(id.data);
  CHECK(std::string(text.data()) == "disk-0001");

  CHECK(bench.run(bench.range_command(BlkType::kDiscard, 16, 8)) == kOk);
  CHECK(bench.disk.nr_discards == 1);
  CHECK(bench.disk.bytes[16 * 512] == std::byte{0});
  CHECK(bench.disk.bytes[24 * 512] == std::byte{7});

  CHECK(bench.run(bench.range_command(BlkType::kWriteZeroes, 32, 8, 1)) == kOk);
  CHECK(bench.disk.last_zero_mode == disk::ZeroMode::kMayUnmap);
  CHECK(bench.run(bench.range_command(BlkType::kWriteZeroes, 40, 8, 0)) == kOk);
  CHECK(bench.disk.last_zero_mode == disk::ZeroMode::kKeepAllocated);
  CHECK(bench.disk.bytes[32 * 512] == std::byte{0});
  CHECK(bench.disk.bytes[48 * 512] == std::byte{7});
}

TEST_CASE("Blk: requests are counted by kind, the bytes of good ones alone", "[blk]") {
  Bench bench;
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kOut, 8, 4096)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kIn, 8, 1024)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == kOk);
  CHECK(bench.run(bench.range_command(BlkType::kDiscard, 16, 8)) == kOk);
  CHECK(bench.run(bench.range_command(BlkType::kWriteZeroes, 16, 8)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kGetId, 0, 20)) == kOk);
  CHECK(bench.run(bench.unknown_command(99)) == kUnsupported);
  bench.disk.fail_with = EIO;
  CHECK(bench.run(bench.command(BlkType::kIn, 0, 512)) == kIoError);
  const BlkStats stats = bench.blk.stats();
  CHECK(stats.writes == 2);
  CHECK(stats.written_bytes == 512 + 4096);
  CHECK(stats.reads == 1);
  CHECK(stats.read_bytes == 1024);
  CHECK(stats.flushes == 1);
  CHECK(stats.discards == 2);
  CHECK(stats.failures == 2);
  CHECK(stats.read_ns > 0);
  CHECK(stats.write_ns > 0);
  CHECK(stats.flush_ns > 0);
  CHECK(stats.write_ns < 60'000'000'000);
}

TEST_CASE("Blk: requests wait for their turn where rates are limited", "[blk]") {
  BlkBenchOptions options;
  options.blk.limits = {.operations = 100};
  Bench bench(options);
  bench.start();
  const auto start = std::chrono::steady_clock::now();
  // 10 may pass at once, and one more into debt; the first 11 of 21 so take no time.
  for (int i = 0; i < 21; ++i) CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(95));
  CHECK(bench.blk.stats().write_ns > 50'000'000);

  bench.blk.set_rate_limits({.operations = 1, .bytes = 1});
  CHECK(bench.blk.rate_limits() == RateLimits{1, 1});
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 4096)) == kOk);
  const BlkCommand late = bench.command(BlkType::kOut, 8, 4096);
  bench.queue().add(late.buffers());
  bench.driver->kick(0);
  bench.settle();
  CHECK_FALSE(bench.queue().has_used());
  // Identification is not I/O of the disk, and flows past.
  CHECK(bench.run(bench.command(BlkType::kGetId, 0, 20)) == kOk);
  bench.blk.set_rate_limits({});
  CHECK(bench.wait_for([&] { return bench.status_of(late) == kOk; }));
}

TEST_CASE("Blk: a reset does not wait for the turn of limited requests", "[blk]") {
  BlkBenchOptions options;
  options.blk.limits = {.bytes = 1};
  Bench bench(options);
  bench.start();
  for (unsigned i = 0; i < 4; ++i) {
    bench.queue().add(bench.command(BlkType::kOut, i, 512).buffers());
  }
  bench.driver->kick(0);
  bench.settle();
  bench.driver->set_status(0);
  CHECK(bench.wait_for([&] { return bench.driver->status() == 0; }));  // years, were they obeyed
  bench.blk.set_rate_limits({});
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
}

Task<Result<void>> enlarge(testing::MemoryDisk* disk, bool* begun, std::size_t size) {
  *begun = true;
  disk->bytes.resize(size);
  co_return Result<void>();
}

Task<void> maintain(Blk& blk, std::function<Task<Result<void>>()> work, std::string& answer) {
  Result<void> done = co_await blk.maintain(std::move(work));
  answer = done ? "done" : done.error().message();
}

TEST_CASE("Blk: a disk that grows waits for requests under way, and the driver is told", "[blk]") {
  Bench bench;
  bench.start();
  const std::uint64_t sectors = bench.config(0, 4);
  const unsigned told = bench.interrupts(0);
  bench.disk.hold();
  const BlkCommand before = bench.command(BlkType::kOut, 0, 512);
  bench.queue().add(before.buffers());
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));

  bool begun = false;
  std::string answer;
  Gate gate(bench.loop);
  auto work = [&] { return enlarge(&bench.disk, &begun, 4 << 20); };
  spawn(gate, maintain(bench.blk, work, answer));
  const BlkCommand after = bench.command(BlkType::kIn, sectors - 1, 512);
  bench.queue().add(after.buffers());
  bench.driver->kick(0);
  bench.settle();
  CHECK_FALSE(begun);
  CHECK(bench.disk.nr_waiting() == 1);  // the second one has not begun

  bench.disk.release();
  CHECK(bench.wait_for([&] { return answer == "done"; }));
  CHECK(bench.wait_for([&] { return bench.status_of(after) == kOk; }));
  CHECK(bench.status_of(before) == kOk);
  CHECK(bench.config(0, 4) == (4 << 20) / 512);
  CHECK(bench.interrupts(0) == told + 1);
  CHECK(bench.blk.size() == 4 << 20);
  CHECK(bench.queue().take_used());
  CHECK(bench.queue().take_used());
  CHECK(bench.run(bench.command(BlkType::kOut, (4 << 20) / 512 - 1, 512)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kOut, (4 << 20) / 512, 512)) == kIoError);
}

TEST_CASE("Blk: nothing is done to a disk while a failed change waits", "[blk]") {
  BlkBenchOptions options;
  options.blk.write_errors = disk::WriteErrors::kWait;
  Bench bench(options);
  bench.start();
  bench.disk.fail_with = EIO;
  const BlkCommand write = bench.command(BlkType::kOut, 0, 512);
  bench.queue().add(write.buffers());
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return bench.blk.waiting(); }));
  bool begun = false;
  std::string answer;
  Gate gate(bench.loop);
  auto work = [&] { return enlarge(&bench.disk, &begun, 4 << 20); };
  spawn(gate, maintain(bench.blk, work, answer));
  CHECK(bench.wait_for([&] { return !answer.empty(); }));
  CHECK_FALSE(begun);
  CHECK(answer.find("tried again") != std::string::npos);
  bench.disk.fail_with = 0;
  bench.blk.retry();
  CHECK(bench.wait_for([&] { return bench.status_of(write) == kOk; }));
}

Task<Result<void>> exchange(Blk* blk, testing::MemoryDisk* disk, std::vector<std::byte>* other) {
  disk->bytes.swap(*other);
  blk->disk_replaced();
  co_return Result<void>();
}

// As a bay does: A is in the place, then B.
struct Exchange {
  explicit Exchange(Bench& its_bench) : bench(its_bench), other(its_bench.disk.bytes.size()) {}
  void start() {
    auto work = [this] { return exchange(&bench.blk, &bench.disk, &other); };
    spawn(gate, maintain(bench.blk, work, answer));
  }
  bool finish() {
    return bench.wait_for([&] { return answer == "done"; });
  }
  BlkCommand send(std::uint64_t sector) {
    const BlkCommand write = bench.command(BlkType::kOut, sector, 512);
    bench.fill(write.data, 512, 0x77);
    bench.queue().add(write.buffers());
    bench.driver->kick(0);
    return write;
  }
  bool answered(const BlkCommand& command, std::uint8_t status) {
    return bench.wait_for([&] { return bench.status_of(command) == status; });
  }
  static auto nr_written(const std::vector<std::byte>& bytes) {
    return std::count(bytes.begin(), bytes.end(), std::byte{0x77}) / 512;
  }

  Bench& bench;
  std::vector<std::byte> other;  // B's bytes, then A's
  std::string answer;
  Gate gate{bench.loop};
};

TEST_CASE("Blk: requests that wait for their turn do not reach the next disk", "[blk]") {
  BlkBenchOptions options;
  options.blk.limits = {.operations = 1};
  Bench bench(options);
  bench.start();
  Exchange bay(bench);
  std::vector<BlkCommand> writes;
  for (std::uint64_t sector = 0; sector < 4; ++sector) writes.push_back(bay.send(sector));
  bench.settle();
  bay.start();
  REQUIRE(bay.finish());
  for (const BlkCommand& write : writes) CHECK(bay.answered(write, kOk));
  CHECK(bay.nr_written(bay.other) == 4);
  CHECK(bay.nr_written(bench.disk.bytes) == 0);
  // The rate holds for the next ones.
  const BlkCommand late = bay.send(9);
  bench.settle();
  CHECK(bay.nr_written(bench.disk.bytes) == 0);
  bench.blk.set_rate_limits({});
  CHECK(bay.answered(late, kOk));
  CHECK(bay.nr_written(bench.disk.bytes) == 1);
}

TEST_CASE("Blk: requests that are in the ring do not reach the next disk", "[blk]") {
  Bench bench;
  bench.start();
  bench.settle();
  Exchange bay(bench);
  const BlkCommand write = bay.send(0);  // no turn of the loop has come yet
  bay.start();
  REQUIRE(bay.finish());
  CHECK(bay.answered(write, kOk));
  CHECK(bay.nr_written(bay.other) == 1);
  CHECK(bay.nr_written(bench.disk.bytes) == 0);
}

TEST_CASE("Blk: requests that come while a disk is exchanged fail", "[blk]") {
  BlkBenchOptions options;
  options.blk.limits = {.operations = 1000};
  Bench bench(options);
  bench.start();
  Exchange bay(bench);
  bench.disk.hold();
  const BlkCommand before = bay.send(0);
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
  bay.start();
  const BlkCommand meanwhile = bay.send(1);
  bench.settle();
  bench.disk.release();
  REQUIRE(bay.finish());
  CHECK(bay.answered(before, kOk));
  CHECK(bay.answered(meanwhile, kIoError));
  CHECK(bay.nr_written(bay.other) == 1);
  CHECK(bay.nr_written(bench.disk.bytes) == 0);
  CHECK(bay.answered(bay.send(2), kOk));
  CHECK(bay.nr_written(bench.disk.bytes) == 1);
}

TEST_CASE("Blk: a reset while a disk is maintained does not wait for turns afterwards", "[blk]") {
  BlkBenchOptions options;
  options.blk.limits = {.bytes = 1};
  Bench bench(options);
  bench.start();
  bench.disk.hold();
  Exchange bay(bench);
  bay.send(0);
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
  bay.start();
  bench.settle();
  for (std::uint64_t sector = 1; sector < 4; ++sector) bay.send(sector);
  bench.settle();
  bench.driver->set_status(0);
  bench.settle();
  bench.disk.release();
  CHECK(bench.wait_for([&] { return bench.driver->status() == 0; }));  // years, were they obeyed
  REQUIRE(bay.finish());
  CHECK(bay.nr_written(bay.other) == 1);
}

// A transfer whose data is the same guest memory again and again. Gives its status' address.
GuestAddress send_repeated(Bench& bench, BlkType type, GuestAddress data, std::uint32_t size,
                           unsigned times) {
  const BlkCommand command = bench.command(type, 0, 16);
  const std::uint16_t write = type == BlkType::kIn ? testing::QueueDriver::kWrite : 0;
  const GuestAddress table = bench.arena.take(16 * (times + 2));
  auto set = [&](unsigned index, GuestAddress at, std::uint32_t length, unsigned flags) {
    bench.queue().set_descriptor_in(table, static_cast<std::uint16_t>(index), at, length,
                                    static_cast<std::uint16_t>(flags),
                                    static_cast<std::uint16_t>(index + 1));
  };
  set(0, command.header, 16, testing::QueueDriver::kNext);
  for (unsigned i = 1; i <= times; ++i) set(i, data, size, testing::QueueDriver::kNext | write);
  set(times + 1, command.status, 1, testing::QueueDriver::kWrite);
  const std::uint16_t slot = bench.queue().avail_index();
  bench.queue().set_descriptor(slot, table, 16 * (times + 2), testing::QueueDriver::kIndirect, 0);
  bench.queue().make_available(slot);
  return command.status;
}

TEST_CASE("Blk: a reset waits for a piece of a huge request, not for all of it", "[blk][hostile]") {
  for (BlkType type : {BlkType::kIn, BlkType::kOut}) {
    Bench bench({.disk_size = 64 << 20});
    bench.start();
    bench.disk.hold();
    send_repeated(bench, type, bench.arena.take(64 << 10), 64 << 10, 1000);
    bench.driver->kick(0);
    REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
    bench.driver->set_status(0);
    bench.settle();
    bench.disk.release();
    CHECK(bench.wait_for([&] { return bench.driver->status() == 0; }));
    CHECK(bench.disk.nr_begun() == 1);
    bench.start();
    CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  }
}

TEST_CASE("Blk: a huge request is carried out all the same", "[blk]") {
  Bench bench({.disk_size = 64 << 20});
  bench.start();
  const GuestAddress data = bench.arena.take(60 << 10);
  bench.fill(data, 60 << 10, 0x5a);
  const GuestAddress written = send_repeated(bench, BlkType::kOut, data, 60 << 10, 1000);
  bench.driver->kick(0);
  CHECK(bench.wait_for([&] { return bench.queue().has_used(); }));
  CHECK(*bench.memory.read_object<std::uint8_t>(written) == kOk);
  constexpr std::ptrdiff_t kSize = 1000 * (60 << 10);
  const auto begin = bench.disk.bytes.begin();
  CHECK(std::count(begin, begin + kSize, std::byte{0x5a}) == kSize);
  CHECK(bench.disk.bytes[kSize] == std::byte{0});
  CHECK(bench.disk.nr_begun() > 10);
}

TEST_CASE("Blk: no more bytes are in flight than a disk has memory for", "[blk][hostile]") {
  BlkBenchOptions options{.disk_size = 8 << 20};
  options.blk.queue_size = 64;
  Bench bench(options);
  bench.start();
  bench.disk.hold();
  const GuestAddress data = bench.arena.take(64 << 10);
  for (int i = 0; i < 40; ++i) send_repeated(bench, BlkType::kIn, data, 64 << 10, 64);
  bench.driver->kick(0);
  bench.settle();
  CHECK(bench.disk.nr_waiting() == 16);  // of 4 MiB each
  bench.driver->set_status(0);
  bench.settle();
  bench.disk.release();
  CHECK(bench.wait_for([&] { return bench.driver->status() == 0; }));
  CHECK(bench.disk.nr_begun() == 16);  // the others were given up
}

TEST_CASE("Blk: chains of many buffers wait in the ring", "[blk][hostile]") {
  BlkBenchOptions options{.disk_size = 8 << 20};
  options.blk.queue_size = 64;
  Bench bench(options);
  bench.start();
  bench.disk.hold();
  const GuestAddress data = bench.arena.take(1024);
  for (int i = 0; i < 30; ++i) send_repeated(bench, BlkType::kIn, data, 512, 1000);
  bench.driver->kick(0);
  bench.settle();
  CHECK(bench.disk.nr_waiting() == 9);  // with 1002 buffers each
  bench.disk.release();
  CHECK(bench.wait_for([&] { return bench.queue().used_index() == 30; }));
}

TEST_CASE("Blk: a reset waits for a piece of a huge discard, not for all of it", "[blk][hostile]") {
  for (BlkType type : {BlkType::kDiscard, BlkType::kWriteZeroes}) {
    Bench bench({.disk_size = 200 << 20});
    bench.start();
    bench.disk.hold();
    bench.queue().add(bench.range_command(type, 8, (200 << 11) - 8).buffers());
    bench.driver->kick(0);
    REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
    bench.driver->set_status(0);
    bench.settle();
    bench.disk.release();
    CHECK(bench.wait_for([&] { return bench.driver->status() == 0; }));
    CHECK(bench.disk.nr_begun() == 1);
    CHECK(bench.disk.bytes.size() == 200 << 20);
    bench.start();
    bench.disk.bytes[(64 << 20) - 1] = bench.disk.bytes[199 << 20] = std::byte{1};
    CHECK(bench.run(bench.range_command(type, 8, (200 << 11) - 8)) == kOk);
    CHECK(bench.disk.nr_begun() == 1 + 4);
    CHECK(bench.disk.bytes[(64 << 20) - 1] == std::byte{0});
    CHECK(bench.disk.bytes[199 << 20] == std::byte{0});
  }
}

// kvmtool never completed these: the guest hung.
TEST_CASE("Blk: a request of unknown type is completed as unsupported", "[blk]") {
  Bench bench;
  bench.start();
  CHECK(bench.run(bench.unknown_command(99)) == kUnsupported);
  CHECK(bench.run(bench.command(BlkType::kOut, 1 << 20, 512)) == kIoError);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
}

TEST_CASE("Blk: a disk that fails gives an I/O error and works again afterwards", "[blk]") {
  Bench bench;
  bench.start();
  bench.disk.fail_with = EIO;
  BlkCommand read = bench.command(BlkType::kIn, 0, 512);
  Used used;
  CHECK(bench.run(read, &used) == kIoError);
  CHECK(used.length == 0);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kIoError);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == kIoError);
  CHECK(bench.run(bench.range_command(BlkType::kDiscard, 0, 8)) == kIoError);
  bench.disk.fail_with = 0;
  CHECK(bench.run(read) == kOk);
}

TEST_CASE("Blk: a read-only disk offers and takes nothing that would change it", "[blk]") {
  Bench bench({.read_only = true});
  std::uint64_t features = bench.driver->device_features();
  CHECK((features & kBlkReadOnly) != 0);
  CHECK((features & (kBlkDiscard | kBlkWriteZeroes | kBlkConfigWce)) == 0);
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kIoError);
  CHECK(bench.run(bench.command(BlkType::kIn, 0, 512)) == kOk);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == kOk);
}

Task<Result<void>> set_read_only(testing::MemoryDisk* disk, bool read_only) {
  disk->set_read_only(read_only);
  co_return Result<void>();
}

TEST_CASE("Blk: a driver learns at its start whether the disk in a bay is read-only", "[blk]") {
  Bench bench;
  Gate gate(bench.loop);
  auto change_to = [&](bool read_only) {
    std::string answer;
    auto work = [&bench, read_only] { return set_read_only(&bench.disk, read_only); };
    spawn(gate, maintain(bench.blk, work, answer));
    CHECK(bench.wait_for([&] { return answer == "done"; }));
  };
  bench.start();
  CHECK((bench.driver->device_features() & kBlkReadOnly) == 0);
  change_to(true);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kIoError);
  CHECK(bench.run(bench.command(BlkType::kIn, 0, 512)) == kOk);
  CHECK((bench.driver->device_features() & kBlkReadOnly) != 0);
  change_to(false);
  CHECK((bench.driver->device_features() & kBlkReadOnly) == 0);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
}

TEST_CASE("Blk: the configuration space describes the disk", "[blk]") {
  Bench bench({.disk_size = (1 << 20) + 100});
  CHECK(bench.config(0, 8) == 2048);
  CHECK(bench.config(0, 4) == 2048);
  CHECK(bench.config(12, 4) == 14);   // seg_max
  CHECK(bench.config(20, 4) == 512);  // blk_size
  CHECK(bench.config(24, 1) == 3);    // 4 KiB physical blocks
  CHECK(bench.config(26, 2) == 8);    // min_io_size
  CHECK(bench.config(28, 4) == 128);  // opt_io_size: a cluster
  CHECK(bench.config(34, 2) == 1);    // num_queues
  CHECK(bench.config(36, 4) == kBlkMaxRangeSectors);
  CHECK(bench.config(56, 1) == 1);  // write_zeroes_may_unmap
  CHECK(bench.config(58, 8) == 0);  // behind the end
}

TEST_CASE("Blk: with the write cache off, a completed write is stable", "[blk]") {
  Bench bench;
  bench.start();
  CHECK(bench.config(32, 1) == 1);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.disk.nr_unflushed == 1);
  bench.buses.write(bench.driver->part(4) + 32, 1, 0);
  CHECK(bench.config(32, 1) == 0);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.disk.nr_unflushed == 0);
  CHECK(bench.run(bench.range_command(BlkType::kWriteZeroes, 0, 8)) == kOk);
  CHECK(bench.disk.nr_unflushed == 0);
}

TEST_CASE("Blk: for a driver that cannot flush, every write is flushed", "[blk]") {
  Bench bench;
  bench.start(kFeatureVersion1);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.disk.nr_unflushed == 0);
  // It did not negotiate CONFIG_WCE either: there is nothing to switch.
  bench.buses.write(bench.driver->part(4) + 32, 1, 1);
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK(bench.disk.nr_unflushed == 0);
}

TEST_CASE("Blk: chains that are done in one turn share one interrupt", "[blk]") {
  Bench bench;
  bench.start();
  bench.settle();
  std::vector<BlkCommand> commands;
  for (int i = 0; i < 5; ++i) commands.push_back(bench.command(BlkType::kOut, 0, 512));
  for (const BlkCommand& command : commands) bench.queue().add(command.buffers());
  CHECK(bench.queue().needs_kick());
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return bench.queue().used_index() == 5; }));
  bench.settle();
  CHECK(bench.interrupts(1) == 1);
}

TEST_CASE("Blk: a driver that polls is not interrupted", "[blk]") {
  Bench bench;
  bench.start();
  bench.queue().set_used_event(0x8000);
  for (int i = 0; i < 10; ++i) {
    CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  }
  bench.settle();
  CHECK(bench.interrupts(1) == 0);
}

TEST_CASE("Blk: requests overtake each other", "[blk]") {
  Bench bench;
  bench.start();
  bench.disk.hold();
  BlkCommand slow = bench.command(BlkType::kOut, 0, 512);
  std::uint16_t slow_head = bench.queue().add(slow.buffers());
  BlkCommand bad = bench.command(BlkType::kOut, 1 << 20, 512);
  std::uint16_t bad_head = bench.queue().add(bad.buffers());
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return bench.queue().has_used(); }));
  CHECK(bench.queue().take_used()->id == bad_head);
  CHECK(bench.status_of(slow) == 0xee);
  bench.disk.release();
  REQUIRE(bench.wait_for([&] { return bench.queue().has_used(); }));
  CHECK(bench.queue().take_used()->id == slow_head);
  CHECK(bench.status_of(slow) == kOk);
}

TEST_CASE("Blk: several queues serve one disk", "[blk]") {
  BlkBenchOptions options;
  options.blk.nr_queues = 4;
  Bench bench(options);
  CHECK((bench.driver->device_features() & kBlkMultiQueue) != 0);
  CHECK(bench.config(34, 2) == 4);
  bench.start(BlkBench::kAllFeatures | kBlkMultiQueue);
  std::vector<BlkCommand> commands;
  for (std::uint16_t i = 0; i < 4; ++i) {
    commands.push_back(bench.command(BlkType::kOut, i, 512));
    bench.fill(commands[i].data, 512, static_cast<std::uint8_t>(i + 1));
    bench.queue(i).add(commands[i].buffers());
    bench.driver->kick(i);
  }
  for (std::uint16_t i = 0; i < 4; ++i) {
    REQUIRE(bench.wait_for([&] { return bench.queue(i).has_used(); }));
    CHECK(bench.status_of(commands[i]) == kOk);
    CHECK(bench.disk.bytes[i * 512u] == std::byte(i + 1));
    CHECK(bench.wait_for([&] { return bench.interrupts(i + 1u) == 1; }));
  }
}

TEST_CASE("Blk: a reset waits for requests in flight, and the device starts afresh", "[blk]") {
  Bench bench;
  bench.start();
  bench.disk.hold();
  BlkCommand write = bench.command(BlkType::kOut, 0, 512);
  bench.fill(write.data, 512, 9);
  bench.queue().add(write.buffers());
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
  bench.driver->set_status(0);
  bench.settle();
  CHECK(bench.driver->status() != 0);
  CHECK(bench.kicks.bound().empty());
  // Nothing can be changed meanwhile.
  bench.driver->set_status(kStatusAcknowledge);
  bench.driver->set_common(testing::kQueueSelect, 2, 0);
  CHECK(bench.driver->common(testing::kQueueEnable, 2) == 1);

  bench.disk.release();
  REQUIRE(bench.wait_for([&] { return bench.driver->status() == 0; }));
  CHECK(bench.disk.bytes[0] == std::byte{9});
  CHECK(bench.driver->common(testing::kQueueEnable, 2) == 0);
  CHECK(bench.driver->common(testing::kQueueMsixVector, 2) == 0xffff);

  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
}

TEST_CASE("Blk: a broken ring asks for a reset, and works again after one", "[blk][hostile]") {
  Bench bench;
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  SECTION("avail.idx jumps") {
    bench.queue().set_avail_index(static_cast<std::uint16_t>(bench.queue().avail_index() + 1000));
  }
  SECTION("a buffer outside of memory") {
    bench.queue().set_descriptor(0, GuestAddress(std::uint64_t{1} << 40), 512, 0, 0);
    bench.queue().make_available(0);
  }
  SECTION("a request without room for its status") {
    BlkCommand command = bench.command(BlkType::kFlush, 0, 0);
    bench.queue().add({{command.header, 16, false}});
  }
  bench.driver->kick(0);
  REQUIRE(bench.wait_for([&] { return (bench.driver->status() & kStatusNeedsReset) != 0; }));
  CHECK(bench.interrupts(0) == 1);  // a configuration change

  bench.driver->set_status(0);
  REQUIRE(bench.wait_for([&] { return bench.driver->status() == 0; }));
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kOk);
  CHECK((bench.driver->status() & kStatusNeedsReset) == 0);
}

TEST_CASE("Blk: queues outside of memory ask for a reset", "[blk][hostile]") {
  Bench bench;
  REQUIRE(bench.driver->negotiate(kFeatureVersion1));
  bench.driver->set_up_queue(0, {.size = 16,
                                 .descriptors = GuestAddress(BlkBench::kMemory - 16),
                                 .driver_area = GuestAddress(0),
                                 .device_area = GuestAddress(~std::uint64_t{3})});
  bench.driver->driver_ok();
  REQUIRE(bench.wait_for([&] { return (bench.driver->status() & kStatusNeedsReset) != 0; }));
}

struct Dice {
  std::uint64_t state;
  std::uint64_t operator()(std::uint64_t sides) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % sides;
  }
  std::uint64_t wild_address() {
    return (*this)(2) == 0 ? (*this)(BlkBench::kMemory + 64) : (*this)(1u << 31) << (*this)(34);
  }
};

// A request that is right but for what the dice change: its sizes, one descriptor, the ring.
void throw_request(Bench& bench, Dice& dice) {
  constexpr BlkType kTypes[] = {BlkType::kIn,    BlkType::kOut,     BlkType::kFlush,
                                BlkType::kGetId, BlkType::kDiscard, BlkType::kWriteZeroes,
                                BlkType{77}};
  BlkCommand command =
      bench.command(kTypes[dice(7)], dice(2100), static_cast<std::uint32_t>(dice(8) * 512));
  if (dice(4) == 0) command.length = static_cast<std::uint32_t>(dice(5000));
  if (dice(8) == 0) command.data_writable = !command.data_writable;
  testing::QueueDriver& queue = bench.queue();
  std::vector<testing::Buffer> buffers = command.buffers();
  if (queue.nr_free() >= buffers.size()) queue.add(buffers);
  if (dice(12) == 0) {
    queue.set_descriptor(static_cast<std::uint16_t>(dice(16)), GuestAddress(dice.wild_address()),
                         static_cast<std::uint32_t>(dice(2) == 0 ? 16 * dice(70) : dice(1u << 31)),
                         static_cast<std::uint16_t>(dice(8)), static_cast<std::uint16_t>(dice(17)));
  }
  if (dice(40) == 0) queue.make_available(static_cast<std::uint16_t>(dice(17)));
  if (dice(300) == 0) queue.set_avail_index(static_cast<std::uint16_t>(dice(65536)));
  while (queue.take_used()) {
  }
}

// Nothing may break, leak or hang, and the guest can always begin again.
TEST_CASE("Blk: requests changed by dice harm nobody", "[blk][hostile]") {
  Dice dice{GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u)};
  Bench bench;
  bench.disk.yields = true;
  for (int round = 0; round < 40; ++round) {
    bench.arena = testing::GuestArena(GuestAddress(0x1000), BlkBench::kMemory - 0x1000);
    bench.start();
    for (int step = 0; step < 200; ++step) {
      throw_request(bench, dice);
      bench.driver->kick(0);
      if (dice(3) == 0) bench.turn(static_cast<int>(dice(4)));
    }
    bench.driver->set_status(0);
    REQUIRE(bench.wait_for([&] { return bench.driver->status() == 0; }));
  }
  bench.start();
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == kOk);
}

TEST_CASE("Blk: werror=enospc: a write without space waits until it is retried", "[blk]") {
  BlkBenchOptions options;
  options.blk.write_errors = disk::WriteErrors::kWaitNoSpace;
  std::atomic<int> nr_changes = 0;
  options.blk.on_waiting = [&] { ++nr_changes; };
  Bench bench(options);
  bench.start();
  int expected_changes = 0;
  for (BlkCommand command :
       {bench.command(BlkType::kOut, 8, 4096), bench.range_command(BlkType::kWriteZeroes, 8, 8),
        bench.range_command(BlkType::kDiscard, 8, 8), bench.command(BlkType::kFlush, 0, 0)}) {
    bench.disk.fail_with = ENOSPC;
    const std::vector<Buffer> buffers = command.buffers();
    bench.queue().add(buffers);
    if (bench.queue().needs_kick()) bench.driver->kick(0);
    bench.settle();
    CHECK(!bench.queue().has_used());
    CHECK(bench.blk.waiting());
    CHECK(nr_changes == ++expected_changes);
    bench.blk.retry();  // too early: it waits again
    bench.settle();
    CHECK(!bench.queue().has_used());
    CHECK(bench.blk.waiting());
    CHECK(nr_changes == (expected_changes += 2));
    bench.disk.fail_with = 0;
    bench.blk.retry();
    CHECK(bench.wait_for([&] { return bench.queue().has_used(); }));
    CHECK(bench.queue().take_used());
    CHECK(bench.status_of(command) == kOk);
    CHECK(!bench.blk.waiting());
    CHECK(nr_changes == ++expected_changes);
  }
  // What does not go away by itself is reported.
  bench.disk.fail_with = EIO;
  CHECK(bench.run(bench.command(BlkType::kOut, 0, 512)) == kIoError);
  // Reads are reported always.
  bench.disk.fail_with = ENOSPC;
  CHECK(bench.run(bench.command(BlkType::kIn, 0, 512)) == kIoError);
}

TEST_CASE("Blk: werror=stop: every failed write waits, and a reset ends the wait", "[blk]") {
  BlkBenchOptions options;
  options.blk.write_errors = disk::WriteErrors::kWait;
  Bench bench(options);
  bench.start();
  bench.disk.fail_with = EIO;
  BlkCommand first = bench.command(BlkType::kOut, 8, 4096);
  const std::vector<Buffer> buffers = first.buffers();
  bench.queue().add(buffers);
  if (bench.queue().needs_kick()) bench.driver->kick(0);
  bench.settle();
  CHECK(bench.status_of(first) != kOk);
  bench.stop();  // must come back
  CHECK(bench.status_of(first) == kIoError);
}

}  // namespace
}  // namespace vmm::virtio
