// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/output_writer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vmm/core/log.h"

namespace vmm::cli {
namespace {

// At most this much is handed to one write(): a pipe takes so much without blocking when poll()
// says that it takes anything.
constexpr std::size_t kChunk = 4096;

// abandon() must get the thread out of poll(), and it cannot close a descriptor that is not ours.
constexpr int kPollMs = 100;

}  // namespace

Result<std::unique_ptr<OutputWriter>> OutputWriter::create(int fd) {
  UniqueFd drained_fd(::eventfd(0, EFD_CLOEXEC));
  if (!drained_fd) return fail_errno(errno, "eventfd");
  return std::unique_ptr<OutputWriter>(new OutputWriter(fd, std::move(drained_fd)));
}

OutputWriter::~OutputWriter() {
  abandon();
  if (thread_.joinable()) thread_.join();
}

void OutputWriter::write(std::span<const std::byte> bytes) {
  std::unique_lock lock(mutex_);
  while (!bytes.empty()) {
    changed_.wait(lock, [&] { return waiting_.size() < kCapacity || abandoned_; });
    if (abandoned_ || closed_) return;
    std::size_t nr = std::min(bytes.size(), kCapacity - waiting_.size());
    waiting_.insert(waiting_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(nr));
    bytes = bytes.subspan(nr);
    changed_.notify_all();
  }
}

void OutputWriter::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
  if (!thread_.joinable()) signal_drained();
}

void OutputWriter::abandon() {
  std::lock_guard lock(mutex_);
  abandoned_ = true;
  waiting_.clear();
  changed_.notify_all();
}

void OutputWriter::start(std::function<void()> on_begin) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, on_begin = std::move(on_begin)] {
    ::pthread_setname_np(::pthread_self(), "vmm-console");
    on_begin();
    run();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void OutputWriter::run() {
  std::vector<std::byte> batch;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !waiting_.empty() || closed_ || abandoned_; });
      if (abandoned_ || waiting_.empty()) break;
      batch.clear();
      batch.swap(waiting_);
      changed_.notify_all();
    }
    if (!write_out(batch)) break;
  }
  abandon();
  signal_drained();
}

// False where nobody will read this any more.
bool OutputWriter::write_out(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    pollfd ready{fd_, POLLOUT, 0};
    int nr_ready = ::poll(&ready, 1, kPollMs);
    {
      std::lock_guard lock(mutex_);
      if (abandoned_) return false;
    }
    if (nr_ready <= 0) continue;
    ssize_t put = ::write(fd_, bytes.data(), std::min(bytes.size(), kChunk));
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (put < 0) {
      log::warn("the console's output is lost from here on: {}", ::strerrordesc_np(errno));
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

void OutputWriter::signal_drained() {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(drained_fd_.get(), &one, sizeof one);
}

}  // namespace vmm::cli
