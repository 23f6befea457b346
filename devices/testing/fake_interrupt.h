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
    return add(bound_, address, event_fd);
  }
  Result<void> unbind(GuestAddress address, int event_fd) override {
    return remove(bound_, address, event_fd);
  }
  Result<void> bind_value(GuestAddress address, std::uint32_t value, int event_fd) override {
    return add(bound_values_, {address, value}, event_fd);
  }
  Result<void> unbind_value(GuestAddress address, std::uint32_t value, int event_fd) override {
    return remove(bound_values_, {address, value}, event_fd);
  }

  // What KVM does when a guest stores: false means that the store leaves the guest.
  bool store(GuestAddress address, std::uint32_t value) {
    std::lock_guard lock(mutex_);
    if (auto found = bound_.find(address); found != bound_.end()) {
      return ::eventfd_write(found->second, 1) == 0;
    }
    auto found = bound_values_.find({address, value});
    return found != bound_values_.end() && ::eventfd_write(found->second, 1) == 0;
  }
  std::map<GuestAddress, int> bound() {
    std::lock_guard lock(mutex_);
    return bound_;
  }
  std::size_t nr_bound_values() {
    std::lock_guard lock(mutex_);
    return bound_values_.size();
  }

 private:
  template <class Key>
  Result<void> add(std::map<Key, int>& to, const Key& key, int event_fd) {
    std::lock_guard lock(mutex_);
    if (!to.emplace(key, event_fd).second) {
      return fail(ErrorKind::kInvalid, "two kicks at one address");
    }
    return {};
  }
  template <class Key>
  Result<void> remove(std::map<Key, int>& from, const Key& key, int event_fd) {
    std::lock_guard lock(mutex_);
    auto found = from.find(key);
    if (found == from.end() || found->second != event_fd) {
      return fail(ErrorKind::kNotFound, "no such kick");
    }
    from.erase(found);
    return {};
  }

  std::mutex mutex_;
  std::map<GuestAddress, int> bound_;
  std::map<std::pair<GuestAddress, std::uint32_t>, int> bound_values_;
};

}  // namespace vmm::testing
