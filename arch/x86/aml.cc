// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/aml.h"

#include <algorithm>
#include <cassert>
#include <concepts>

namespace vmm::x86::aml {
namespace {

// Opcodes (ACPI 6.4, 20.3).
enum : std::uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDWordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQWordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kDualNamePrefix = 0x2e,
  kMultiNamePrefix = 0x2f,
  kExtOpPrefix = 0x5b,
  kDeviceOp = 0x82,
};

void append(Bytes& to, const Bytes& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <std::unsigned_integral T>
void append_le(Bytes& to, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    to.push_back(static_cast<std::uint8_t>(std::uint64_t{value} >> (8 * i)));
  }
}

// Four characters, padded with underscores.
Bytes name_segment(std::string_view text) {
  assert(!text.empty() && text.size() <= 4);
  Bytes bytes(text.begin(), text.end());
  bytes.resize(4, '_');
  return bytes;
}

Bytes name_string(std::string_view path) {
  Bytes bytes;
  if (path.starts_with('\\')) {
    bytes.push_back('\\');
    path.remove_prefix(1);
  }
  std::vector<Bytes> segments;
  while (!path.empty()) {
    std::size_t end = std::min(path.find('.'), path.size());
    segments.push_back(name_segment(path.substr(0, end)));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  if (segments.size() == 2) bytes.push_back(kDualNamePrefix);
  if (segments.size() > 2) {
    bytes.push_back(kMultiNamePrefix);
    bytes.push_back(static_cast<std::uint8_t>(segments.size()));
  }
  for (const Bytes& segment : segments) append(bytes, segment);
  return bytes;
}

// PkgLength (20.2.4) counts itself too.
Bytes with_package_length(const Bytes& body) {
  Bytes bytes;
  std::size_t length = body.size() + 1;
  if (length < 0x40) {
    bytes.push_back(static_cast<std::uint8_t>(length));
  } else {
    std::size_t nr_more = length + 1 < 0x1000 ? 1 : length + 2 < 0x100000 ? 2 : 3;
    length += nr_more;
    bytes.push_back(static_cast<std::uint8_t>(nr_more << 6 | (length & 0xf)));
    for (std::size_t i = 0; i < nr_more; ++i) {
      bytes.push_back(static_cast<std::uint8_t>(length >> (4 + 8 * i)));
    }
  }
  append(bytes, body);
  return bytes;
}

Bytes buffer(const Bytes& content) {
  Bytes body = integer(content.size());
  append(body, content);
  Bytes bytes = {kBufferOp};
  append(bytes, with_package_length(body));
  return bytes;
}

// Address space descriptors (6.4.3.5): word and double word, as a producer with fixed ends.
template <std::unsigned_integral T>
Bytes address_space(std::uint8_t tag, std::uint8_t resource_type, std::uint8_t type_flags, T first,
                    T last) {
  constexpr std::uint8_t kMinAndMaxFixed = 0x0c;
  Bytes bytes = {tag};
  append_le(bytes, static_cast<std::uint16_t>(3 + 5 * sizeof(T)));
  append(bytes, {resource_type, kMinAndMaxFixed, type_flags});
  append_le(bytes, T{0});  // granularity
  append_le(bytes, first);
  append_le(bytes, last);
  append_le(bytes, T{0});  // translation
  append_le(bytes, static_cast<T>(last - first + 1));
  return bytes;
}

}  // namespace

Bytes concat(std::initializer_list<Bytes> parts) {
  Bytes bytes;
  for (const Bytes& part : parts) append(bytes, part);
  return bytes;
}

Bytes integer(std::uint64_t value) {
  if (value == 0) return {kZeroOp};
  if (value == 1) return {kOneOp};
  Bytes bytes;
  if (value <= 0xff) {
    bytes.push_back(kBytePrefix);
    append_le(bytes, static_cast<std::uint8_t>(value));
  } else if (value <= 0xffff) {
    bytes.push_back(kWordPrefix);
    append_le(bytes, static_cast<std::uint16_t>(value));
  } else if (value <= 0xffffffff) {
    bytes.push_back(kDWordPrefix);
    append_le(bytes, static_cast<std::uint32_t>(value));
  } else {
    bytes.push_back(kQWordPrefix);
    append_le(bytes, value);
  }
  return bytes;
}

Bytes string(std::string_view text) {
  Bytes bytes = {kStringPrefix};
  for (char character : text) bytes.push_back(static_cast<std::uint8_t>(character));
  bytes.push_back(0);
  return bytes;
}

Bytes eisa_id(std::string_view id) {
  assert(id.size() == 7);
  // Three letters of five bits, four hexadecimal digits; the whole is big endian.
  std::uint32_t value = 0;
  for (char letter : id.substr(0, 3)) {
    value = value << 5 | (static_cast<std::uint32_t>(letter) - 0x40);
  }
  for (char digit : id.substr(3)) {
    value = value << 4 | static_cast<std::uint32_t>(digit <= '9' ? digit - '0' : digit - 'A' + 10);
  }
  return integer(__builtin_bswap32(value));
}

Bytes package(std::initializer_list<Bytes> elements) {
  Bytes body = {static_cast<std::uint8_t>(elements.size())};
  for (const Bytes& element : elements) append(body, element);
  Bytes bytes = {kPackageOp};
  append(bytes, with_package_length(body));
  return bytes;
}

Bytes name(std::string_view path, const Bytes& object) {
  return concat({{kNameOp}, name_string(path), object});
}

Bytes scope(std::string_view path, std::initializer_list<Bytes> terms) {
  Bytes body = name_string(path);
  append(body, concat(terms));
  return concat({{kScopeOp}, with_package_length(body)});
}

Bytes device(std::string_view path, std::initializer_list<Bytes> terms) {
  Bytes body = name_string(path);
  append(body, concat(terms));
  return concat({{kExtOpPrefix, kDeviceOp}, with_package_length(body)});
}

Bytes resources(std::initializer_list<Bytes> descriptors) {
  Bytes content = concat(descriptors);
  append(content, {0x79, 0});  // end tag; a checksum of 0 counts as right
  return buffer(content);
}

Bytes io_ports(std::uint16_t start, std::uint8_t size) {
  Bytes bytes = {0x47, 0x01};  // I/O port descriptor (6.4.2.5), 16-bit decode
  append_le(bytes, start);
  append_le(bytes, start);
  append(bytes, {1, size});
  return bytes;
}

Bytes memory32(std::uint32_t start, std::uint32_t size) {
  Bytes bytes = {0x86, 9, 0, 0x01};  // 32-bit fixed memory range (6.4.3.4)
  append_le(bytes, start);
  append_le(bytes, size);
  return bytes;
}

Bytes edge_interrupt(std::uint32_t gsi) {
  Bytes bytes = {0x89, 6, 0, 0x03, 1};  // extended interrupt (6.4.3.6): consumer, edge, high
  append_le(bytes, gsi);
  return bytes;
}

Bytes bus_range(std::uint16_t first, std::uint16_t last) {
  return address_space<std::uint16_t>(0x88, 2, 0, first, last);
}
Bytes port_window(std::uint16_t first, std::uint16_t last) {
  return address_space<std::uint16_t>(0x88, 1, 0x03, first, last);  // the entire range
}
Bytes memory_window(std::uint32_t first, std::uint32_t last) {
  return address_space<std::uint32_t>(0x87, 0, 0x01, first, last);  // read-write
}

}  // namespace vmm::x86::aml
