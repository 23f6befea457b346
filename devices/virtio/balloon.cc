// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/balloon.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "devices/virtio/config_space.h"
#include "vmm/core/byte_order.h"
#include "vmm/io/iovec.h"

namespace vmm::virtio {
namespace {

constexpr std::uint64_t kPage = 4096;  // bytes; the unit of page numbers (virtio 1.2, 5.5.6)
constexpr std::size_t kMaxPageNumbers = 4096;  // of one chain; Linux sends up to 256

// virtio 1.2, 5.5.4.
struct Config {
  Le32 num_pages;
  Le32 actual;
  Le32 free_page_hint_cmd_id;  // 0: no hints, please
  Le32 poison_val;
};
static_assert(sizeof(Config) == 16);

// virtio 1.2, 5.5.6.3; packed.
constexpr std::size_t kStatSize = 10;
constexpr std::size_t kMaxStats = 64;

std::vector<std::byte> gather(std::span<const iovec> buffers, std::size_t limit) {
  std::vector<std::byte> bytes(std::min<std::uint64_t>(total_size(buffers), limit));
  copy_from_iovec(buffers, 0, bytes);
  return bytes;
}

}  // namespace

Balloon::Balloon(EventLoop& loop, const GuestMemory& memory)
    : loop_(loop),
      memory_(memory),
      stats_wanted_(loop),
      server_(*this, "virtio-balloon", loop, memory) {
}

void Balloon::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  Config config{};
  config.num_pages = target_pages_.load(std::memory_order_relaxed);
  config.actual = actual_pages_.load(std::memory_order_relaxed);
  config.poison_val = poison_.load(std::memory_order_relaxed);
  read_config_of(config, offset, data);
}

void Balloon::write_config(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() != sizeof(Le32)) return;
  Le32 value;
  std::memcpy(&value, data.data(), sizeof value);
  if (offset == offsetof(Config, actual)) actual_pages_.store(value, std::memory_order_relaxed);
  if (offset == offsetof(Config, poison_val)) poison_.store(value, std::memory_order_relaxed);
}

void Balloon::set_target(std::uint64_t bytes) {
  const std::uint64_t pages = std::min<std::uint64_t>(bytes / kPage, UINT32_MAX);
  target_pages_.store(static_cast<std::uint32_t>(pages), std::memory_order_relaxed);
  loop_.post([this] {
    if (transport_ != nullptr) transport_->config_changed();
  });
}

BalloonStats Balloon::stats(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const std::uint64_t before = nr_arrivals_;
  loop_.post([this] { stats_wanted_.notify_all(); });
  // Where nothing ever came there is no driver to wait for.
  if (before != 0) {
    stats_arrived_.wait_for(lock, patience, [&] { return nr_arrivals_ != before; });
  }
  BalloonStats stats;
  stats.target_bytes = target_pages_.load(std::memory_order_relaxed) * kPage;
  stats.actual_bytes = actual_pages_.load(std::memory_order_relaxed) * kPage;
  stats.returned_bytes = returned_bytes_.load(std::memory_order_relaxed);
  stats.guest = guest_;
  return stats;
}

