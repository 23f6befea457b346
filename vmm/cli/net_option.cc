// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/net_option.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <net/if.h>

#include <charconv>
#include <optional>

#include "vmm/cli/disk_option.h"

namespace vmm::cli {
namespace {

using Mac = std::array<std::uint8_t, 6>;

// FNV-1a, as a locally administered address of one station.
Mac mac_from(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char letter : name) {
    hash = (hash ^ static_cast<std::uint8_t>(letter)) * 0x100000001b3;
  }
  Mac mac;
  for (std::uint8_t& byte : mac) {
    byte = static_cast<std::uint8_t>(hash);
    hash >>= 8;
  }
  mac[0] = 0x02;
  return mac;
}

std::optional<Mac> parse_mac(std::string_view text) {
  Mac mac;
  if (text.size() != 17) return std::nullopt;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const char* at = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(at, at + 2, mac[i], 16);
    if (error != std::errc() || end != at + 2) return std::nullopt;
    if (i + 1 < mac.size() && at[2] != ':') return std::nullopt;
  }
  if ((mac[0] & 1) != 0 || mac == Mac{}) return std::nullopt;  // a group's, or nobody's
  return mac;
}

// "8080" or "8000-8010".
bool is_port_range(std::string_view text) {
  unsigned first = 0, last = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, first);
  if (error != std::errc() || first == 0 || first > 65535) return false;
  if (at == end) return true;
  if (*at != '-') return false;
  const auto rest = std::from_chars(at + 1, end, last);
  return rest.ec == std::errc() && rest.ptr == end && last >= first && last <= 65535;
}

// passt's spelling of `text`; nothing where it is none.
std::optional<std::string> parse_ports(std::string_view text) {
  std::string_view address = "127.0.0.1", ports = text;
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    address = text.substr(0, slash);
    ports = text.substr(slash + 1);
    in6_addr parsed;
    const std::string copy(address);
    if (::inet_pton(AF_INET, copy.c_str(), &parsed) != 1 &&
        ::inet_pton(AF_INET6, copy.c_str(), &parsed) != 1) {
      return std::nullopt;
    }
  }
  const std::size_t colon = ports.find(':');
  if (!is_port_range(ports.substr(0, colon))) return std::nullopt;
  if (colon != std::string_view::npos && !is_port_range(ports.substr(colon + 1))) {
    return std::nullopt;
  }
  return fmt::format("{}/{}", address, ports);
}

// As the kernel judges (net/core/dev.c, dev_valid_name); '%' would stand for a number.
bool can_be_interface(std::string_view name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_of("/:% \t\n\v\f\r") == name.npos;
}

Unexpected<Error> wrong(std::string_view part, const char* expected) {
  return fail(ErrorKind::kInvalid, fmt::format("--net: '{}': expected {}", part, expected));
}

Result<void> set_tap(std::string_view part, std::string_view name, MachineConfig::Net& net) {
  if (!can_be_interface(name)) return wrong(part, "an interface's name of 1 to 15 characters");
  net.tap = name;
  return {};
}

// What stands behind the kind of network.
Result<void> parse_part(std::string_view part, MachineConfig::Net& net) {
  using Kind = MachineConfig::Net::Kind;
  const std::size_t equals = part.find('=');
  const std::string_view key = part.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : part.substr(equals + 1);
  if (key == "mac" || key == "guest_mac") {
    const std::optional<Mac> mac = parse_mac(value);
    if (!mac) return wrong(part, "six bytes in hexadecimal, mac=02:00:00:00:00:01, of one station");
    net.mac = *mac;
    return {};
  }
  if (key == "tapif" && net.kind == Kind::kTap) return set_tap(part, value, net);
  if (key == "socket" && net.kind == Kind::kUser && !value.empty()) {
    net.socket = value;
    return {};
  }
  if ((key == "tcp" || key == "udp") && net.kind == Kind::kUser) {
    std::optional<std::string> ports = parse_ports(value);
    if (!ports) return wrong(part, "ports, tcp=8080:80 or tcp=0.0.0.0/8000-8010");
    (key == "tcp" ? net.tcp : net.udp).push_back(*std::move(ports));
    return {};
  }
  switch (net.kind) {
    case Kind::kUser:
      return wrong(part, "mac=, tcp=, udp= or socket=");
    case Kind::kTap:
      return wrong(part, "mac= or tapif=");
    case Kind::kNone:
      break;
  }
  return wrong(part, "mac=");
}

}  // namespace

Result<MachineConfig::Net> parse_net_option(std::string_view text, std::string_view name) {
  constexpr std::string_view kMode = "mode=", kTap = "tap=";
  using Kind = MachineConfig::Net::Kind;
  MachineConfig::Net net;
  net.mac = mac_from(name);
  std::string_view rest = text;
  std::string mode = take_part(rest);
  if (mode.starts_with(kMode)) mode.erase(0, kMode.size());  // kvmtool's spelling
  if (mode == "user") {
    net.kind = Kind::kUser;
  } else if (mode == "tap") {
    net.kind = Kind::kTap;
  } else if (mode.starts_with(kTap)) {
    net.kind = Kind::kTap;
    VMM_CHECK(set_tap(mode, std::string_view(mode).substr(kTap.size()), net));
  } else if (mode != "none") {
    return wrong(mode, "none, user, tap or tap=NAME");
  }
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::string part = take_part(rest);
    VMM_CHECK(parse_part(part, net));
  }
  if (!net.socket.empty() && !(net.tcp.empty() && net.udp.empty())) {
    return fail(ErrorKind::kInvalid,
                "--net: tcp= and udp= are for a passt that vmm starts; with socket= give them to "
                "the one that listens there");
  }
  return net;
}

}  // namespace vmm::cli
