// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vsock_connection.h"

#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using Origin = VsockConnection::Origin;
using Effect = VsockConnection::Effect;

VsockHeader packet(VsockOp op, std::uint32_t buf_alloc = 1000, std::uint32_t fwd_cnt = 0) {
  VsockHeader header;
  header.op = static_cast<std::uint16_t>(op);
  header.buf_alloc = buf_alloc;
  header.fwd_cnt = fwd_cnt;
  return header;
}
VsockHeader data(std::uint32_t size) {
  VsockHeader header = packet(VsockOp::kRw);
  header.len = size;
  return header;
}
VsockHeader shutdown(std::uint32_t flags) {
  VsockHeader header = packet(VsockOp::kShutdown);
  header.flags = flags;
  return header;
}

// One that the guest asked for and the host took.
VsockConnection opened(std::uint32_t guest_buffer = 1000) {
  VsockConnection connection(Origin::kGuest, packet(VsockOp::kRequest, guest_buffer));
  connection.dialed();
  REQUIRE(connection.next_control()->op == VsockOp::kResponse);
  return connection;
}

bool owes(VsockConnection& connection, VsockOp op, std::uint32_t flags = 0) {
  const std::optional<VsockConnection::Control> control = connection.next_control();
  return control && control->op == op && control->flags == flags;
}

TEST_CASE("VsockConnection: a guest's request is answered once the host has", "[virtio]") {
  VsockConnection connection(Origin::kGuest, packet(VsockOp::kRequest));
  CHECK(!connection.next_control());
  CHECK(connection.credit() == 0);
  connection.dialed();
  CHECK(owes(connection, VsockOp::kResponse));
  CHECK(connection.credit() == 1000);

  VsockConnection refused(Origin::kGuest, packet(VsockOp::kRequest));
  refused.abort();
  CHECK(!refused.finished());
  CHECK(owes(refused, VsockOp::kRst));
  CHECK(refused.finished());
}

TEST_CASE("VsockConnection: the guest takes a request of the host's, or does not", "[virtio]") {
  VsockConnection taken(Origin::kHost, {});
  CHECK(owes(taken, VsockOp::kRequest));
  CHECK(taken.receive(packet(VsockOp::kResponse, 500)) == Effect::kOpened);
  CHECK(taken.credit() == 500);

  VsockConnection refused(Origin::kHost, {});
  CHECK(owes(refused, VsockOp::kRequest));
  CHECK(refused.receive(packet(VsockOp::kRst)) == Effect::kClosed);
  CHECK(refused.finished());

  VsockConnection untold(Origin::kHost, {});
  untold.abort();
  CHECK(untold.finished());
}

TEST_CASE("VsockConnection: never more is sent than the guest takes", "[virtio]") {
  VsockConnection connection = opened(1000);
  connection.sent(700);
  CHECK(connection.credit() == 300);
  connection.sent(300);
  CHECK(connection.credit() == 0);
  connection.stalled();
  CHECK(owes(connection, VsockOp::kCreditRequest));
  connection.stalled();
  CHECK(!connection.next_control());  // it was asked already
  CHECK(connection.receive(packet(VsockOp::kCreditUpdate, 1000, 400)) == Effect::kNone);
  CHECK(connection.credit() == 400);
  // A smaller buffer than what is under way.
  connection.receive(packet(VsockOp::kCreditUpdate, 10, 400));
  CHECK(connection.credit() == 0);
  connection.stalled();
  CHECK(owes(connection, VsockOp::kCreditRequest));
}

TEST_CASE("VsockConnection: a guest that claims more than it was sent gets no credit by it",
          "[virtio]") {
  VsockConnection connection = opened(1000);
  connection.sent(10);
  connection.receive(packet(VsockOp::kCreditUpdate, 1000, 5000));
  CHECK(connection.credit() == 0);
  connection.receive(packet(VsockOp::kCreditUpdate, 0xffffffff, 11));
  CHECK(connection.credit() == 0);
}

TEST_CASE("VsockConnection: counters wrap around", "[virtio]") {
  VsockConnection connection = opened(1000);
  for (int i = 0; i < 5; ++i) connection.sent(0x40000000);
  connection.receive(packet(VsockOp::kCreditUpdate, 1000, 0x40000000));
  CHECK(connection.credit() == 1000);
  for (std::uint64_t total = 0; total < (std::uint64_t{5} << 30); total += 64 << 10) {
    if (connection.receive(data(64 << 10)) != Effect::kData) FAIL("no data at " << total);
    connection.forwarded(64 << 10);
    if (!owes(connection, VsockOp::kCreditUpdate)) FAIL("no credit at " << total);
    VsockHeader header;
    connection.sign(header);
  }
}

