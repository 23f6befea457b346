// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/blocking_backend.h"

#include <fcntl.h>
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
    if (is_polled(op)) {
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
    for (const IoOp* op : events_) fds.push_back(poll_entry(*op));
    if (fds.empty() || ::poll(fds.data(), fds.size(), wait ? -1 : 0) <= 0) return;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      IoOp* op = events_[i];
      if (fds[i].revents == 0) {
        events_[kept++] = op;
        continue;
      }
      finish_polled(*op, fds[i].revents);
      done.push(*op);
    }
    events_.resize(kept);
  }

  std::vector<IoOp*> events_;
  IoOpList finished_;
};

}  // namespace

bool is_polled(const IoOp& op) {
  return op.kind == IoOp::Kind::kReadEvent || op.kind == IoOp::Kind::kPoll;
}

pollfd poll_entry(const IoOp& op) {
  const int events = op.kind == IoOp::Kind::kPoll ? op.mode : POLLIN;
  return {op.fd, static_cast<short>(events), 0};
}

void finish_polled(IoOp& op, short events) {
  if (op.kind == IoOp::Kind::kPoll) {
    op.result = events;
    return;
  }
  const ssize_t got = ::read(op.fd, &op.event_count, sizeof op.event_count);
  op.result = got < 0 ? -errno : got;
}

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
      case IoOp::Kind::kPoll:
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
