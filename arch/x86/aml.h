// SPDX-License-Identifier: Apache-2.0
// Just enough of ACPI Machine Language to write our DSDT (ACPI 6.4, chapter 20; resources: 6.4).
// Each function gives the bytes of one term.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace vmm::x86::aml {

using Bytes = std::vector<std::uint8_t>;

Bytes concat(std::initializer_list<Bytes> parts);

Bytes integer(std::uint64_t value);
Bytes string(std::string_view text);
Bytes eisa_id(std::string_view id);  // "PNP0A08"
Bytes package(std::initializer_list<Bytes> elements);

// Names: up to four characters; a path has segments separated by '.', and may start with '\'.
Bytes name(std::string_view path, const Bytes& object);
Bytes scope(std::string_view path, std::initializer_list<Bytes> terms);
Bytes device(std::string_view path, std::initializer_list<Bytes> terms);

// A buffer object that holds resource descriptors.
Bytes resources(std::initializer_list<Bytes> descriptors);

Bytes io_ports(std::uint16_t start, std::uint8_t size);        // decoded, fixed
Bytes memory32(std::uint32_t start, std::uint32_t size);       // fixed, read-write
Bytes edge_interrupt(std::uint32_t gsi);                       // active high, exclusive
Bytes bus_range(std::uint16_t first, std::uint16_t last);      // what a bridge passes on
Bytes port_window(std::uint16_t first, std::uint16_t last);    // likewise
Bytes memory_window(std::uint32_t first, std::uint32_t last);  // likewise, not cacheable

}  // namespace vmm::x86::aml
