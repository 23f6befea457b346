// SPDX-License-Identifier: Apache-2.0
// A few thousand crash states and faults, with every run of the tests; disk-reliability looks at
// many more.
#include "disk/testing/crash_search.h"
#include "disk/testing/fault_runs.h"
#include "disk/testing/image_checker.h"
#include "disk/testing/last_words.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/log.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kSeed = 1;

TEST_CASE("QcowDisk: no crash spoils the image or loses what was flushed", "[crash]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  for (const std::string& name : workload_names()) {
    Result<Workload> workload = make_workload(name, kSeed);
    REQUIRE(workload);
    Result<WorkloadRun> run = run_workload(*loop, *workload);
    REQUIRE(run);
    CAPTURE(name);
    CHECK(run->wrong == "");
    CHECK(run->failed.empty());
    CrashSearchOptions options;
    options.max_choices = 12;
    options.max_states = 200;
    const CrashSearchResult found = search_crashes(*loop, *run, options);
    CHECK(found.failure == "");
    CHECK(found.states >= 100);
  }
}

TEST_CASE("QcowDisk: one failed operation fails one request and spoils nothing", "[fault]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  log::set_level(log::Level::kError);
  for (const std::string& name : workload_names()) {
    // Many large runs: disk-reliability has them.
    if (name.find("table-growth") != std::string::npos || name.find("device-") == 0) continue;
    Result<Workload> workload = make_workload(name, kSeed);
    REQUIRE(workload);
    FaultOptions options;
    options.every = 61;
    const FaultResult found = enumerate_faults(*loop, *workload, options);
    CAPTURE(name);
    CHECK(found.failure == "");
    CHECK(found.runs > 5);
  }
  log::set_level(log::Level::kWarning);
}

// The instrument itself: each of these must be able to fail.
TEST_CASE("CrashStates: what was not synced is lost in one state and kept in another", "[crash]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  WorkloadRun run;
  run.recording = std::make_shared<Recording>();
  run.model = GuestModel(1);
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  {
    FaultStorage storage(*loop, std::make_unique<MemoryStorage>(*loop, bytes), run.recording);
    std::vector<std::byte> data(2048, std::byte{1});
    iovec iov = as_iovec(std::span<std::byte>(data));
    REQUIRE(loop->run_until(storage.writev(0, IoVec(&iov, 1))));
    REQUIRE(loop->run_until(storage.sync()));
    data.assign(2048, std::byte{2});
    REQUIRE(loop->run_until(storage.writev(1024, IoVec(&iov, 1))));
    REQUIRE(loop->run_until(storage.punch(0, 512)));
  }
  CrashStates states(run);
  REQUIRE(states.nr_cuts() == 4);  // two writes, a sync, a hole
  states.advance_to(0);
  CHECK(states.state(0).image.empty());
  CHECK(states.state(1).image.size() == 2048);
  states.advance_to(1);
  CHECK(states.nr_pending() == 0);
  CHECK(states.state(0).image == std::vector<std::byte>(2048, std::byte{1}));
  states.advance_to(2);
  states.advance_to(3);
  REQUIRE(states.nr_fixed_choices() == 4);
  CHECK(states.state(0).image == std::vector<std::byte>(2048, std::byte{1}));
  const std::vector<std::byte> all = states.state(3).image;
  CHECK(all.size() == 3072);
  CHECK(all[0] == std::byte{0});
  CHECK(all[600] == std::byte{1});
  CHECK(all[1024] == std::byte{2});
  bool torn = false;
  for (std::uint64_t choice = 4; choice < 200; ++choice) {
    const std::vector<std::byte> state = states.state(choice).image;
    torn = torn || (state.size() >= 2048 && state[1024] != state[1536]);
    CHECK(state == states.state(choice).image);
  }
  CHECK(torn);
}

TEST_CASE("CrashStates: a file that never syncs loses what it promised", "[crash]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Result<Workload> workload = make_workload("allocating-writes", kSeed);
  REQUIRE(workload);
  Result<WorkloadRun> run = run_workload(*loop, *workload);
  REQUIRE(run);
  for (StorageOp& op : run->recording->ops) {
    if (op.kind == StorageOp::Kind::kSync) op.failed = true;
  }
  const CrashSearchResult found = search_crashes(*loop, *run, {});
  CHECK(found.failure != "");
}

TEST_CASE("FaultStorage: a short write stores half and says it failed", "[fault]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  auto recording = std::make_shared<Recording>();
  auto fault = std::make_shared<Fault>();
  fault->kind = Fault::Kind::kShortWrite;
  fault->hits = [](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kWrite;
  };
  FaultStorage storage(*loop, std::make_unique<MemoryStorage>(*loop, bytes), recording, fault);
  std::vector<std::byte> data(2048, std::byte{1});
  iovec iov = as_iovec(std::span<std::byte>(data));
  Result<void> written = loop->run_until(storage.writev(0, IoVec(&iov, 1)));
  REQUIRE(!written);
  CHECK(written.error().os_errno() == EIO);
  CHECK(bytes->data == std::vector<std::byte>(1024, std::byte{1}));
  CHECK(loop->run_until(storage.writev(0, IoVec(&iov, 1))));  // once
  CHECK(bytes->data.size() == 2048);
  CHECK(recording->ops[0].stored == 1024);
  CHECK(recording->ops[1].stored == 2048);
}

TEST_CASE("ImageChecker: sees a lost refcount, a false COPIED flag and a shared cluster",
          "[crash]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Result<Workload> workload = make_workload("overwrites", kSeed);
  REQUIRE(workload);
  workload->format.refcount_bits = 16;
  workload->format.cluster_size = 4096;
  Result<WorkloadRun> run = run_workload(*loop, *workload);
  REQUIRE(run);
  const std::vector<std::byte>& image = run->end;
  CHECK(check_image(image).corruptions.empty());
  const auto be64 = [&](std::uint64_t at) { return load_be<std::uint64_t>(image.data() + at); };
  const std::uint64_t block = be64(be64(48));
  const std::uint64_t l2 = be64(be64(40)) & 0x00fffffffffffe00;
  const std::uint64_t data = be64(l2) & 0x00fffffffffffe00;
  REQUIRE(data != 0);
  std::vector<std::byte> bad = image;
  store_be<std::uint16_t>(bad.data() + block + data / 4096 * 2, 0);
  CHECK(!check_image(bad).corruptions.empty());
  bad = image;
  store_be<std::uint16_t>(bad.data() + block + data / 4096 * 2, 2);
  CHECK(check_image(image).copied_leaks == 0);
  CHECK(check_image(bad).copied_leaks == 1);
  bad = image;
  store_be<std::uint64_t>(bad.data() + l2 + 8, be64(l2));
  CHECK(!check_image(bad).corruptions.empty());
  bad = image;
  store_be<std::uint64_t>(bad.data() + l2, l2 | std::uint64_t{1} << 63);
  CHECK(!check_image(bad).corruptions.empty());
  bad = image;
  store_be<std::uint64_t>(bad.data() + l2, 0);
  CHECK(check_image(bad).corruptions.empty());
  CHECK(check_image(bad).leaks == check_image(image).leaks + 1);
}

}  // namespace
}  // namespace vmm::disk
