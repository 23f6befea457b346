// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vsock.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "devices/testing/device_bench.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

constexpr unsigned kReceive = 0, kTransmit = 1, kEvent = 2;
constexpr std::uint64_t kCid = 7;
constexpr std::uint32_t kHeader = sizeof(VsockHeader);

struct Packet {
  VsockHeader header;
  std::string data;
  VsockOp op() const { return static_cast<VsockOp>(static_cast<std::uint16_t>(header.op)); }
};

std::pair<UniqueFd, UniqueFd> socket_pair(int type) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// The test is the guest's driver, the connector, and the host's programs.
struct Bench {
  Bench() {
    ::signal(SIGPIPE, SIG_IGN);
    auto [own, other] = socket_pair(SOCK_SEQPACKET);
    connector = std::move(other);
    vsock = *Vsock::create(kCid, VsockChannel(std::move(own)), *loop, bench.memory);
    bench.attach(*vsock);
    bench.start();
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }

  // The guest.
  void give_buffers(int nr_buffers, std::uint32_t size = 4096) {
    for (int i = 0; i < nr_buffers; ++i) {
      const GuestAddress at = bench.arena.take(size);
      const std::uint16_t head = bench.queue(kReceive).add({{at, size, true}});
      buffers[head] = at;
    }
    bench.driver->kick(kReceive);
  }
  static VsockHeader header(VsockOp op, std::uint32_t host_port = 80,
                            std::uint32_t guest_port = 1000) {
    VsockHeader header;
    header.src_cid = kCid;
    header.dst_cid = kVsockHostCid;
    header.src_port = guest_port;
    header.dst_port = host_port;
    header.type = kVsockStream;
    header.op = static_cast<std::uint16_t>(op);
    header.buf_alloc = 1 << 20;
    return header;
  }
  void send(VsockHeader header, const std::string& data = {}) {
    if (header.len == 0) header.len = static_cast<std::uint32_t>(data.size());
    std::string all(reinterpret_cast<const char*>(&header), sizeof header);
    send_raw(all + data);
  }
  void send_raw(const std::string& all) {
    while (bench.queue(kTransmit).take_used()) {
    }
    // The first is used again once the rest is.
    if (transmit_at.value == 0) transmit_at = bench.arena.take(kPieces * kPiece);
    const GuestAddress at = transmit_at + (next_piece++ % kPieces) * kPiece;
    REQUIRE(all.size() <= kPiece);
    REQUIRE(bench.memory.write(at, std::as_bytes(std::span(all.data(), all.size()))));
    bench.queue(kTransmit).add({{at, static_cast<std::uint32_t>(all.size()), false}});
    bench.driver->kick(kTransmit);
  }
  std::optional<Packet> take() {
    if (!bench.wait_for([&] { return bench.queue(kReceive).has_used(); })) return std::nullopt;
    const testing::Used used = *bench.queue(kReceive).take_used();
    Packet packet;
    const GuestAddress at = buffers[static_cast<std::uint16_t>(used.id)];
    std::span<std::byte> bytes = *bench.memory.slice(at, used.length);
    REQUIRE(bytes.size() >= kHeader);
    std::memcpy(&packet.header, bytes.data(), kHeader);
    packet.data.assign(reinterpret_cast<const char*>(bytes.data()) + kHeader,
                       bytes.size() - kHeader);
    return packet;
  }
  bool takes(VsockOp op) {
    const std::optional<Packet> packet = take();
    return packet && packet->op() == op && packet->header.dst_cid == kCid;
  }
  bool idle() {
    bench.settle();
    return !bench.queue(kReceive).has_used();
  }

