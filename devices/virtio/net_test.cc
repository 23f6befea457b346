// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/net.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "devices/testing/device_bench.h"
#include "devices/virtio/net_stream.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::Used;

constexpr unsigned kReceive = 0, kTransmit = 1;
constexpr std::size_t kHeader = sizeof(NetHeader);
constexpr MacAddress kMac = {0x02, 1, 2, 3, 4, 5};
constexpr std::uint64_t kAll = testing::DeviceBench::kRingFeatures | 0xffffff;
constexpr std::uint64_t kPlain = testing::DeviceBench::kRingFeatures | Net::kMac | Net::kStatus;

struct Sockets {
  Sockets() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    device = UniqueFd(ends[0]);
    host = UniqueFd(ends[1]);
  }
  UniqueFd device, host;
};

// NetStream, which can do no offloads, with some all the same: they then reach `sent`.
class OffloadBackend : public NetBackend {
 public:
  explicit OffloadBackend(UniqueFd socket) : socket_(std::move(socket)) {}
  const char* name() const override { return "offloads"; }
  std::uint64_t offloads() const override { return Net::kCsum | Net::kHostTso4; }
  void accept_offloads(std::uint64_t features) override { accepted = features; }
  ssize_t receive(std::span<std::byte>) override { return -EAGAIN; }
  int send(std::span<std::byte> header_and_frame) override {
    NetHeader header;
    std::memcpy(&header, header_and_frame.data(), sizeof header);
    sent.push_back(header);
    return 0;
  }
  int descriptor() const override { return socket_.get(); }

  std::vector<NetHeader> sent;
  std::uint64_t accepted = 0;

 private:
  UniqueFd socket_;
};

struct Bench {
  // Without a backend one on `sockets`.
  explicit Bench(std::uint64_t features = kAll, std::unique_ptr<NetBackend> backend = nullptr) {
    if (!backend) backend = std::make_unique<NetStream>(std::move(sockets.device), "the test");
    net = *Net::create(std::move(backend), kMac, *loop, bench.memory);
    bench.attach(*net);
    bench.start(features);
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }

  // The guest.
  GuestAddress give_buffer(std::uint32_t size) {
    GuestAddress at = bench.arena.take(size);
    bench.queue(kReceive).add({{at, size, true}});
    bench.driver->kick(kReceive);
    return at;
  }
  std::optional<Used> take(unsigned queue) {
    if (!bench.wait_for([&] { return bench.queue(queue).has_used(); })) return std::nullopt;
    return bench.queue(queue).take_used();
  }
  std::string text(GuestAddress at, std::size_t size) {
    std::span<std::byte> bytes = *bench.memory.slice(at, size);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  GuestAddress put(std::string_view text) {
    GuestAddress at = bench.arena.take(text.size());
    REQUIRE(bench.memory.write(at, std::as_bytes(std::span(text.data(), text.size()))));
    return at;
  }
  void transmit(const std::string& frame, const NetHeader& header = {}) {
    std::string all(reinterpret_cast<const char*>(&header), sizeof header);
    all += frame;
    bench.queue(kTransmit).add({{put(all), static_cast<std::uint32_t>(all.size()), false}});
    bench.driver->kick(kTransmit);
  }
  bool transmit_and_wait(const std::string& frame, const NetHeader& header = {}) {
    transmit(frame, header);
    return take(kTransmit).has_value();
  }

  // The host.
  bool write(std::string_view bytes) {
    return ::write(sockets.host.get(), bytes.data(), bytes.size()) ==
           static_cast<ssize_t>(bytes.size());
  }
  static std::string framed(const std::string& frame) {
    const std::uint32_t length = htonl(static_cast<std::uint32_t>(frame.size()));
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + frame;
  }
  // Reads so many bytes, giving the device turns; fewer where no more come.
  std::string read(std::size_t size) {
    std::string all;
    bench.wait_for([&] {
      char bytes[65536];
      const ssize_t got =
          ::read(sockets.host.get(), bytes, std::min(sizeof bytes, size - all.size()));
      if (got > 0) all.append(bytes, static_cast<std::size_t>(got));
      return got == 0 || all.size() == size;
    });
    return all;
  }

  Sockets sockets;
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop};
  std::unique_ptr<Net> net;
};

std::string frame_of(std::size_t size, char value) {
  return std::string(size, value);
}

TEST_CASE("Net: the guest sees its address and that the link is up", "[virtio][net]") {
  Bench test;
  CHECK(test.bench.buses.read_config(1, 0, 4) == 0x10411af4);
  std::array<std::byte, 12> config;
  test.net->read_config(0, config);
  CHECK(std::memcmp(config.data(), kMac.data(), kMac.size()) == 0);
  CHECK(config[6] == std::byte{1});
  CHECK(config[8] == std::byte{0});  // beyond the end
  test.net->read_config(~std::uint64_t{0}, config);
  CHECK(config[0] == std::byte{0});
}

