// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/serial.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "devices/testing/fake_interrupt.h"
#include "vmm/core/testing/catch.h"

namespace vmm::legacy {
namespace {

constexpr std::uint64_t kData = 0, kIer = 1, kIir = 2, kFcr = 2, kLcr = 3, kMcr = 4, kLsr = 5,
                        kMsr = 6, kScr = 7;

struct TextSink : ConsoleSink {
  std::string text;
  void write(std::span<const std::byte> bytes) override {
    for (std::byte byte : bytes) text += static_cast<char>(byte);
  }
};

struct Port {
  testing::FakeInterrupt interrupt;
  TextSink sink;
  Serial serial{interrupt, sink};

  unsigned in(std::uint64_t reg) {
    std::byte value{};
    serial.read(reg, std::span(&value, 1));
    return std::to_integer<unsigned>(value);
  }
  void out(std::uint64_t reg, unsigned value) {
    auto byte = static_cast<std::byte>(value);
    serial.write(reg, std::span(&byte, 1));
  }
  std::size_t type(std::string_view text) {
    return serial.input(std::as_bytes(std::span(text.data(), text.size())));
  }
  void open() {
    out(kFcr, 0x07);
    out(kMcr, 0x0b);  // DTR, RTS, OUT2
  }
};

TEST_CASE("Serial: what a guest sends reaches the sink, and it may always send", "[serial]") {
  Port port;
  CHECK(port.in(kLsr) == 0x60);
  for (char c : std::string("hello\n")) port.out(kData, static_cast<unsigned char>(c));
  CHECK(port.sink.text == "hello\n");
  CHECK(port.in(kLsr) == 0x60);
  CHECK(port.interrupt.nr_signals == 0);
}

TEST_CASE("Serial: Linux recognises a 16550A", "[serial]") {
  Port port;
  port.out(kIer, 0);
  CHECK(port.in(kIer) == 0);
  port.out(kIer, 0x0f);
  CHECK(port.in(kIer) == 0x0f);
  port.out(kIer, 0);

  port.out(kMcr, 0x10 | 0x0a);  // loopback: OUT2 and RTS come back as DCD and CTS
  CHECK((port.in(kMsr)&0xf0) == 0x90);
  port.out(kMcr, 0);

  port.out(kScr, 0xa5);
  CHECK(port.in(kScr) == 0xa5);

  CHECK((port.in(kIir)&0xc0) == 0);
  port.out(kFcr, 0x01);
  CHECK((port.in(kIir)&0xc0) == 0xc0);
}

TEST_CASE("Serial: the divisor hides behind DLAB and sends nothing", "[serial]") {
  Port port;
  port.out(kIer, 0x05);
  port.out(kLcr, 0x83);
  port.out(kData, 0x34);
  port.out(kIer, 0x12);
  CHECK(port.in(kData) == 0x34);
  CHECK(port.in(kIer) == 0x12);
  port.out(kLcr, 0x03);
  CHECK(port.in(kIer) == 0x05);
  CHECK(port.sink.text.empty());
}

TEST_CASE("Serial: the transmitter interrupts when it is enabled, and again after each byte",
          "[serial]") {
  Port port;
  port.open();
  port.out(kIer, 0x02);
  CHECK(port.interrupt.nr_signals == 1);
  CHECK(port.in(kIir) == 0xc2);
  CHECK(port.in(kIir) == 0xc1);  // reading it was the acknowledgement

  port.out(kData, 'x');
  CHECK(port.interrupt.nr_signals == 2);
  port.out(kData, 'y');  // still pending: no second edge
  CHECK(port.interrupt.nr_signals == 2);
  CHECK(port.in(kIir) == 0xc2);
  CHECK(port.in(kIir) == 0xc1);

  port.out(kIer, 0x02);  // enabled already
  CHECK(port.interrupt.nr_signals == 2);
}

TEST_CASE("Serial: input waits until the guest raises RTS, then interrupts", "[serial]") {
  Port port;
  CHECK(port.type("typed early") == 11);
  CHECK(port.in(kLsr) == 0x60);
  port.out(kFcr, 0x07);  // a driver clears the FIFOs when it opens the port
  port.out(kIer, 0x01);
  CHECK(port.interrupt.nr_signals == 0);

  port.out(kMcr, 0x0b);
  CHECK(port.interrupt.nr_signals == 1);
  CHECK(port.in(kIir) == 0xc4);
  std::string got;
  while ((port.in(kLsr)&1) != 0) got += static_cast<char>(port.in(kData));
  CHECK(got == "typed early");
  CHECK(port.in(kIir) == 0xc1);

  CHECK(port.type("x") == 1);
  CHECK(port.interrupt.nr_signals == 2);
}

TEST_CASE("Serial: more input than fits is refused, and asked for once there is room", "[serial]") {
  Port port;
  port.open();
  int nr_asked = 0;
  port.serial.set_on_input_room([&] { ++nr_asked; });
  std::string flood(10000, 'z');
  std::size_t taken = port.type(flood);
  CHECK(taken == Serial::kInputBuffer);
  // 16 bytes moved on into the FIFO.
  CHECK(port.type(flood) == 16);
  CHECK(port.type(flood) == 0);

  std::size_t nr_read = 0;
  while (nr_asked == 0 && (port.in(kLsr)&1) != 0) {
    port.in(kData);
    ++nr_read;
  }
  CHECK(nr_asked == 1);
  CHECK(nr_read >= Serial::kInputBuffer / 2);
  while ((port.in(kLsr)&1) != 0) {
    port.in(kData);
    ++nr_read;
  }
  CHECK(nr_read == taken + 16);
  CHECK(nr_asked == 1);
}

TEST_CASE("Serial: in loopback what is sent comes back, and overruns", "[serial]") {
  Port port;
  port.out(kFcr, 0x01);
  port.out(kMcr, 0x13);
  CHECK(port.type("from the host") > 0);
  for (int i = 0; i < 17; ++i) port.out(kData, static_cast<unsigned>('a' + i));
  CHECK(port.sink.text.empty());
  CHECK(port.in(kLsr) == 0x63);  // data, and the seventeenth was lost
  CHECK(port.in(kLsr) == 0x61);
  for (int i = 0; i < 16; ++i) CHECK(port.in(kData) == static_cast<unsigned>('a' + i));
  CHECK(port.in(kLsr) == 0x60);
  port.out(kMcr, 0x03);
  CHECK(port.in(kData) == 'f');
}

TEST_CASE("Serial: modem lines that change in loopback interrupt once they are read", "[serial]") {
  Port port;
  port.out(kMcr, 0x10);
  port.in(kMsr);
  port.out(kIer, 0x08);
  CHECK(port.interrupt.nr_signals == 0);
  port.out(kMcr, 0x12);  // RTS
  CHECK(port.interrupt.nr_signals == 1);
  CHECK(port.in(kIir) == 0x00);
  CHECK(port.in(kMsr) == 0x11);  // CTS, and that it changed
  CHECK(port.in(kMsr) == 0x10);
  CHECK(port.in(kIir) == 0x01);
}

TEST_CASE("Serial: wide and hostile accesses are served byte by byte", "[serial]") {
  Port port;
  std::byte data[8];
  for (std::size_t offset = 0; offset < 8; ++offset) {
    for (std::size_t size = 1; size <= 8 - offset; ++size) {
      for (unsigned value = 0; value < 256; value += 51) {
        std::fill(std::begin(data), std::end(data), static_cast<std::byte>(value));
        port.serial.write(offset, std::span(data).first(size));
        port.serial.read(offset, std::span(data).first(size));
      }
    }
  }
  SUCCEED("still here");
}

}  // namespace
}  // namespace vmm::legacy
