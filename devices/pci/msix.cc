// SPDX-License-Identifier: Apache-2.0
#include "devices/pci/msix.h"

#include <cassert>
#include <cstring>

#include "vmm/core/byte_order.h"
#include "vmm/core/log.h"

namespace vmm::pci {
namespace {

constexpr std::uint32_t kVectorMasked = 1;

bool is_word_access(std::uint64_t offset, std::size_t size) {
  return (size == 4 || size == 8) && offset % size == 0;
}

}  // namespace

Result<std::unique_ptr<Msix>> Msix::create(MsiController& controller, unsigned nr_vectors) {
  assert(nr_vectors > 0 && nr_vectors <= kMaxVectors);
  std::unique_ptr<Msix> msix(new Msix(nr_vectors));
  for (Vector& vector : msix->vectors_) {
    VMM_TRY(vector.message, controller.create_vector());
  }
  return msix;
}

// `pending` and `masked` are each written by one side and then the other is read (sequentially
// consistent): whichever side comes second sees the other's write, so no interrupt is lost.
void Msix::signal(unsigned index) {
  Vector& vector = vectors_[index];
  if (!vector.masked.load()) return vector.message->signal();
  vector.pending.store(true);
  if (!vector.masked.load() && vector.pending.exchange(false)) vector.message->signal();
}

void Msix::update(Vector& vector) {
  bool masked = (control_ & kControlEnable) == 0 || (control_ & kControlFunctionMask) != 0 ||
                (vector.control & kVectorMasked) != 0;
  if (masked) {
    vector.masked.store(true);
    return;
  }
  if (!vector.programmed) {
    Result<void> programmed = vector.message->program(vector.address, vector.data);
    if (!programmed) {
      static log::RateLimit limit;
      limit.warn("MSI-X: {}", programmed.error().message());
    }
    vector.programmed = true;
  }
  vector.masked.store(false);
  if (vector.pending.exchange(false)) vector.message->signal();
}

void Msix::set_control(std::uint16_t control) {
  std::lock_guard lock(mutex_);
  if (control == control_) return;
  control_ = control;
  for (Vector& vector : vectors_) update(vector);
}

void Msix::read_table(std::uint64_t offset, std::span<std::byte> data) {
  std::memset(data.data(), 0, data.size());
  if (!is_word_access(offset, data.size()) || offset + data.size() > table_size()) return;
  const Vector& vector = vectors_[offset / kEntrySize];
  std::byte entry[kEntrySize];
  {
    std::lock_guard lock(mutex_);
    store_le(entry, vector.address);
    store_le(entry + 8, vector.data);
    store_le(entry + 12, vector.control);
  }
  std::memcpy(data.data(), entry + offset % kEntrySize, data.size());
}

void Msix::write_table(std::uint64_t offset, std::span<const std::byte> data) {
  if (!is_word_access(offset, data.size()) || offset + data.size() > table_size()) return;
  Vector& vector = vectors_[offset / kEntrySize];
  std::lock_guard lock(mutex_);
  std::byte entry[kEntrySize];
  store_le(entry, vector.address);
  store_le(entry + 8, vector.data);
  store_le(entry + 12, vector.control);
  std::memcpy(entry + offset % kEntrySize, data.data(), data.size());
  auto address = load_le<std::uint64_t>(entry) & ~std::uint64_t{3};
  auto message = load_le<std::uint32_t>(entry + 8);
  if (address != vector.address || message != vector.data) vector.programmed = false;
  vector.address = address;
  vector.data = message;
  vector.control = load_le<std::uint32_t>(entry + 12) & kVectorMasked;
  update(vector);
}

void Msix::read_pending(std::uint64_t offset, std::span<std::byte> data) {
  for (std::size_t i = 0; i < data.size(); ++i) {
    unsigned bits = 0;
    for (std::uint64_t bit = 0; bit < 8; ++bit) {
      std::uint64_t index = (offset + i) * 8 + bit;
      if (index < vectors_.size() && vectors_[index].pending.load()) bits |= 1u << bit;
    }
    data[i] = static_cast<std::byte>(bits);
  }
}

}  // namespace vmm::pci