// The specification gives every queue its number, whether the ones before it are there or not.
// Linux counts only those that are there. Both come to the same where all features are
// negotiated; where not, a queue 4 is there only by the specification's numbers.
void Balloon::on_activate(const Activation& activation) {
  transport_ = activation.transport;
  // A driver that did not say with what it fills free pages does not mind zeros.
  keeps_poison_ = (activation.features & kBalloonPagePoison) != 0;
  const bool by_specification =
      std::any_of(activation.queues.begin(), activation.queues.end(),
                  [](const ActiveQueue& queue) { return queue.index == 4; });
  roles_ = {Role::kInflate, Role::kDeflate};
  constexpr struct {
    std::uint64_t feature;
    Role role;
  } kOptional[] = {{kBalloonStats, Role::kStats},
                   {kBalloonFreePageHint, Role::kHint},
                   {kBalloonReporting, Role::kReporting}};
  for (const auto& each : kOptional) {
    const bool there = (activation.features & each.feature) != 0;
    if (there || by_specification) roles_.push_back(there ? each.role : Role::kNone);
  }
  actual_pages_.store(0, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  guest_ = {};
  nr_arrivals_ = 0;
}

Balloon::Role Balloon::role_of(std::uint16_t index) const {
  return index < roles_.size() ? roles_[index] : Role::kNone;
}

Task<void> Balloon::serve_chain(QueueServer::Queue& queue, Chain chain) {
  switch (role_of(QueueServer::index_of(queue))) {
    case Role::kInflate:
      inflate(chain.readable());
      break;
    case Role::kReporting:
      take_reported(chain.writable());
      break;
    case Role::kStats:
      take_stats(chain.readable());
      // The buffer's return asks for newer ones (virtio 1.2, 5.5.6.2).
      if (!server_.stopping()) co_await stats_wanted_.wait();
      break;
    case Role::kDeflate:  // the guest's use of a page brings it back
    case Role::kHint:
    case Role::kNone:
      break;
  }
  server_.complete(queue, chain, 0);
}

// Page numbers are guest-controlled: what is no RAM is left out. Neighbours go together, since each
// call takes locks of the whole process and interrupts the vCPUs; a huge page of the host's that
// goes in one piece is not split.
void Balloon::inflate(std::span<const iovec> page_numbers) {
  const std::vector<std::byte> bytes = gather(page_numbers, kMaxPageNumbers * sizeof(Le32));
  std::vector<std::byte*> pages;
  for (std::size_t at = 0; at + sizeof(Le32) <= bytes.size(); at += sizeof(Le32)) {
    Le32 number;
    std::memcpy(&number, bytes.data() + at, sizeof number);
    std::byte* host = memory_.find(GuestAddress(std::uint64_t{number} * kPage), kPage);
    if (host != nullptr) pages.push_back(host);
  }
  std::sort(pages.begin(), pages.end());
  pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
  for (std::size_t first = 0; first < pages.size();) {
    std::size_t end = first + 1;
    while (end < pages.size() && pages[end] == pages[end - 1] + kPage) ++end;
    give_back(pages[first], (end - first) * kPage);
    first = end;
  }
}

// The buffers are the free pages themselves (virtio 1.2, 5.5.6.7). The guest gets them back when
// the chain is completed; until then it does not use them.
void Balloon::take_reported(std::span<const iovec> pages) {
  // They would no longer hold what the guest expects there.
  if (keeps_poison_ && poison_.load(std::memory_order_relaxed) != 0) return;
  for (const iovec& part : pages) {
    const auto start = reinterpret_cast<std::uintptr_t>(part.iov_base);
    const std::uintptr_t from = (start + kPage - 1) / kPage * kPage;
    const std::uintptr_t to = (start + part.iov_len) / kPage * kPage;
    if (from < to) give_back(reinterpret_cast<std::byte*>(from), to - from);
  }
}

void Balloon::give_back(std::byte* host, std::size_t size) {
  if (!memory_.give_back(host, size)) return;
  returned_bytes_.fetch_add(size, std::memory_order_relaxed);
}

void Balloon::take_stats(std::span<const iovec> entries) {
  const std::vector<std::byte> bytes = gather(entries, kMaxStats * kStatSize);
  std::lock_guard lock(mutex_);
  guest_ = {};
  for (std::size_t at = 0; at + kStatSize <= bytes.size(); at += kStatSize) {
    Le16 tag;
    Le64 value;
    std::memcpy(&tag, bytes.data() + at, sizeof tag);
    std::memcpy(&value, bytes.data() + at + sizeof tag, sizeof value);
    if (tag < guest_.size()) guest_[tag] = value;
  }
  ++nr_arrivals_;
  stats_arrived_.notify_all();
}

}  // namespace vmm::virtio