TEST_CASE("Net: frames go both ways", "[virtio][net]") {
  Bench test;
  const std::string ping = frame_of(60, 'p'), pong = frame_of(1514, 'q');
  REQUIRE(test.transmit_and_wait(ping));
  CHECK(test.read(64) == Bench::framed(ping));

  GuestAddress at = test.give_buffer(2048);
  REQUIRE(test.write(Bench::framed(pong)));
  std::optional<Used> used = test.take(kReceive);
  REQUIRE(used);
  CHECK(used->length == kHeader + pong.size());
  CHECK(test.text(at + kHeader, pong.size()) == pong);
  NetHeader header = *test.bench.memory.read_object<NetHeader>(at);
  CHECK(header.flags == 0);
  CHECK(header.num_buffers == 1);
}

TEST_CASE("Net: a frame larger than a buffer takes several", "[virtio][net]") {
  Bench test;
  const std::string frame = frame_of(5000, 'a') + frame_of(4000, 'b');
  std::vector<GuestAddress> buffers;
  for (int i = 0; i < 3; ++i) buffers.push_back(test.give_buffer(4096));
  REQUIRE(test.write(Bench::framed(frame)));
  std::string all;
  for (int i = 0; i < 3; ++i) {
    std::optional<Used> used = test.take(kReceive);
    REQUIRE(used);
    all += test.text(buffers[static_cast<std::size_t>(i)], used->length);
  }
  CHECK(all.substr(kHeader) == frame);
  CHECK(test.bench.memory.read_object<NetHeader>(buffers[0])->num_buffers == 3);
}

TEST_CASE("Net: a frame waits until there are buffers enough, and what floods stays outside",
          "[virtio][net]") {
  Bench test;
  const std::string frame = frame_of(3000, 'f');
  std::size_t nr_written = 0;
  while (test.write(Bench::framed(frame))) {
    ++nr_written;
    REQUIRE(nr_written < 100000);
  }
  test.bench.settle();
  const std::size_t nr_before = nr_written;
  test.give_buffer(2048);
  test.bench.settle();
  CHECK(!test.bench.queue(kReceive).has_used());
  // It has taken a bounded number in, and asks for no more.
  for (int i = 0; i < 1000 && test.write(Bench::framed(frame)); ++i) {
    ++nr_written;
    test.bench.settle();
  }
  CHECK(nr_written - nr_before < 100);
  test.give_buffer(2048);
  CHECK(test.take(kReceive)->length == 2048);
  CHECK(test.take(kReceive)->length == kHeader + 3000 - 2048);
}

TEST_CASE("Net: without merged buffers a frame that does not fit is dropped", "[virtio][net]") {
  Bench test(kPlain);
  GuestAddress at = test.give_buffer(1526);
  REQUIRE(test.write(Bench::framed(frame_of(1515, 'x')) + Bench::framed(frame_of(1514, 'y'))));
  std::optional<Used> used = test.take(kReceive);
  REQUIRE(used);
  CHECK(used->length == 1526);
  CHECK(test.text(at + kHeader, 1514) == frame_of(1514, 'y'));
}

TEST_CASE("Net: buffers without room for a header come back empty", "[virtio][net]") {
  Bench test;
  test.give_buffer(kHeader - 1);
  GuestAddress readable = test.bench.arena.take(64);
  test.bench.queue(kReceive).add({{readable, 64, false}});
  test.bench.driver->kick(kReceive);
  GuestAddress good = test.give_buffer(256);
  REQUIRE(test.write(Bench::framed(frame_of(100, 'g'))));
  CHECK(test.take(kReceive)->length == 0);
  CHECK(test.take(kReceive)->length == 0);
  CHECK(test.take(kReceive)->length == kHeader + 100);
  CHECK(test.text(good + kHeader, 100) == frame_of(100, 'g'));
}

TEST_CASE("Net: frames that are too short or too long are dropped, and the next goes through",
          "[virtio][net]") {
  Bench test;
  CHECK(test.transmit_and_wait(""));
  CHECK(test.transmit_and_wait(frame_of(13, 's')));
  CHECK(test.transmit_and_wait(frame_of(NetStream::kMaxStreamFrame + 1, 'l')));
  CHECK(test.transmit_and_wait(frame_of(kMaxFrame + 1, 'l')));
  // Only something to write to; and a header that is cut.
  GuestAddress at = test.bench.arena.take(64);
  test.bench.queue(kTransmit).add({{at, 64, true}});
  test.bench.queue(kTransmit).add({{at, 5, false}});
  test.bench.driver->kick(kTransmit);
  CHECK(test.take(kTransmit)->length == 0);
  CHECK(test.take(kTransmit)->length == 0);
  const std::string good = frame_of(64, 'g');
  CHECK(test.transmit_and_wait(good));
  CHECK(test.read(68) == Bench::framed(good));
}

