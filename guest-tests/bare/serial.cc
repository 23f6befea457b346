// SPDX-License-Identifier: Apache-2.0
// The first serial port, as a driver finds it.
#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/interrupts.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"

using namespace guest;

namespace {

constexpr std::uint16_t kPort = vmm::x86::layout::kCom1Port;

void recognises_16550a() {
  out8(kPort + 1, 0x0f);
  check_equal(in8(kPort + 1), 0x0f, "IER keeps four bits");
  out8(kPort + 1, 0);
  out8(kPort + 7, 0xa5);
  check_equal(in8(kPort + 7), 0xa5, "the scratch register keeps a byte");
  out8(kPort + 2, 0x01);
  check_equal(in8(kPort + 2) & 0xc0, 0xc0, "the FIFOs are there");
  check_equal(in8(kPort + 5) & 0x60, 0x60, "the transmitter is empty");
}

void loops_back() {
  out8(kPort + 4, 0x1a);
  bool lines = (in8(kPort + 6) & 0xf0) == 0x90;
  out8(kPort, 'x');
  bool ready = (in8(kPort + 5) & 1) != 0;
  std::uint8_t got = in8(kPort);
  out8(kPort + 4, 0);
  check(lines, "loopback brings RTS and OUT2 back as CTS and DCD");
  check(ready, "loopback makes data ready");
  check_equal(got, 'x', "loopback brings a byte back");
}

void interrupts_when_empty() {
  enable_interrupts();
  route_pin(vmm::x86::layout::kCom1Gsi, kFirstVector);
  out8(kPort + 1, 0x02);
  bool came = wait_for_interrupts(0, 1);
  std::uint8_t cause = in8(kPort + 2) & 0x0f;
  out8(kPort, '\n');
  bool again = wait_for_interrupts(0, 2);
  out8(kPort + 1, 0);
  check(came, "enabling the transmitter interrupts, by the IOAPIC");
  check_equal(cause, 0x02, "IIR says why");
  check(again, "each byte sent interrupts");
}

}  // namespace

void guest_main() {
  recognises_16550a();
  loops_back();
  interrupts_when_empty();
}
