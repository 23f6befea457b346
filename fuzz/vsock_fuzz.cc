// SPDX-License-Identifier: Apache-2.0
// A hostile driver of the virtio socket device, behind virtio-mmio: packets and rings as the input
// says, mostly of a plausible shape, with resets in between. The input is the connector too, and
// the host's programs: they connect, write, read slowly, end and go away at any time.
#include <fuzzer/FuzzedDataProvider.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "devices/testing/mmio_driver.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/vsock.h"
#include "fuzz/virtio_bench.h"

namespace vmm::fuzz {
namespace {

using virtio::VsockChannel;
using virtio::VsockDial;
using virtio::VsockHeader;
using virtio::VsockOp;

constexpr std::uint64_t kAddress = 0xc0000000;
constexpr std::uint64_t kCid = 7;
constexpr std::uint16_t kQueueSize = 16;
constexpr std::uint16_t kReceive = 0, kTransmit = 1, kNrQueues = 3;
constexpr std::size_t kMaxPrograms = 32;

// Guest memory: three pages for each queue, then what is sent; what is received is in the second
// region.
constexpr std::uint64_t kRings = 0x1000, kSent = 0xa000, kSentSize = 0x6000;
constexpr std::uint64_t kReceived = VirtioBench::kSecondRegion;

std::uint64_t ring(std::uint16_t queue, unsigned page) {
  return kRings + (queue * 3u + page) * 0x1000u;
}

std::pair<UniqueFd, UniqueFd> socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    VirtioBench::wrong("no socket pair");
  }
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

class Bench {
 public:
  Bench(EventLoop& loop, GuestMemory& memory, FuzzedDataProvider& input)
      : loop_(loop), memory_(memory), input_(input) {
    for (const GuestMemory::Region& region : memory.regions()) {
      std::memset(region.host, 0, region.size);
    }
    auto [own, other] = socket_pair(SOCK_SEQPACKET);
    connector_ = std::move(other);
    vsock_ = *virtio::Vsock::create(kCid, VsockChannel(std::move(own)), loop, memory);
    transport_ = *virtio::MmioTransport::create(*vsock_, line_, &kicks_, GuestAddress(kAddress),
                                                std::chrono::milliseconds(0));
    (void)bus_.insert(kAddress, virtio::MmioTransport::kSize, *transport_);
  }

  // Whatever the guest and the programs did: a reset ends, and every connection with it.
  ~Bench() {
    reset();
    transport_.reset();
    vsock_.reset();
    check_that_programs_are_left("a connection outlives the device");
  }

  void run() {
    start();
    while (input_.remaining_bytes() > 0) {
      act();
      if (vsock_->stats().open > virtio::Vsock::kMaxConnections) {
        VirtioBench::wrong("more connections are open than there may be");
      }
    }
  }

 private:
  static Task<void> turns(EventLoop& loop, unsigned count) {
    for (; count > 0; --count) co_await loop.yield();
  }
  void turn(unsigned count) { loop_.run_until(turns(loop_, count)); }

  bool one_in(int count) { return input_.ConsumeIntegralInRange(1, count) == count; }
  template <class T>
  T up_to(T most) {
    return input_.ConsumeIntegralInRange<T>(0, most);
  }

  void act() {
    switch (up_to(22)) {
      case 0:
        return one_in(3) ? start_over() : turn(1 + up_to(3u));
      case 1:
      case 2:
      case 3:
        return give_buffer();
      case 4:
        return one_in(4) ? break_rules() : start_over_if_broken();
      case 5:
      case 6:
        return answer_dial();
      case 7:
      case 8:
        return connect_program();
      case 9:
      case 10:
      case 11:
        return use_program();
      case 12:
        return turn(1 + up_to(3u));
      case 13:
        return open_from_guest();
      case 14:
        return open_from_host();
      default:
        return send_packet();
    }
  }

  // The driver.

  template <class T>
  void store(std::uint64_t at, T value) {
    std::byte bytes[sizeof value];
    store_le(bytes, value);
    (void)memory_.write(GuestAddress(at), bytes);
  }

