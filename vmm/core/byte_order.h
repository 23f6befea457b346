// SPDX-License-Identifier: Apache-2.0
// Integers with a fixed byte order, for structures that are laid over bytes: qcow2 is big endian,
// virtio 1.x, PCI and the Linux boot protocol are little endian. They have no alignment, so a
// struct of them has no padding.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>

namespace vmm {

template <std::unsigned_integral T>
constexpr T byte_swap(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

template <std::unsigned_integral T, std::endian Order>
class Ordered {
 public:
  constexpr Ordered() = default;
  constexpr Ordered(T value) { *this = value; }
  constexpr Ordered& operator=(T value) {
    stored_ = std::bit_cast<Bytes>(convert(value));
    return *this;
  }
  constexpr operator T() const { return convert(std::bit_cast<T>(stored_)); }

 private:
  struct Bytes {
    std::uint8_t raw[sizeof(T)];
  };
  static constexpr T convert(T value) {
    return Order == std::endian::native ? value : byte_swap(value);
  }

  Bytes stored_{};
};

using Be16 = Ordered<std::uint16_t, std::endian::big>;
using Be32 = Ordered<std::uint32_t, std::endian::big>;
using Be64 = Ordered<std::uint64_t, std::endian::big>;
using Le16 = Ordered<std::uint16_t, std::endian::little>;
using Le32 = Ordered<std::uint32_t, std::endian::little>;
using Le64 = Ordered<std::uint64_t, std::endian::little>;

// Reads and writes at any alignment.
template <std::endian Order, std::unsigned_integral T>
inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return Order == std::endian::native ? value : byte_swap(value);
}
template <std::endian Order, std::unsigned_integral T>
inline void store(void* to, T value) {
  if (Order != std::endian::native) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}

template <std::unsigned_integral T>
inline T load_be(const void* from) {
  return load<std::endian::big, T>(from);
}
template <std::unsigned_integral T>
inline T load_le(const void* from) {
  return load<std::endian::little, T>(from);
}
template <std::unsigned_integral T>
inline void store_be(void* to, T value) {
  store<std::endian::big, T>(to, value);
}
template <std::unsigned_integral T>
inline void store_le(void* to, T value) {
  store<std::endian::little, T>(to, value);
}

}  // namespace vmm
