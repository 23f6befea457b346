// SPDX-License-Identifier: Apache-2.0
// Client: the other end of a control socket, for `vmm list`, `stop` and the like. Waits for
// answers, but never for ever.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::control {

class Client {
 public:
  // Connects and takes the greeting. kNotFound where no machine of this name runs; kBusy where one
  // does, but does not answer: it boots anew, is stopped, or hangs.
  static Result<Client> connect_to(const std::string& directory, const std::string& name);

  const std::string& greeting() const { return greeting_; }  // a line of JSON
  int pid() const { return pid_; }                           // of the process that runs the machine

  // One request and its answer, each a line of JSON without the newline.
  // `files` go with the request, at most kMaxFiles.
  Result<std::string> ask(std::string_view request, std::span<const UniqueFd> files = {});

  // After an answer that turned the connection into another: its descriptor, which does not block,
  // and what has been read from it behind the answer.
  UniqueFd take_connection(std::string& read);

  // Whether the machine has hung up within `timeout`; what else it says is dropped.
  bool wait_for_end(std::chrono::milliseconds timeout);

 private:
  using Deadline = std::chrono::steady_clock::time_point;
  Client(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  Result<std::string> read_line(Deadline deadline);
  Result<void> wait_for(short events, Deadline deadline);

  UniqueFd fd_;
  std::string name_, greeting_, read_;
  int pid_ = 0;
};

}  // namespace vmm::control