  std::span<std::byte> page_of(std::uint64_t at, std::uint64_t size = 0x1000) {
    return *memory_.slice(GuestAddress(at), size);
  }

  std::uint64_t any_address() {
    return one_in(2) ? up_to<std::uint64_t>(VirtioBench::kRam)
                     : kReceived + up_to<std::uint64_t>(VirtioBench::kRam);
  }

  void start() {
    const std::uint64_t ring_features = one_in(2) ? std::uint64_t{3} << 28 : 0;
    if (!driver_.negotiate(std::uint64_t{1} << 32 | ring_features | 1)) return;
    for (std::uint16_t queue = 0; queue < kNrQueues; ++queue) {
      const std::span<std::byte> pages = page_of(ring(queue, 0), 0x3000);
      std::fill(pages.begin(), pages.end(), std::byte{0});
      virtio::QueueLayout layout{.size = kQueueSize,
                                 .descriptors = GuestAddress(ring(queue, 0)),
                                 .driver_area = GuestAddress(ring(queue, 1)),
                                 .device_area = GuestAddress(ring(queue, 2))};
      if (one_in(50)) layout.device_area = GuestAddress(any_address());
      if (!one_in(50)) driver_.set_up_queue(queue, layout);
    }
    avail_ = {};
    connections_ = {};
    descriptor_ = {};
    driver_.driver_ok();
    turn(1);
  }

  void start_over() {
    reset();
    // What the connector has said and the device has not heard is still on its way.
    int unheard = 0;
    if (::ioctl(connector_.get(), TIOCOUTQ, &unheard) == 0 && unheard == 0) {
      check_that_programs_are_left("a connection outlives the reset");
    }
    start();
  }

  void start_over_if_broken() {
    if ((driver_.status() & virtio::kStatusNeedsReset) != 0) start_over();
  }

  void reset() {
    for (unsigned i = 0; driver_.status() != 0 || i == 0; ++i) {
      if (i > 10000) VirtioBench::wrong("a reset does not end");
      driver_.set_status(0);
      turn(1);
    }
    if (vsock_->stats().open != 0) VirtioBench::wrong("a connection is open after the reset");
  }

  // A chain of up to three descriptors.
  void add_chain(std::uint16_t queue, std::uint64_t at, std::uint32_t size, bool writable) {
    // More at once than there are descriptors ends the queue.
    const auto used = load_le<std::uint16_t>(page_of(ring(queue, 2)).data() + 2);
    if (static_cast<std::uint16_t>(avail_[queue] - used) >= kQueueSize && !one_in(50)) return;
    const unsigned nr_pieces = one_in(3) ? 1 + up_to(2u) : 1;
    const std::uint16_t head = descriptor_[queue];
    for (unsigned i = 0; i < nr_pieces; ++i) {
      const bool last = i + 1 == nr_pieces;
      const std::uint32_t length = last ? size : up_to(std::min<std::uint32_t>(size, 64));
      const std::uint16_t next = (descriptor_[queue] + 1) % kQueueSize;
      const std::uint64_t slot = ring(queue, 0) + 16u * descriptor_[queue];
      store(slot, at);
      store(slot + 8, length);
      store<std::uint16_t>(slot + 12,
                           static_cast<std::uint16_t>((last ? 0 : 1) | (writable ? 2 : 0)));
      store(slot + 14, next);
      descriptor_[queue] = next;
      at += length;
      size -= length;
    }
    store(ring(queue, 1) + 4 + 2u * (avail_[queue] % kQueueSize), head);
    store(ring(queue, 1) + 2, ++avail_[queue]);
    driver_.kick(queue);
    turn(2);
  }

  void give_buffer() {
    constexpr std::uint32_t kSizes[] = {4096, 4096, 65536, 44, 45, 43, 0};
    const std::uint32_t size = input_.PickValueInArray(kSizes);
    add_buffer(size == 65536 ? 0 : up_to<std::uint64_t>(60 << 10), size);
  }

