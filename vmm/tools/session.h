// SPDX-License-Identifier: Apache-2.0
// Session: an event loop for a tool that does one thing after the other.
#pragma once

#include <memory>
#include <utility>

#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/tools/console.h"
#include "vmm/tools/opened_image.h"

namespace vmm::tools {

class Session {
 public:
  static Result<Session> start() {
    VMM_TRY(auto loop, EventLoop::create());
    return Session(std::move(loop));
  }

  EventLoop& loop() { return *loop_; }
  template <class T>
  T wait(Task<T> task) {
    return loop_->run_until(std::move(task));
  }
  // "Could not open 'x': why".
  Result<std::unique_ptr<OpenedImage>> open(ImageOptions options);
  Result<void> close(OpenedImage& image) { return wait(image.disk().close()); }

 private:
  explicit Session(std::unique_ptr<EventLoop> loop) : loop_(std::move(loop)) {}

  std::unique_ptr<EventLoop> loop_;
};

// A tool's end: its exit status, or 1 and the error's line.
int finish(const Console& console, const Result<int>& result);

// True for "json"; kInvalid for a word that is neither that nor "human" nor empty.
Result<bool> wants_json(const std::string& output);

}  // namespace vmm::tools
