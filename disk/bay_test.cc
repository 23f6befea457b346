// SPDX-License-Identifier: Apache-2.0
#include "disk/bay.h"

#include <memory>

#include "disk/raw_disk.h"
#include "disk/testing/memory_storage.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

TEST_CASE("Bay: has the bytes of what is in it, and none without", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  bytes->data.resize(1 << 20);
  RawDisk raw(std::make_unique<MemoryStorage>(*loop, bytes, 3, 1, false));
  Bay bay;
  char value = 'a';
  iovec iov{&value, 1};
  for (int i = 0; i < 2; ++i) {
    CHECK(bay.size() == 0);
    CHECK_FALSE(loop->run_until(bay.readv(0, IoVec(&iov, 1))));
    CHECK_FALSE(loop->run_until(bay.writev(0, IoVec(&iov, 1))));
    CHECK_FALSE(loop->run_until(bay.discard(0, 512)));
    CHECK_FALSE(loop->run_until(bay.write_zeroes(0, 512, ZeroMode::kMayUnmap)));
    CHECK(loop->run_until(bay.flush()));
    bay.put(&raw);
    CHECK(bay.size() == 1 << 20);
    value = 'b';
    CHECK(loop->run_until(bay.writev(4096, IoVec(&iov, 1))));
    value = '?';
    CHECK(loop->run_until(bay.readv(4096, IoVec(&iov, 1))));
    CHECK(value == 'b');
    CHECK(loop->run_until(bay.flush()));
    bay.put(nullptr);
  }
}

}  // namespace
}  // namespace vmm::disk
