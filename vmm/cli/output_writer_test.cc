// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/output_writer.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::cli;

namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  UniqueFd reader, writer;
};

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

bool is_readable(int fd, int timeout_ms) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, timeout_ms) == 1;
}

}  // namespace

TEST_CASE("OutputWriter: a slow reader gets every byte, in order", "[cli]") {
  Pipe pipe;
  auto output = *OutputWriter::create(pipe.writer.get());
  output->start();
  std::string sent;
  for (int i = 0; sent.size() < 3 * OutputWriter::kCapacity; ++i) sent += std::to_string(i) + ",";

  std::string got;
  std::thread reader([&] {
    char buffer[1000];
    while (got.size() < sent.size()) {
      ssize_t nr = ::read(pipe.reader.get(), buffer, sizeof buffer);
      if (nr <= 0) break;
      got.append(buffer, static_cast<std::size_t>(nr));
    }
  });
  for (std::size_t at = 0; at < sent.size(); at += 777) {
    output->write(bytes(std::string_view(sent).substr(at, 777)));
  }
  output->close();
  CHECK(is_readable(output->drained_fd(), 10000));
  reader.join();
  CHECK(got == sent);
}

TEST_CASE("OutputWriter: with nothing to say it is drained at once", "[cli]") {
  Pipe pipe;
  auto output = *OutputWriter::create(pipe.writer.get());
  output->close();
  CHECK(is_readable(output->drained_fd(), 0));
}

TEST_CASE("OutputWriter: abandon() frees a writer that waits for a stopped reader", "[cli]") {
  Pipe pipe;
  auto output = *OutputWriter::create(pipe.writer.get());
  output->start();
  std::atomic<bool> written = false;
  std::thread writer([&] {
    std::string much(4 * OutputWriter::kCapacity, 'x');
    output->write(bytes(much));
    written = true;
  });
  CHECK_FALSE(is_readable(output->drained_fd(), 50));
  CHECK_FALSE(written);
  output->abandon();
  writer.join();
  CHECK(is_readable(output->drained_fd(), 10000));
}

TEST_CASE("OutputWriter: a reader that went away does not stop the guest", "[cli]") {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  auto output = *OutputWriter::create(pipe.writer.get());
  output->start();
  pipe.reader.reset();
  std::string much(4 * OutputWriter::kCapacity, 'x');
  output->write(bytes(much));
  output->close();
  CHECK(is_readable(output->drained_fd(), 10000));
}
