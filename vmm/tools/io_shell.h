// SPDX-License-Identifier: Apache-2.0
// IoShell: reads, writes and inspects one image at a time by short commands, in qemu-io's language
// and with its output, so that test scripts written for that tool run on this engine.
//
// Commands wait for their I/O, except aio_read and aio_write, which go on beside what follows.
// Results go to the console's `out`, complaints to its `err`.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"
#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/console.h"
#include "vmm/tools/image.h"
#include "vmm/tools/opened_image.h"

namespace vmm::tools {

// The memory of one request.
struct IoBuffer {
  AlignedBuffer memory;
  std::span<std::byte> bytes;  // of memory; off its alignment where that was asked for
};

class IoShell {
 public:
  struct Settings {
    ImageOptions image;     // what `open` starts from: everything but the path
    bool misalign = false;  // buffers are off their alignment by 16 bytes
  };

  IoShell(EventLoop& loop, Console console, Settings settings);
  ~IoShell();
  IoShell(const IoShell&) = delete;
  IoShell& operator=(const IoShell&) = delete;

  // Prints the reason where it fails.
  bool open(ImageOptions options);
  // Waits for what is under way, then closes. False where closing failed.
  bool close();

  // Runs one line; false where it failed. An empty line succeeds.
  bool run_line(std::string_view line);
  // Runs the console's input line by line, with a prompt. False where any line failed.
  bool run_script();
  bool quit_asked() const { return quit_; }

  // The rest serves the commands (io_*.cc).

  EventLoop& loop() { return loop_; }
  const Console& console() const { return console_; }
  const Settings& settings() const { return settings_; }
  OpenedImage* image() { return image_.get(); }
  Gate& gate() { return gate_; }
  void quit() { quit_ = true; }
  void drain();

  template <class T>
  T wait(Task<T> task) {
    return loop_.run_until(std::move(task));
  }
  // A buffer of `size` bytes full of `pattern`; null with a line on `err` where there is no memory.
  std::shared_ptr<IoBuffer> buffer(std::uint64_t size, int pattern) const;
  // "write failed: Input/output error", and false.
  bool failed(const char* what, const Error& error) const;

 private:
  EventLoop& loop_;
  Console console_;
  Settings settings_;
  std::unique_ptr<OpenedImage> image_;
  Gate gate_;  // holds aio_read and aio_write
  bool quit_ = false;
};

}  // namespace vmm::tools
