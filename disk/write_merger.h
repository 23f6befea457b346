// SPDX-License-Identifier: Apache-2.0
// WriteMerger: writes of one turn that follow each other in a file become one operation.
//
// A guest that writes a file sends requests that end up side by side: clusters are allocated in
// order. A file system takes each write that allocates or extends under one lock, from a worker
// thread of the kernel's; a few large ones hold it for less than many small ones. Nothing waits
// for a neighbour: what is there at the end of the turn goes, as it would have without.
//
// Where they only go to the page cache a few writes are made by this thread: waking the kernel's
// worker takes longer than the copies. With many under way the worker copies while this thread does
// other work. A write that takes long all the same (the host holds up who writes more than its
// disks take) keeps the next ones from that for a while.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::disk {

class WriteMerger : private EventLoop::TurnHook {
 public:
  // Awaited, gives what EventLoop::writev() gives: bytes written, or a negative errno. Where a
  // merged operation fails, each of its writes gets -EAGAIN: alone it shows whose failure it was.
  class Write {
   public:
    Write(WriteMerger& merger, IoVec iov, std::uint64_t offset)
        : merger_(merger),
          iov_(iov),
          offset_(offset),
          end_(offset + total_size(iov)),
          alone_(merger.loop_.writev(merger.fd_, iov, offset, /*direct=*/!merger.cached_)) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      handle_ = handle;
      merger_.add(*this);
    }
    std::int64_t await_resume() const noexcept {
      --merger_.nr_under_way_;
      return done_here_ ? result_ : alone_.result;
    }

   private:
    friend class WriteMerger;
    WriteMerger& merger_;
    const IoVec iov_;
    const std::uint64_t offset_;
    const std::uint64_t end_;
    std::coroutine_handle<> handle_;
    EventLoop::IoAwaiter alone_;
    bool done_here_ = false;  // by the merger, not by `alone_`
    std::int64_t result_ = 0;
  };

  // `cached`: writes go to the page cache.
  WriteMerger(EventLoop& loop, int fd, bool cached)
      : loop_(loop), fd_(fd), cached_(cached), merged_(loop) {}

  // `iov` and its buffers stay until the result is there; at most IOV_MAX entries.
  Write writev(IoVec iov, std::uint64_t offset) { return Write(*this, iov, offset); }

 private:
  using Clock = std::chrono::steady_clock;

  void add(Write& write);
  void on_turn_end() override;
  std::size_t length_of_run(std::span<Write* const> writes) const;
  static std::vector<iovec> joined(std::span<Write* const> run);
  bool may_write_here() const;
  void write_here(std::span<Write* const> run);
  void send(std::span<Write* const> run);
  Task<void> write_together(std::vector<Write*> run);
  void finish(std::span<Write* const> run, std::int64_t result);

  EventLoop& loop_;
  const int fd_;
  const bool cached_;
  Clock::time_point not_here_before_;
  std::size_t nr_under_way_ = 0;    // from add() to await_resume()
  std::uint64_t waiting_size_ = 0;  // bytes of `waiting_`
  std::vector<Write*> waiting_;
  Gate merged_;  // operations under way
};

}  // namespace vmm::disk