  // And remembers what is asked of the guest by it.
  void add_buffer(std::uint64_t offset, std::uint32_t size) {
    add_chain(kReceive, kReceived + offset, size, true);
    VsockHeader header;
    if (!memory_.read(GuestAddress(kReceived + offset),
                      std::as_writable_bytes(std::span(&header, 1)))) {
      return;
    }
    if (header.op != static_cast<std::uint16_t>(VsockOp::kRequest)) return;
    connection() = {.host = header.src_port, .guest = header.dst_port};
  }

  // The way that leads to a connection, so that what comes next often meets one.
  void open_from_guest() {
    Ports& ports = connection();
    ports = {.host = up_to<std::uint32_t>(3), .guest = up_to<std::uint32_t>(2)};
    send(header_from(ports, VsockOp::kRequest));
    answer_dial();
    add_buffer(0, 4096);
  }

  void open_from_host() {
    hand_over(0, "CONNECT " + std::to_string(up_to(2)) + "\n");
    std::swap(connections_[0], connections_[up_to(connections_.size() - 1)]);
    Ports& ports = connections_[0];
    next_connection_ = 0;
    for (int i = 0; i < 3; ++i) add_buffer(0, 4096);
    send(header_from(ports, VsockOp::kResponse));
  }

  void send_packet() {
    const VsockHeader header = next_header();
    send(header, one_in(20) ? up_to<std::uint32_t>(kSentSize) : sizeof header + header.len);
  }

  void send(const VsockHeader& header, std::uint32_t size = sizeof(VsockHeader)) {
    (void)memory_.write(GuestAddress(kSent), std::as_bytes(std::span(&header, 1)));
    add_chain(kTransmit, kSent, std::min<std::uint32_t>(size, kSentSize), false);
  }

  struct Ports {
    std::uint32_t host = 0, guest = 0;
  };
  Ports& connection() { return connections_[next_connection_++ % connections_.size()]; }

  static VsockHeader header_from(const Ports& ports, VsockOp op) {
    VsockHeader header;
    header.src_cid = kCid;
    header.dst_cid = virtio::kVsockHostCid;
    header.src_port = ports.guest;
    header.dst_port = ports.host;
    header.type = virtio::kVsockStream;
    header.op = static_cast<std::uint16_t>(op);
    header.buf_alloc = 1 << 20;
    return header;
  }

  // Few ports, so that packets meet connections.
  VsockHeader next_header() {
    constexpr std::uint32_t kSpace[] = {1 << 20, 1 << 20, 256, 1, 0, 0xffffffff};
    constexpr VsockOp kUsual[] = {VsockOp::kRw, VsockOp::kRw, VsockOp::kCreditUpdate,
                                  VsockOp::kCreditRequest, VsockOp::kShutdown};
    Ports ports = connections_[up_to(connections_.size() - 1)];
    if (one_in(10)) ports = {.host = up_to<std::uint32_t>(3), .guest = up_to<std::uint32_t>(2)};
    VsockHeader header = header_from(ports, input_.PickValueInArray(kUsual));
    if (one_in(10)) header.op = up_to<std::uint16_t>(8);
    if (one_in(50)) header.src_cid = up_to<std::uint64_t>(~0ull);
    if (one_in(50)) header.dst_cid = up_to<std::uint64_t>(8);
    if (one_in(50)) header.type = up_to<std::uint16_t>(3);
    header.flags = one_in(20) ? input_.ConsumeIntegral<std::uint32_t>() : up_to<std::uint32_t>(3);
    header.buf_alloc = input_.PickValueInArray(kSpace);
    header.fwd_cnt = one_in(8) ? up_to<std::uint32_t>(0xffffffff) : 0;
    if (header.op == static_cast<std::uint16_t>(VsockOp::kRw) || one_in(20)) {
      header.len = one_in(20) ? input_.ConsumeIntegral<std::uint32_t>()
                              : up_to<std::uint32_t>(kSentSize - sizeof header);
    }
    return header;
  }

