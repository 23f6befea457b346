// SPDX-License-Identifier: Apache-2.0
// A virtio file system device, polled: virtiofsd answers.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

// FUSE, as Linux's include/uapi/linux/fuse.h has it.
struct InHeader {
  std::uint32_t length, opcode;
  std::uint64_t unique, node;
  std::uint32_t uid, gid, pid, padding;
};
struct OutHeader {
  std::uint32_t length;
  std::int32_t error;
  std::uint64_t unique;
};
constexpr std::uint32_t kGetAttr = 3, kInit = 26;
constexpr std::uint64_t kRoot = 1;

Rings rings;
volatile struct {
  InHeader header;
  std::uint32_t body[16];
} request;
volatile struct {
  OutHeader header;
  std::uint32_t body[64];
} answer;

bool ask(Queue& queue, std::uint32_t opcode, std::uint64_t unique, std::uint32_t body_bytes,
         std::uint32_t answer_bytes) {
  const auto length = static_cast<std::uint32_t>(sizeof(InHeader) + body_bytes);
  request.header.length = length;
  request.header.opcode = opcode;
  request.header.unique = unique;
  request.header.node = opcode == kInit ? 0 : kRoot;
  queue.set(0, reinterpret_cast<std::uint64_t>(&request), length, kNext, 1);
  queue.set(1, reinterpret_cast<std::uint64_t>(&answer),
            static_cast<std::uint32_t>(sizeof(OutHeader) + answer_bytes), kWrite);
  queue.make_available(0);
  queue.kick();
  return queue.wait_used();
}

}  // namespace

void guest_main() {
  VirtioDevice fs;
  check(fs.find(26), "a virtio file system is there");
  check_equal(read<std::uint32_t>(fs.config()), 0x656c6966, "its tag begins with 'file'");
  check_equal(read<std::uint32_t>(fs.config() + 36), 1, "it has one queue for requests");
  check(fs.negotiate(kVersion1), "it takes the features");
  fs.set_up_queue(rings, 0xffff, 1);
  fs.driver_ok();

  Queue requests(fs, rings, 1);
  request.body[0] = 7;   // major
  request.body[1] = 31;  // minor
  check(ask(requests, kInit, 11, 16, 64), "a session is begun");
  check_equal(static_cast<std::uint32_t>(answer.header.error), 0, "without an error");
  check_equal(answer.header.unique, 11, "which is the answer to that request");
  check_equal(answer.body[0], 7, "in the same protocol");
  request.body[0] = 0;
  request.body[1] = 0;
  check(ask(requests, kGetAttr, 12, 16, 104), "the root is asked for");
  check_equal(static_cast<std::uint32_t>(answer.header.error), 0, "and is there");
  check(fs.reset(), "it resets");
}