  // The connector.
  VsockDial dial() {
    VsockDial dial;
    REQUIRE(
        bench.wait_for([&] { return ::read(connector.get(), &dial, sizeof dial) == sizeof dial; }));
    return dial;
  }
  // A connection that the guest asked for.
  UniqueFd accept_guest() {
    give_buffers(1);
    send(header(VsockOp::kRequest));
    const VsockDial asked = dial();
    REQUIRE(asked.port == 80);
    auto [device, host] = socket_pair(SOCK_STREAM);
    REQUIRE(VsockChannel::answer(connector.get(), {.token = asked.token}, device.get()) == 0);
    device.reset();
    REQUIRE(takes(VsockOp::kResponse));
    return std::move(host);
  }
  // A program of the host's that has connected and said something.
  UniqueFd program(std::string_view greeting) {
    auto [device, host] = socket_pair(SOCK_STREAM);
    REQUIRE(VsockChannel::answer(connector.get(), {}, device.get()) == 0);
    write(host, greeting);
    return std::move(host);
  }
  static void write(const UniqueFd& host, std::string_view text) {
    REQUIRE(::write(host.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  // Until so many bytes are there, or the end is.
  std::string read(const UniqueFd& host, std::size_t size) {
    std::string all;
    bool ended = false;
    bench.wait_for([&] {
      char bytes[65536];
      const ssize_t got = ::read(host.get(), bytes, std::min(sizeof bytes, size - all.size()));
      if (got > 0) all.append(bytes, static_cast<std::size_t>(got));
      ended = got == 0 && all.size() < size;
      return ended || all.size() == size;
    });
    return ended ? all + "(end)" : all;
  }

  static constexpr std::size_t kPieces = 512, kPiece = 8192;

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop};
  UniqueFd connector;
  std::unique_ptr<Vsock> vsock;
  std::map<std::uint16_t, GuestAddress> buffers;
  GuestAddress transmit_at;
  std::size_t next_piece = 0;
};

TEST_CASE("Vsock: the guest reads its CID in the configuration", "[virtio]") {
  Bench test;
  Le64 cid;
  test.vsock->read_config(0, std::as_writable_bytes(std::span(&cid, 1)));
  CHECK(cid == kCid);
  std::byte beyond[4] = {std::byte{1}};
  test.vsock->read_config(~std::uint64_t{0}, beyond);
  CHECK(beyond[0] == std::byte{0});
}

TEST_CASE("Vsock: a guest connects to the host, and bytes go both ways", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.send(Bench::header(VsockOp::kRw), "hello");
  CHECK(test.read(host, 5) == "hello");
  Bench::write(host, "good day");
  test.give_buffers(1);
  const std::optional<Packet> packet = test.take();
  REQUIRE(packet);
  CHECK(packet->op() == VsockOp::kRw);
  CHECK(packet->data == "good day");
  CHECK(packet->header.len == 8);
  CHECK(packet->header.src_cid == kVsockHostCid);
  CHECK(packet->header.src_port == 80);
  CHECK(packet->header.dst_port == 1000);
  CHECK(packet->header.fwd_cnt == 5);
  CHECK(packet->header.buf_alloc == VsockConnection::kBuffer);
}

TEST_CASE("Vsock: connections and their bytes are counted", "[virtio]") {
  Bench test;
  CHECK(test.vsock->stats().opened == 0);
  UniqueFd host = test.accept_guest();
  test.send(Bench::header(VsockOp::kRw), "hello");
  CHECK(test.read(host, 5) == "hello");
  Bench::write(host, "good day");
  test.give_buffers(1);
  REQUIRE(test.take());
  VsockStats stats = test.vsock->stats();
  CHECK(stats.open == 1);
  CHECK(stats.opened == 1);
  CHECK(stats.from_guest_bytes == 5);
  CHECK(stats.to_guest_bytes == 8);
  test.send(Bench::header(VsockOp::kRst));
  CHECK(test.idle());
  stats = test.vsock->stats();
  CHECK(stats.open == 0);
  CHECK(stats.opened == 1);
}

TEST_CASE("Vsock: a port where no program listens is refused by RST", "[virtio]") {
  Bench test;
  test.give_buffers(1);
  test.send(Bench::header(VsockOp::kRequest));
  const VsockDial asked = test.dial();
  REQUIRE(VsockChannel::answer(test.connector.get(), {.token = asked.token, .error = ENOENT}, -1) ==
          0);
  CHECK(test.takes(VsockOp::kRst));
  CHECK(test.idle());
}

TEST_CASE("Vsock: a program of the host's connects to the guest", "[virtio]") {
  Bench test;
  test.give_buffers(3);
  // What stands behind the line is for the guest.
  UniqueFd host = test.program("CONNECT 5000\nearly");
  const std::optional<Packet> request = test.take();
  REQUIRE(request);
  CHECK(request->op() == VsockOp::kRequest);
  CHECK(request->header.dst_port == 5000);
  const std::uint32_t port = request->header.src_port;
  CHECK(test.idle());
  test.send(Bench::header(VsockOp::kResponse, port, 5000));
  const std::string ok = "OK " + std::to_string(port) + "\n";
  CHECK(test.read(host, ok.size()) == ok);
  const std::optional<Packet> early = test.take();
  REQUIRE(early);
  CHECK(early->data == "early");
  host.reset();
  const std::optional<Packet> end = test.take();
  REQUIRE(end);
  CHECK(end->op() == VsockOp::kShutdown);
  CHECK(end->header.flags == (kVsockNoSend | kVsockNoReceive));
}

TEST_CASE("Vsock: a program that asks for a closed port, or for nonsense, sees the end",
          "[virtio]") {
  Bench test;
  test.give_buffers(2);
  UniqueFd closed = test.program("CONNECT 1\n");
  const std::optional<Packet> request = test.take();
  REQUIRE(request);
  test.send(Bench::header(VsockOp::kRst, request->header.src_port, 1));
  CHECK(test.read(closed, 1) == "(end)");
  for (const char* text : {"CONNECT\n", "CONNECT x\n", "CONNECT 4294967296\n", "CONNECT 1 \n",
                           "GET / HTTP/1.1\r\n\r\n", "connect 1\n", "\n",
                           "CONNECT 00000000000000000000000000000000000000000001\n"}) {
    INFO(text);
    UniqueFd wrong = test.program(text);
    bool ended = false;
    test.bench.wait_for([&] {
      char byte;
      const ssize_t got = ::read(wrong.get(), &byte, 1);
      return ended = got == 0 || (got < 0 && errno == ECONNRESET);
    });
    CHECK(ended);
  }
  CHECK(test.idle());
}

TEST_CASE("Vsock: programs that say nothing give way to others", "[virtio]") {
  Bench test;
  test.give_buffers(1);
  std::vector<UniqueFd> silent;
  for (std::size_t i = 0; i < Vsock::kMaxGreetings + 1; ++i) {
    silent.push_back(test.program("CONN"));
    test.bench.settle();
  }
  CHECK(test.read(silent[0], 1) == "(end)");
  UniqueFd last = test.program("CONNECT 9\n");
  CHECK(test.takes(VsockOp::kRequest));
}

TEST_CASE("Vsock: a program that hangs up before the guest answers is told to it", "[virtio]") {
  Bench test;
  test.give_buffers(2);
  UniqueFd host = test.program("CONNECT 9\n");
  CHECK(test.takes(VsockOp::kRequest));
  host.reset();
  CHECK(test.takes(VsockOp::kRst));
}

TEST_CASE("Vsock: a program that does not read holds up the guest by its credit alone",
          "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.give_buffers(100);
  // As much as the program's socket and the buffer take.
  std::uint32_t sent = 0, forwarded = 0;
  std::string wanted;
  for (int i = 0; i < 1000 && sent - forwarded + 4096 <= VsockConnection::kBuffer; ++i) {
    const std::string piece(4096, static_cast<char>('a' + i % 26));
    test.send(Bench::header(VsockOp::kRw), piece);
    wanted += piece;
    sent += 4096;
    test.bench.settle();
    while (test.bench.queue(kReceive).has_used()) {
      const std::optional<Packet> packet = test.take();
      REQUIRE(packet->op() == VsockOp::kCreditUpdate);
      forwarded = packet->header.fwd_cnt;
    }
  }
  CHECK(sent - forwarded + 4096 > VsockConnection::kBuffer);
  CHECK(test.read(host, wanted.size()) == wanted);
  CHECK(test.takes(VsockOp::kCreditUpdate));
  // It goes on from there.
  test.send(Bench::header(VsockOp::kRw), "more");
  CHECK(test.read(host, 4) == "more");
}

TEST_CASE("Vsock: a guest that sends more than its credit loses the connection", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.give_buffers(100);
  bool reset = false;
  for (int i = 0; i < 1000 && !reset; ++i) {
    test.send(Bench::header(VsockOp::kRw), std::string(8000, 'x'));
    test.bench.settle();
    while (test.bench.queue(kReceive).has_used()) {
      reset = reset || test.take()->op() == VsockOp::kRst;
    }
  }
  CHECK(reset);
  test.send(Bench::header(VsockOp::kRw), "more");
  CHECK(test.takes(VsockOp::kRst));
}

TEST_CASE("Vsock: never more goes to the guest than it takes", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  VsockHeader update = Bench::header(VsockOp::kCreditUpdate);
  update.buf_alloc = 10;
  test.send(update);
  test.bench.settle();
  test.give_buffers(5);
  Bench::write(host, "0123456789abcdef");
  CHECK(test.take()->data == "0123456789");
  CHECK(test.takes(VsockOp::kCreditRequest));
  CHECK(test.idle());
  update.fwd_cnt = 4;
  test.send(update);
  CHECK(test.take()->data == "abcd");
}

TEST_CASE("Vsock: each half of a connection ends by itself", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  VsockHeader shutdown = Bench::header(VsockOp::kShutdown);
  shutdown.flags = kVsockNoSend;
  test.send(Bench::header(VsockOp::kRw), "last words");
  test.send(shutdown);
  CHECK(test.read(host, 100) == "last words(end)");
  Bench::write(host, "answer");
  test.give_buffers(4);
  CHECK(test.take()->data == "answer");
  REQUIRE(::shutdown(host.get(), SHUT_WR) == 0);
  CHECK(test.take()->header.flags == (kVsockNoSend | kVsockNoReceive));
  shutdown.flags = kVsockNoSend | kVsockNoReceive;
  test.send(shutdown);
  CHECK(test.takes(VsockOp::kRst));
  // Its ports are free again.
  UniqueFd again = test.accept_guest();
}

TEST_CASE("Vsock: what a guest sent before it closed reaches a slow program", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.give_buffers(100);
  std::string wanted;
  for (int i = 0; i < 40; ++i) {
    test.send(Bench::header(VsockOp::kRw), std::string(8000, static_cast<char>('a' + i % 26)));
    wanted += std::string(8000, static_cast<char>('a' + i % 26));
    test.bench.settle();
    while (test.bench.queue(kReceive).has_used()) test.take();
  }
  VsockHeader shutdown = Bench::header(VsockOp::kShutdown);
  shutdown.flags = kVsockNoSend | kVsockNoReceive;
  test.send(shutdown);
  CHECK(test.read(host, wanted.size() + 1) == wanted + "(end)");
}

TEST_CASE("Vsock: packets of no connection are answered by RST, but RST is not", "[virtio]") {
  Bench test;
  test.give_buffers(10);
  for (VsockOp op : {VsockOp::kRw, VsockOp::kResponse, VsockOp::kShutdown, VsockOp::kCreditRequest,
                     VsockOp{0}, VsockOp{77}}) {
    test.send(Bench::header(op, 1, 2));
    const std::optional<Packet> packet = test.take();
    REQUIRE(packet);
    CHECK(packet->op() == VsockOp::kRst);
    CHECK(packet->header.src_port == 1);
    CHECK(packet->header.dst_port == 2);
  }
  test.send(Bench::header(VsockOp::kRst));
  CHECK(test.idle());
  VsockHeader strange = Bench::header(VsockOp::kRequest);
  strange.type = 9;
  test.send(strange);
  const std::optional<Packet> packet = test.take();
  REQUIRE(packet);
  CHECK(packet->op() == VsockOp::kRst);
  CHECK(packet->header.type == 9);
  VsockHeader elsewhere = Bench::header(VsockOp::kRequest);
  elsewhere.dst_cid = 99;
  test.send(elsewhere);
  CHECK(test.take()->header.src_cid == 99);
  VsockHeader forged = Bench::header(VsockOp::kRequest);
  forged.src_cid = kCid + 1;
  test.send(forged);
  CHECK(test.idle());
}

TEST_CASE("Vsock: packets with bad lengths are dropped", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.give_buffers(2);
  test.send_raw("x");
  VsockHeader longer = Bench::header(VsockOp::kRw);
  longer.len = 0xffffffff;
  test.send(longer, "abc");
  // Bytes behind the packet's end are not part of it.
  VsockHeader shorter = Bench::header(VsockOp::kRw);
  shorter.len = 2;
  test.send(shorter, "yes, it is");
  CHECK(test.read(host, 2) == "ye");
  CHECK(test.idle());
  // A buffer that no header fits into comes back empty.
  Bench other;
  other.give_buffers(1, 20);
  REQUIRE(other.bench.wait_for([&] { return other.bench.queue(kReceive).has_used(); }));
  CHECK(other.bench.queue(kReceive).take_used()->length == 0);
}

TEST_CASE("Vsock: a guest that asks for everything and takes no answer is held up alone",
          "[virtio]") {
  Bench test;
  for (std::uint32_t i = 0; i < Vsock::kMaxResets + 50; ++i) {
    test.send(Bench::header(VsockOp::kRw, 1, i));
    test.bench.settle();
  }
  CHECK(test.bench.queue(kTransmit).used_index() == Vsock::kMaxResets);
  test.give_buffers(200, 64);
  REQUIRE(test.bench.wait_for(
      [&] { return test.bench.queue(kTransmit).used_index() == Vsock::kMaxResets + 50; }));
  CHECK(test.bench.queue(kReceive).used_index() == Vsock::kMaxResets + 50);
}

TEST_CASE("Vsock: the number of connections is limited", "[virtio]") {
  Bench test;
  constexpr std::uint32_t kMore = 20;
  for (std::uint32_t i = 0; i < Vsock::kMaxConnections + kMore; ++i) {
    test.send(Bench::header(VsockOp::kRequest, 80, i));
    test.bench.settle();
  }
  std::size_t nr_dialed = 0;
  VsockDial dial;
  while (::read(test.connector.get(), &dial, sizeof dial) == sizeof dial) ++nr_dialed;
  CHECK(nr_dialed <= Vsock::kMaxConnections);
  test.give_buffers(200, 64);
  std::size_t nr_resets = 0;
  while (!test.idle()) {
    if (!test.takes(VsockOp::kRst)) break;
    ++nr_resets;
  }
  CHECK(nr_resets == Vsock::kMaxConnections + kMore - nr_dialed);
}

TEST_CASE("Vsock: without its connector the guest's requests are refused, and the rest goes on",
          "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  test.give_buffers(3);
  test.send(Bench::header(VsockOp::kRequest, 81));
  test.bench.settle();
  test.connector.reset();
  CHECK(test.takes(VsockOp::kRst));
  test.send(Bench::header(VsockOp::kRequest, 82));
  CHECK(test.takes(VsockOp::kRst));
  test.send(Bench::header(VsockOp::kRw), "still here");
  CHECK(test.read(host, 10) == "still here");
}

TEST_CASE("Vsock: a reset ends all connections, and the device can be used again", "[virtio]") {
  Bench test;
  UniqueFd host = test.accept_guest();
  UniqueFd silent = test.program("CON");
  test.give_buffers(2);
  test.bench.queue(kEvent).add({{test.bench.arena.take(64), 64, true}});
  test.bench.driver->kick(kEvent);
  Bench::write(host, "unread");
  test.send(Bench::header(VsockOp::kRequest, 81));
  test.bench.settle();
  const VsockDial stale = test.dial();
  test.bench.driver->set_status(0);
  REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
  CHECK(test.read(host, 1) == "(end)");
  CHECK(test.read(silent, 1) == "(end)");
  auto [device, late] = socket_pair(SOCK_STREAM);
  REQUIRE(VsockChannel::answer(test.connector.get(), {.token = stale.token}, device.get()) == 0);
  device.reset();
  test.bench.start();
  CHECK(test.read(late, 1) == "(end)");
  UniqueFd again = test.accept_guest();
  test.send(Bench::header(VsockOp::kRw), "again");
  CHECK(test.read(again, 5) == "again");
}

TEST_CASE("Vsock: noise from the guest and the host harms nobody", "[virtio]") {
  Bench test;
  std::mt19937 random(1);
  std::vector<UniqueFd> hosts;
  for (int round = 0; round < 3000; ++round) {
    VsockHeader header =
        Bench::header(static_cast<VsockOp>(random() % 9), 80 + random() % 3, 1000 + random() % 3);
    header.flags = random() % 4;
    header.buf_alloc = random() % 3 == 0 ? random() : 1 << 16;
    header.fwd_cnt = random() % 3 == 0 ? random() : 0;
    if (random() % 20 == 0) header.len = random();
    test.send(header, std::string(random() % 2000, 'n'));
    while (test.bench.queue(kReceive).take_used()) {
    }
    if (test.bench.queue(kReceive).nr_free() > 100) {
      const GuestAddress at(0x1000000 - 0x10000);
      test.bench.queue(kReceive).add(
          {{at, 40 + static_cast<std::uint32_t>(random() % 4000), true}});
      test.bench.driver->kick(kReceive);
    }
    VsockDial dial;
    if (::read(test.connector.get(), &dial, sizeof dial) == sizeof dial) {
      auto [device, host] = socket_pair(SOCK_STREAM);
      const std::int32_t error = random() % 4 == 0 ? ECONNREFUSED : 0;
      VsockChannel::answer(test.connector.get(), {.token = dial.token, .error = error},
                           error == 0 ? device.get() : -1);
      hosts.push_back(std::move(host));
    }
    for (UniqueFd& host : hosts) {
      char bytes[512] = {};
      if (random() % 2 == 0) [[maybe_unused]]
        ssize_t put = ::write(host.get(), bytes, 512);
      if (random() % 2 == 0) [[maybe_unused]]
        ssize_t got = ::read(host.get(), bytes, 512);
      if (random() % 50 == 0) host.reset();
    }
    if (hosts.size() > 20) hosts.erase(hosts.begin(), hosts.begin() + 10);
    test.bench.turn(3);
    if (random() % 500 == 0) {
      test.bench.driver->set_status(0);
      REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
      test.bench.arena = testing::GuestArena(GuestAddress(0x1000), 0xe00000);
      test.transmit_at = {};
      test.bench.start();
    }
  }
  CHECK(test.vsock->type() == DeviceType::kVsock);
}

}  // namespace
}  // namespace vmm::virtio
