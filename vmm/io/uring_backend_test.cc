// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/uring_backend.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/core/log.h"
#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

int complete(io_uring& ring) {
  io_uring_submit_and_wait(&ring, 1);
  io_uring_cqe* cqe = nullptr;
  if (io_uring_peek_cqe(&ring, &cqe) != 0) return -ENODATA;
  int result = cqe->res;
  io_uring_cqe_seen(&ring, cqe);
  return result;
}

TEST_CASE("A ring opens no file and makes no connection, where system call filters do not see it",
          "[io]") {
  io_uring ring;
  if (io_uring_queue_init(8, &ring, IORING_SETUP_R_DISABLED) != 0) {
    WARN("io_uring is not allowed here");
    return;
  }
  REQUIRE(restrict_and_enable(ring));

  io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
  CHECK(complete(ring) == -EACCES);
  io_uring_prep_connect(io_uring_get_sqe(&ring), 0, nullptr, 0);
  CHECK(complete(ring) == -EACCES);
  io_uring_prep_unlinkat(io_uring_get_sqe(&ring), AT_FDCWD, "/nonexistent", 0);
  CHECK(complete(ring) == -EACCES);
  CHECK(io_uring_register_eventfd(&ring, 0) == -EACCES);

  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(::write(ends[1], "x", 1) == 1);
  char byte = 0;
  io_uring_prep_read(io_uring_get_sqe(&ring), ends[0], &byte, 1, 0);
  CHECK(complete(ring) == 1);
  ::close(ends[0]);
  ::close(ends[1]);
  io_uring_queue_exit(&ring);
}

}  // namespace
}  // namespace vmm
