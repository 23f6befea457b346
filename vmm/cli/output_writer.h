// SPDX-License-Identifier: Apache-2.0
// OutputWriter: carries the guest's console output to a descriptor, on a thread of its own, so that
// a slow or stopped reader holds up nothing but, in the end, the guest. No byte is lost while the
// reader lives.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "devices/legacy/serial.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::cli {

class OutputWriter final : public legacy::ConsoleSink {
 public:
  // Bytes that may wait; then writers wait.
  static constexpr std::size_t kCapacity = 256 << 10;

  // `fd` stays the caller's, and blocking.
  static Result<std::unique_ptr<OutputWriter>> create(int fd);
  // Gives up what has not been written.
  ~OutputWriter() override;

  // Before the first write(). `on_begin` is called on the writer's thread, first.
  void start(std::function<void()> on_begin = [] {});

  // From any thread.
  void write(std::span<const std::byte> bytes) override;

  // No more comes. drained_fd() becomes readable once everything is written, or cannot be.
  void close();
  int drained_fd() const { return drained_fd_.get(); }

  // What waits is dropped, writers come back at once, and so does the thread if it is blocked.
  void abandon();

 private:
  OutputWriter(int fd, UniqueFd drained_fd) : fd_(fd), drained_fd_(std::move(drained_fd)) {}
  void run();
  bool write_out(std::span<const std::byte> bytes);
  void signal_drained();

  const int fd_;
  UniqueFd drained_fd_;
  std::thread thread_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<std::byte> waiting_;
  bool closed_ = false;
  bool abandoned_ = false;
};

}  // namespace vmm::cli
