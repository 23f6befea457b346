// SPDX-License-Identifier: Apache-2.0
// Progress: how far a long job is, on one line that is written again and again; on the error
// stream when SIGUSR1 asks, as qemu-img does.
#pragma once

#include <cstdint>
#include <cstdio>

namespace vmm::tools {

class Progress {
 public:
  // Prints to `out` in steps of at least a per cent where `shown`, else only for a SIGUSR1.
  // `total` in any unit.
  Progress(std::FILE* out, bool shown, std::uint64_t total);
  // Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount);
  void finish();  // all of it is done

 private:
  void print();
  void answer_signal();
  double percent() const;

  std::FILE* out_;
  bool shown_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  double printed_ = -100;  // per cent
};

}  // namespace vmm::tools
