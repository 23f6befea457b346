// SPDX-License-Identifier: Apache-2.0
// Ports, device memory, and the few instructions that C++ has no name for.
#pragma once

#include <cstdint>

namespace guest {

inline void out8(std::uint16_t port, std::uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline void out16(std::uint16_t port, std::uint16_t value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline void out32(std::uint16_t port, std::uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
inline std::uint16_t in16(std::uint16_t port) {
  std::uint16_t value;
  asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
inline std::uint32_t in32(std::uint16_t port) {
  std::uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

// Device memory and shared rings: one access of exactly this size.
template <class T>
inline T read(std::uint64_t address) {
  return *reinterpret_cast<volatile T*>(address);
}
template <class T>
inline void write(std::uint64_t address, T value) {
  *reinterpret_cast<volatile T*>(address) = value;
}
inline void barrier() {
  asm volatile("lock addl $0, -4(%%rsp)" : : : "memory");
}
template <class T>
inline std::uint64_t address_of(const T& object) {
  return reinterpret_cast<std::uint64_t>(&object);
}

}  // namespace guest