TEST_CASE("VsockConnection: data over the credit resets the connection", "[virtio]") {
  VsockConnection connection = opened();
  CHECK(connection.receive(data(VsockConnection::kBuffer)) == Effect::kData);
  CHECK(connection.receive(data(1)) == Effect::kClosed);
  CHECK(owes(connection, VsockOp::kRst));
  CHECK(connection.finished());

  VsockConnection huge = opened();
  CHECK(huge.receive(data(0xffffffff)) == Effect::kClosed);
}

TEST_CASE("VsockConnection: the guest hears of room when half of its credit is used up",
          "[virtio]") {
  VsockConnection connection = opened();
  VsockHeader header;
  connection.receive(data(VsockConnection::kBuffer));
  connection.forwarded(VsockConnection::kBuffer / 2 - 1);
  CHECK(!connection.next_control());
  connection.forwarded(1);
  CHECK(owes(connection, VsockOp::kCreditUpdate));
  connection.sign(header);
  CHECK(header.buf_alloc == VsockConnection::kBuffer);
  CHECK(header.fwd_cnt == VsockConnection::kBuffer / 2);
  CHECK(!connection.next_control());
  connection.receive(packet(VsockOp::kCreditRequest));
  CHECK(owes(connection, VsockOp::kCreditUpdate));
}

TEST_CASE("VsockConnection: each side ends its half by itself", "[virtio]") {
  VsockConnection connection = opened();
  CHECK(connection.receive(shutdown(kVsockNoSend)) == Effect::kShutdown);
  CHECK(connection.guest_ended());
  CHECK(connection.credit() == 1000);
  CHECK(connection.receive(shutdown(0)) == Effect::kShutdown);
  CHECK(connection.guest_ended());  // nothing is taken back
  connection.host_ended();
  CHECK(owes(connection, VsockOp::kShutdown, kVsockNoSend));
  CHECK(connection.credit() == 0);
  connection.host_refuses();
  CHECK(owes(connection, VsockOp::kShutdown, kVsockNoSend | kVsockNoReceive));
  CHECK(connection.receive(packet(VsockOp::kRst)) == Effect::kClosed);
  CHECK(connection.finished());

  VsockConnection liar = opened();
  liar.receive(shutdown(kVsockNoSend));
  CHECK(liar.receive(data(1)) == Effect::kClosed);
  CHECK(owes(liar, VsockOp::kRst));
}

TEST_CASE("VsockConnection: a guest that closes gets its RST once the host has everything",
          "[virtio]") {
  VsockConnection connection = opened();
  connection.receive(data(100));
  connection.receive(shutdown(kVsockNoSend | kVsockNoReceive));
  CHECK(!connection.next_control());
  connection.forwarded(60);
  CHECK(!connection.finished());
  connection.forwarded(40);
  CHECK(owes(connection, VsockOp::kRst));
  CHECK(connection.finished());

  VsockConnection impatient = opened();
  impatient.receive(data(100));
  impatient.receive(shutdown(kVsockNoSend | kVsockNoReceive));
  CHECK(impatient.receive(packet(VsockOp::kRst)) == Effect::kNone);
  CHECK(!impatient.finished());
  impatient.forwarded(100);
  CHECK(impatient.finished());
}

TEST_CASE("VsockConnection: what makes no sense in a state resets the connection", "[virtio]") {
  for (std::uint16_t op = 0; op < 20; ++op) {
    INFO("op " << op);
    const auto code = static_cast<VsockOp>(op);
    if (code == VsockOp::kRst) continue;
    VsockConnection dialing(Origin::kGuest, packet(VsockOp::kRequest));
    CHECK(dialing.receive(packet(code)) == Effect::kClosed);
    CHECK(owes(dialing, VsockOp::kRst));
    if (code != VsockOp::kResponse) {
      VsockConnection requested(Origin::kHost, {});
      CHECK(requested.receive(packet(code)) == Effect::kClosed);
      CHECK(owes(requested, VsockOp::kRst));
    }
    if (op < 4 || op > 7) {
      VsockConnection open = opened();
      CHECK(open.receive(packet(code)) == Effect::kClosed);
    }
  }
}

}  // namespace
}  // namespace vmm::virtio
