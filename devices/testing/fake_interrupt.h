// SPDX-License-Identifier: Apache-2.0
// Interrupt controllers and kick registrars that only remember, in place of KVM's.
#pragma once

#include <sys/eventfd.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "vmm/core/interrupt.h"

namespace vmm::testing {

class FakeInterrupt final : public Interrupt {
 public:
  void signal() override { ++nr_signals; }
  std::atomic<unsigned> nr_signals = 0;
};

struct FakeMessage {
  std::atomic<std::uint64_t> address = 0;
  std::atomic<std::uint32_t> data = 0;
  std::atomic<unsigned> nr_programmed = 0;
  std::atomic<unsigned> nr_signals = 0;
};

// Its messages outlive its vectors, so that a test can look at them at any time.
class FakeMsiController final : public MsiController {
 public:
  Result<std::unique_ptr<MsiVector>> create_vector() override {
    messages.push_back(std::make_unique<FakeMessage>());
    return std::unique_ptr<MsiVector>(std::make_unique<Vector>(*messages.back()));
  }

  std::vector<std::unique_ptr<FakeMessage>> messages;

 private:
  class Vector final : public MsiVector {
   public:
    explicit Vector(FakeMessage& message) : message_(message) {}
    Result<void> program(std::uint64_t address, std::uint32_t data) override {
      message_.address = address;
      message_.data = data;
      ++message_.nr_programmed;
      return {};
    }
    void signal() override { ++message_.nr_signals; }

   private:
    FakeMessage& message_;
  };
};

class FakeKickRegistrar final : public KickRegistrar {
 public:
  Result<void> bind(GuestAddress address, int event_fd) override {
    std::lock_guard lock(mutex_);
    if (!bound_.emplace(address, event_fd).second) {
      return fail(ErrorKind::kInvalid, "two kicks at one address");
    }
    return {};
  }
  Result<void> unbind(GuestAddress address, int event_fd) override {
    std::lock_guard lock(mutex_);
    auto found = bound_.find(address);
    if (found == bound_.end() || found->second != event_fd) {
      return fail(ErrorKind::kNotFound, "no such kick");
    }
    bound_.erase(found);
    return {};
  }

  // What KVM does when a guest stores: false means that the store leaves the guest.
  bool store(GuestAddress address) {
    std::lock_guard lock(mutex_);
    auto found = bound_.find(address);
    if (found == bound_.end()) return false;
    return ::eventfd_write(found->second, 1) == 0;
  }
  std::map<GuestAddress, int> bound() {
    std::lock_guard lock(mutex_);
    return bound_;
  }

 private:
  std::mutex mutex_;
  std::map<GuestAddress, int> bound_;
};

}  // namespace vmm::testing