  void break_rules() {
    const std::uint16_t queue = up_to<std::uint16_t>(kNrQueues - 1);
    switch (up_to(5)) {
      case 0:
        store(ring(queue, 1) + 2, input_.ConsumeIntegral<std::uint16_t>());
        break;
      case 1:
        store(ring(queue, 0) + up_to<std::uint64_t>(16 * kQueueSize),
              input_.ConsumeIntegral<std::uint32_t>());
        break;
      case 2:
        store(any_address(), input_.ConsumeIntegral<std::uint64_t>());
        break;
      case 3:
        driver_.write(up_to<std::uint64_t>(0x120), input_.ConsumeIntegral<std::uint32_t>());
        break;
      case 4:
        (void)driver_.read(0x100 + up_to<std::uint64_t>(16), 1u << up_to(3u));
        break;
      default:
        add_chain(queue, any_address(), up_to<std::uint32_t>(1 << 17), one_in(2));
    }
    driver_.kick(queue);
    turn(1);
  }

  // The connector, and the programs.

  // The device's end is in nobody else's hands once the device has it.
  void hand_over(std::uint64_t token, std::string_view said) {
    auto [device, host] = socket_pair(SOCK_STREAM);
    const int small = 4096;  // so that programs are soon slow
    (void)::setsockopt(device.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (!said.empty()) (void)!::write(host.get(), said.data(), said.size());
    (void)VsockChannel::answer(connector_.get(), {.token = token}, device.get());
    if (programs_.size() < kMaxPrograms) programs_.push_back(std::move(host));
    turn(1);
  }

  void answer_dial() {
    VsockDial dial;
    if (::read(connector_.get(), &dial, sizeof dial) != sizeof dial) return;
    if (one_in(20)) dial.token += up_to<std::uint64_t>(4);
    if (one_in(10)) {  // a refusal, or no descriptor where one should be
      const auto error = static_cast<std::int32_t>(up_to(1) * ECONNREFUSED);
      (void)VsockChannel::answer(connector_.get(), {.token = dial.token, .error = error}, -1);
      return turn(1);
    }
    hand_over(dial.token, {});
  }

  void connect_program() {
    if (one_in(200)) {  // the connector dies
      connector_ = socket_pair(SOCK_SEQPACKET).first;
      return turn(1);
    }
    std::string said = "CONNECT " + std::to_string(up_to(2)) + "\n";
    if (one_in(10)) said = input_.ConsumeRandomLengthString(40);
    hand_over(0, said);
  }

  void use_program() {
    if (programs_.empty()) return;
    const std::size_t index = up_to(programs_.size() - 1);
    const int fd = programs_[index].get();
    static char bytes[32 << 10];
    switch (up_to(6)) {
      case 0:
        programs_.erase(programs_.begin() + static_cast<std::ptrdiff_t>(index));
        break;
      case 1:
        (void)::shutdown(fd, up_to(2));
        break;
      case 2:
      case 3:
        (void)!::write(fd, bytes, up_to(sizeof bytes));
        break;
      default:
        (void)!::read(fd, bytes, up_to(sizeof bytes));
    }
    turn(1);
  }

  void check_that_programs_are_left(const char* what) {
    for (const UniqueFd& program : programs_) {
      pollfd state{program.get(), 0, 0};
      if (::poll(&state, 1, 0) != 1 || (state.revents & POLLHUP) == 0) VirtioBench::wrong(what);
    }
    programs_.clear();
  }

  EventLoop& loop_;
  GuestMemory& memory_;
  FuzzedDataProvider& input_;
  Bus bus_{"MMIO"};
  testing::FakeInterrupt line_;
  testing::FakeKickRegistrar kicks_;
  UniqueFd connector_;
  std::unique_ptr<virtio::Vsock> vsock_;
  std::unique_ptr<virtio::MmioTransport> transport_;
  testing::MmioDriver driver_{bus_, kAddress, &kicks_};
  std::vector<UniqueFd> programs_;
  std::array<Ports, 3> connections_{};
  std::size_t next_connection_ = 0;
  std::array<std::uint16_t, kNrQueues> avail_{}, descriptor_{};
};

}  // namespace
}  // namespace vmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmm;
  log::set_level(log::Level::kError);
  ::signal(SIGPIPE, SIG_IGN);
  static std::unique_ptr<EventLoop> loop = *EventLoop::create(EventLoop::Backend::kThreadPool);
  FuzzedDataProvider input(data, size);
  fuzz::Bench(*loop, fuzz::fuzz_memory(), input).run();
  return 0;
}
