// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/blocking_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <vector>

namespace vmm {
namespace {

bool blocking_only = false;

class BlockingBackend : public IoBackend {
 public:
  void submit(IoOp& op) override {
    if (op.kind == IoOp::Kind::kReadEvent) {
      events_.push_back(&op);
      return;
    }
    op.result = perform_blocking(op);
    finished_.push(op);
  }

  void turn(bool wait, IoOpList& done) override {
    const bool nothing_finished = finished_.empty();
    while (IoOp* op = finished_.pop()) done.push(*op);
    collect_events(wait && nothing_finished, done);
  }

  const char* name() const override { return "blocking calls"; }
  Kind kind() const override { return Kind::kThreads; }

 private:
  void collect_events(bool wait, IoOpList& done) {
    std::vector<pollfd> fds;
    for (const IoOp* op : events_) fds.push_back({op->fd, POLLIN, 0});
    if (fds.empty() || ::poll(fds.data(), fds.size(), wait ? -1 : 0) <= 0) return;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      IoOp* op = events_[i];
      if (fds[i].revents == 0) {
        events_[kept++] = op;
        continue;
      }
      const ssize_t got = ::read(op->fd, &op->event_count, sizeof op->event_count);
      op->result = got < 0 ? -errno : got;
      done.push(*op);
    }
    events_.resize(kept);
  }

  std::vector<IoOp*> events_;
  IoOpList finished_;
};

}  // namespace

std::int64_t perform_blocking(const IoOp& op) {
  std::int64_t result = -1;
  do {
    const auto nr_iov = static_cast<int>(op.nr_iov);
    const auto offset = static_cast<off_t>(op.offset);
    switch (op.kind) {
      case IoOp::Kind::kReadv:
        result = ::preadv(op.fd, op.iov, nr_iov, offset);
        break;
      case IoOp::Kind::kWritev:
        result = ::pwritev(op.fd, op.iov, nr_iov, offset);
        break;
      case IoOp::Kind::kFdatasync:
        result = ::fdatasync(op.fd);
        break;
      case IoOp::Kind::kFallocate:
        result = ::fallocate(op.fd, op.mode, offset, static_cast<off_t>(op.length));
        break;
      case IoOp::Kind::kReadEvent:
        assert(false && "events are polled");
        break;
    }
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

void allow_only_blocking_calls(bool only) {
  blocking_only = only;
}
bool only_blocking_calls() {
  return blocking_only;
}

std::unique_ptr<IoBackend> create_blocking_backend() {
  return std::make_unique<BlockingBackend>();
}

}  // namespace vmm
