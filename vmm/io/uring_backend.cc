// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/uring_backend.h"

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <iterator>

namespace vmm {
namespace {

// What submit() below uses. The kernel refuses everything else with EACCES: system call filters do
// not see what a ring is asked to do (opening files, making sockets ...). Nothing may be
// registered.
constexpr std::uint8_t kOperations[] = {IORING_OP_READV,     IORING_OP_WRITEV, IORING_OP_FSYNC,
                                        IORING_OP_FALLOCATE, IORING_OP_READ,   IORING_OP_POLL_ADD};

// Transfers to a device that go to the kernel at once. It holds back those that come together until
// the last is there (a plug), so that neighbours become one request; more than a few of them leave
// the device waiting meanwhile.
constexpr unsigned kMaxPlugged = 4;

constexpr unsigned kEntries = 256;  // more in flight only costs a submit in between, never an error

class UringBackend : public IoBackend {
 public:
  ~UringBackend() override {
    if (ready_) io_uring_queue_exit(&ring_);
  }

  Result<void> init() {
    io_uring_params params{};
    // Completions are reaped by this thread when it asks for them: no interrupting signals
    // (Linux 6.1).
    params.flags =
        IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    int err = io_uring_queue_init_params(kEntries, &ring_, &params);
    if (err == -EINVAL) {
      params = {};
      params.flags = IORING_SETUP_R_DISABLED;
      err = io_uring_queue_init_params(kEntries, &ring_, &params);
    }
    if (err < 0) return fail_errno(-err, "io_uring_setup");
    ready_ = true;
    return restrict_and_enable(ring_);
  }

  void submit(IoOp& op) override {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    while (sqe == nullptr) {
      io_uring_submit(&ring_);
      sqe = io_uring_get_sqe(&ring_);
    }
    switch (op.kind) {
      case IoOp::Kind::kReadv:
        io_uring_prep_readv(sqe, op.fd, op.iov, op.nr_iov, op.offset);
        break;
      case IoOp::Kind::kWritev:
        io_uring_prep_writev(sqe, op.fd, op.iov, op.nr_iov, op.offset);
        break;
      case IoOp::Kind::kFdatasync:
        io_uring_prep_fsync(sqe, op.fd, IORING_FSYNC_DATASYNC);
        break;
      case IoOp::Kind::kFallocate:
        io_uring_prep_fallocate(sqe, op.fd, op.mode, op.offset, op.length);
        break;
      case IoOp::Kind::kPoll:
        io_uring_prep_poll_add(sqe, op.fd, static_cast<unsigned>(op.mode));
        break;
      case IoOp::Kind::kReadEvent:
        io_uring_prep_read(sqe, op.fd, &op.event_count, sizeof op.event_count, 0);
        break;
    }
    io_uring_sqe_set_data(sqe, &op);
    if (op.direct && ++nr_plugged_ == kMaxPlugged) {
      nr_plugged_ = 0;
      io_uring_submit(&ring_);
    }
  }

  void turn(bool wait, IoOpList& done) override {
    nr_plugged_ = 0;
    int err = wait ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
    // EINTR: a signal; EBUSY/EAGAIN: completions first. Either way what is there is taken, and the
    // loop comes again.
    assert(err >= 0 || err == -EINTR || err == -EBUSY || err == -EAGAIN);
    (void)err;
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      auto* op = static_cast<IoOp*>(io_uring_cqe_get_data(cqe));
      op->result = cqe->res;
      done.push(*op);
      ++seen;
    }
    io_uring_cq_advance(&ring_, seen);
  }

  const char* name() const override { return "io_uring"; }
  Kind kind() const override { return Kind::kRing; }

 private:
  io_uring ring_{};
  bool ready_ = false;
  unsigned nr_plugged_ = 0;  // direct transfers that the kernel has not seen
};

}  // namespace

Result<void> restrict_and_enable(io_uring& ring) {
  io_uring_restriction allowed[std::size(kOperations)]{};
  unsigned count = 0;
  for (std::uint8_t operation : kOperations) {
    allowed[count].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[count++].sqe_op = operation;
  }
  // By hand: liburing 2.3 declares both functions and exports neither.
  if (::syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                count) != 0) {
    return fail_errno(errno, "io_uring_register, restrictions (Linux 5.10)");
  }
  if (::syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) !=
      0) {
    return fail_errno(errno, "io_uring_register, enable");
  }
  return {};
}

Result<std::unique_ptr<IoBackend>> create_uring_backend() {
  auto backend = std::make_unique<UringBackend>();
  VMM_CHECK(backend->init());
  return std::unique_ptr<IoBackend>(std::move(backend));
}

}  // namespace vmm
