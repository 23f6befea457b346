// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/refcounts.h"

#include "disk/testing/qcow_fixture.h"

namespace vmm::disk::qcow {
namespace {

TEST_CASE("Refcounts: every width stores its values beside its neighbours", "[qcow]") {
  for (std::uint32_t order = 0; order <= 6; ++order) {
    CAPTURE(order);
    std::vector<std::byte> block(512);
    const std::uint64_t entries = 512 * 8 >> order;
    const std::uint64_t max =
        order == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << (1u << order)) - 1;
    for (std::uint64_t i = 0; i < entries; i += 3) store_refcount(block.data(), i, order, max);
    for (std::uint64_t i = 0; i < entries; ++i) {
      CHECK(load_refcount(block.data(), i, order) == (i % 3 == 0 ? max : 0));
    }
    for (std::uint64_t i = 0; i < entries; i += 3) store_refcount(block.data(), i, order, i & max);
    for (std::uint64_t i = 0; i < entries; ++i) {
      CHECK(load_refcount(block.data(), i, order) == (i % 3 == 0 ? i & max : 0));
    }
  }
}

TEST_CASE("Refcounts: the first entry of a byte is in its least significant bits", "[qcow]") {
  std::byte block[1] = {std::byte{0}};
  store_refcount(block, 0, 0, 1);
  CHECK(block[0] == std::byte{0x01});
  store_refcount(block, 3, 1, 2);
  CHECK(block[0] == std::byte{0x81});
  store_refcount(block, 1, 2, 5);
  CHECK(block[0] == std::byte{0x51});
}

TEST_CASE("Refcounts: class H: a table that grew is sound, and its old place is used again",
          "[qcow]") {
  // Blocks of 64 entries, tables of 64 blocks to a cluster: 2 MiB of file need the second cluster.
  QcowFixture image;
  image.format({.size = 16 << 20, .cluster_size = 512, .refcount_bits = 64});
  image.open();
  const HostOffset before = image.disk->header().refcount_table_offset;
  for (int part = 0; part < 12; ++part) {
    image.write(static_cast<std::uint64_t>(part) << 20, 1 << 20,
                static_cast<unsigned char>(part + 1));
    image.flush();
  }
  CHECK(image.disk->header().refcount_table_offset != before);
  image.close();
  CHECK(image.sound());
  image.open();
  for (int part = 0; part < 12; ++part) {
    CHECK(image.holds(static_cast<std::uint64_t>(part) << 20, 1 << 20,
                      static_cast<unsigned char>(part + 1)));
  }
  image.close();
  // 24576 clusters of data, 384 L2 tables, 397 refcount blocks, 8 for the L1 table, 7 for the
  // refcount table and the header: the tables that were outgrown on the way are in use again.
  CHECK(image.bytes->data.size() <= (24576 + 384 + 397 + 8 + 7 + 1 + 4) * 512);
  CHECK(image.sound());
}

}  // namespace
}  // namespace vmm::disk::qcow
