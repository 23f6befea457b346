// SPDX-License-Identifier: Apache-2.0
// VhostBackend: the other side of VhostUser, on a thread of its own, for tests. It serves its
// queues by filling what may be written, in a mapping of its own of the memory it was handed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <thread>
#include <vector>

#include "vmm/core/unique_fd.h"

namespace vmm::testing {

class VhostBackend {
 public:
  static constexpr std::uint8_t kFilling = 0x77;

  enum class Manner {
    kGood,
    kOld,           // without the features that are needed
    kEnds,          // at the first request
    kSilent,        // at the first request
    kAnswersOther,  // what was not asked
    kRefuses,       // the memory
    kNeverStops,    // no answer when a queue is to stop
  };

  explicit VhostBackend(Manner manner);
  ~VhostBackend();

  // For VhostUser, once.
  UniqueFd take_socket() { return std::move(other_end_); }
  // As if it were killed.
  void end();
  // Sends something that nobody asked for.
  void chatter();

  int nr_starts() const { return nr_starts_; }
  int nr_stops() const { return nr_stops_; }

 private:
  struct Region {
    std::uint64_t guest_address, size, host_address, offset;
    std::byte* mapped;
  };
  struct Queue {
    std::uint32_t size = 0;
    std::uint64_t descriptors = 0, used = 0, available = 0;
    std::uint16_t next = 0;
    UniqueFd kick, call;
  };

  void run();
  bool serve_request();
  void answer(std::uint32_t request, std::uint64_t number);
  bool handle(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
              std::vector<UniqueFd> fds);
  void set_memory(std::span<const std::byte> payload, const std::vector<UniqueFd>& fds);
  void serve_queue(Queue& queue);
  // nullptr for what is in no region.
  std::byte* by_host_address(std::uint64_t address) const;
  std::byte* by_guest_address(std::uint64_t address) const;

  const Manner manner_;
  UniqueFd socket_, other_end_, end_fd_;
  std::vector<Region> regions_;
  std::map<std::uint32_t, Queue> queues_;
  std::atomic<int> nr_starts_ = 0, nr_stops_ = 0;
  std::thread thread_;
};

}  // namespace vmm::testing