TEST_CASE("Net: a host that does not read holds up the guest's frames, and gets each whole",
          "[virtio][net]") {
  Bench test;
  constexpr std::size_t kFrames = 40;
  std::string expected;
  for (std::size_t i = 0; i < kFrames; ++i) {
    const std::string frame = frame_of(30000 + i, static_cast<char>('a' + i % 26));
    expected += Bench::framed(frame);
    test.transmit(frame);
  }
  test.bench.settle();
  CHECK(test.bench.queue(kTransmit).used_index() < kFrames);
  CHECK(test.read(expected.size()) == expected);
  CHECK(test.bench.wait_for([&] { return test.bench.queue(kTransmit).used_index() == kFrames; }));
}

TEST_CASE("Net: a reset ends the waits for the guest and for the host", "[virtio][net]") {
  Bench test;
  test.give_buffer(2048);
  for (int i = 0; i < 40; ++i) test.transmit(frame_of(30000, 't'));
  test.bench.settle();
  CHECK(!test.bench.queue(kReceive).has_used());
  test.bench.driver->set_status(0);
  REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
  test.bench.start(kAll);
  GuestAddress at = test.give_buffer(2048);
  REQUIRE(test.write(Bench::framed(frame_of(99, 'n'))));
  REQUIRE(test.take(kReceive)->length == kHeader + 99);
  CHECK(test.text(at + kHeader, 99) == frame_of(99, 'n'));
}

TEST_CASE("Net: a reset after the driver broke both queues ends", "[virtio][net]") {
  Bench test;
  for (unsigned queue : {kReceive, kTransmit}) {
    test.give_buffer(64);
    test.bench.queue(queue).make_available(9999);
    test.bench.driver->kick(queue);
  }
  test.bench.settle();
  test.bench.driver->set_status(0);
  REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
}

TEST_CASE("Net: when the host's end goes away the link is down and the guest's frames come back",
          "[virtio][net]") {
  Bench test;
  test.give_buffer(2048);
  test.sockets.host.reset();
  std::array<std::byte, 8> config;
  CHECK(test.bench.wait_for([&] {
    test.net->read_config(0, config);
    return config[6] == std::byte{0};
  }));
  CHECK(test.transmit_and_wait(frame_of(64, 'z')));
  test.bench.driver->set_status(0);
  REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
  test.bench.start(kAll);
  CHECK(test.transmit_and_wait(frame_of(64, 'z')));
}

TEST_CASE("Net: a stream that makes no sense ends the link", "[virtio][net]") {
  Bench test;
  test.give_buffer(2048);
  REQUIRE(test.write("\xff\xff\xff\xff....................."));
  std::array<std::byte, 8> config;
  CHECK(test.bench.wait_for([&] {
    test.net->read_config(0, config);
    return config[6] == std::byte{0};
  }));
}

TEST_CASE("Net: offloads reach the host only where they make sense", "[virtio][net]") {
  Sockets sockets;
  auto made = std::make_unique<OffloadBackend>(std::move(sockets.device));
  OffloadBackend& backend = *made;
  Bench test(kAll, std::move(made));
  const auto sent = [&](std::uint8_t flags, std::uint8_t gso_type, unsigned hdr_len,
                        unsigned gso_size, unsigned csum_start, unsigned csum_offset) {
    NetHeader header;
    header.flags = flags;
    header.gso_type = gso_type;
    header.hdr_len = static_cast<std::uint16_t>(hdr_len);
    header.gso_size = static_cast<std::uint16_t>(gso_size);
    header.csum_start = static_cast<std::uint16_t>(csum_start);
    header.csum_offset = static_cast<std::uint16_t>(csum_offset);
    header.num_buffers = 7;
    backend.sent.clear();
    REQUIRE(test.transmit_and_wait(frame_of(100, 'o'), header));
    return !backend.sent.empty();
  };
  CHECK(sent(0, 0, 0, 0, 0, 0));
  CHECK(backend.sent[0].num_buffers == 0);
  CHECK((backend.accepted & (Net::kCsum | Net::kHostTso4 | Net::kHostTso6)) ==
        (Net::kCsum | Net::kHostTso4));
  CHECK(sent(1, 0, 0, 0, 34, 16));
  CHECK(sent(1, 1, 54, 40, 34, 16));
  CHECK(sent(1, 0, 0, 0, 34, 64));   // the checksum ends with the frame
  CHECK(!sent(1, 0, 0, 0, 34, 65));  // behind it
  CHECK(!sent(1, 0, 0, 0, 65535, 65535));
  CHECK(!sent(2, 0, 0, 0, 0, 0));         // a flag for the other direction
  CHECK(!sent(1, 4, 54, 40, 34, 16));     // TSO6 was not offered
  CHECK(!sent(1, 3, 54, 40, 34, 16));     // UFO
  CHECK(!sent(1, 0x81, 54, 40, 34, 16));  // ECN
  CHECK(!sent(0, 1, 54, 40, 34, 16));     // segments need checksums
  CHECK(!sent(1, 1, 54, 0, 34, 16));
  CHECK(!sent(1, 1, 101, 40, 34, 16));
}

}  // namespace
}  // namespace vmm::virtio
