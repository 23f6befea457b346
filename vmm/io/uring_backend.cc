// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/uring_backend.h"

#include <liburing.h>

#include <cassert>

namespace vmm {
namespace {

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
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    int err = io_uring_queue_init_params(kEntries, &ring_, &params);
    if (err == -EINVAL) {
      params = {};
      err = io_uring_queue_init_params(kEntries, &ring_, &params);
    }
    if (err < 0) return fail_errno(-err, "io_uring_setup");
    ready_ = true;
    return {};
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
      case IoOp::Kind::kReadEvent:
        io_uring_prep_read(sqe, op.fd, &op.event_count, sizeof op.event_count, 0);
        break;
    }
    io_uring_sqe_set_data(sqe, &op);
  }

  void turn(bool wait, IoOpList& done) override {
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

 private:
  io_uring ring_{};
  bool ready_ = false;
};

}  // namespace

Result<std::unique_ptr<IoBackend>> create_uring_backend() {
  auto backend = std::make_unique<UringBackend>();
  VMM_CHECK(backend->init());
  return std::unique_ptr<IoBackend>(std::move(backend));
}

}  // namespace vmm
