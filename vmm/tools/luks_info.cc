// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/luks_info.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "disk/aligned_buffer.h"
#include "vmm/core/byte_order.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes
// LUKS on-disk format 1.2.3: the partition header, all fields big-endian.
constexpr std::size_t kHeaderSize = 592;
constexpr std::size_t kSlotsAt = 208, kSlotSize = 48, kNrSlots = 8;
constexpr std::uint32_t kActive = 0x00ac71f3;
constexpr char kMagic[6] = {'L', 'U', 'K', 'S', '\xba', '\xbe'};

// image-controlled: only printable characters are kept.
std::string text_at(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
  std::string text;
  for (const std::byte byte : bytes.subspan(at, size)) {
    const char c = static_cast<char>(byte);
    if (c == '\0') break;
    text += c >= ' ' && c <= '~' ? c : '?';
  }
  return text;
}

std::uint32_t number_at(std::span<const std::byte> bytes, std::size_t at) {
  return load_be<std::uint32_t>(bytes.data() + at);
}

LuksInfo decode(std::span<const std::byte> bytes) {
  LuksInfo info;
  const std::string mode = text_at(bytes, 40, 32);
  const std::size_t dash = std::min(mode.find('-'), mode.size());
  info.mode = mode.substr(0, dash);
  info.iv_generator = mode.substr(std::min(dash + 1, mode.size()));
  // XTS takes two keys.
  const std::uint64_t key_bits = std::uint64_t{number_at(bytes, 108)} * 8;
  info.cipher =
      fmt::format("{}-{}", text_at(bytes, 8, 32), info.mode == "xts" ? key_bits / 2 : key_bits);
  info.hash = text_at(bytes, 72, 32);
  info.payload_offset = number_at(bytes, 104) * kSector;
  info.master_key_iterations = number_at(bytes, 164);
  info.uuid = text_at(bytes, 168, 40);
  for (std::size_t i = 0; i < kNrSlots; ++i) {
    const std::size_t at = kSlotsAt + i * kSlotSize;
    info.slots.push_back({.active = number_at(bytes, at) == kActive,
                          .iterations = number_at(bytes, at + 4),
                          .key_offset = number_at(bytes, at + 40) * kSector,
                          .stripes = number_at(bytes, at + 44)});
  }
  return info;
}

}  // namespace

Task<Result<LuksInfo>> read_luks_info(disk::Storage& storage, const disk::qcow::Header& header) {
  const disk::qcow::Extension* extension =
      header.find(disk::qcow::ExtensionType::kFullDiskEncryption);
  if (extension == nullptr || extension->data.size() < 16) {
    co_return fail(ErrorKind::kInvalid,
                   "the image is encrypted and does not say where its keys are");
  }
  const auto offset = load_be<std::uint64_t>(extension->data.data());
  if (offset % kSector != 0 || offset > storage.size() || storage.size() - offset < kHeaderSize) {
    co_return fail(ErrorKind::kInvalid, fmt::format("no LUKS header can be at {:#x}", offset));
  }
  disk::AlignedBuffer bytes = disk::AlignedBuffer::zeroed(1024);
  const iovec whole = bytes.as_iovec();
  VMM_CO_CHECK(co_await storage.readv(offset, IoVec(&whole, 1)));
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0 ||
      load_be<std::uint16_t>(bytes.data() + sizeof kMagic) != 1) {
    co_return fail(ErrorKind::kInvalid,
                   fmt::format("there is no LUKS header of version 1 at {:#x}", offset));
  }
  co_return decode(bytes.bytes());
}

void print_luks_info(const Console& console, const LuksInfo& info) {
  std::FILE* out = console.out;
  fmt::print(out, "        ivgen alg: {}\n        hash alg: {}\n        cipher alg: {}\n",
             info.iv_generator, info.hash, info.cipher);
  fmt::print(out, "        uuid: {}\n        format: luks\n        cipher mode: {}\n", info.uuid,
             info.mode);
  fmt::print(out, "        slots:\n");
  for (std::size_t i = 0; i < info.slots.size(); ++i) {
    const LuksInfo::Slot& slot = info.slots[i];
    fmt::print(out, "            [{}]:\n                active: {}\n", i, slot.active);
    if (slot.active) fmt::print(out, "                iters: {}\n", slot.iterations);
    fmt::print(out, "                key offset: {}\n", slot.key_offset);
    if (slot.active) fmt::print(out, "                stripes: {}\n", slot.stripes);
  }
  fmt::print(out, "        payload offset: {}\n        master key iters: {}\n", info.payload_offset,
             info.master_key_iterations);
}

Json luks_info_json(const LuksInfo& info) {
  Json slots = Json::array();
  for (const LuksInfo::Slot& slot : info.slots) {
    Json each = Json::object();
    each.add("active", slot.active);
    if (slot.active) each.add("iters", slot.iterations);
    each.add("key-offset", slot.key_offset);
    if (slot.active) each.add("stripes", slot.stripes);
    slots.push(std::move(each));
  }
  Json json = Json::object();
  json.add("ivgen-alg", info.iv_generator)
      .add("hash-alg", info.hash)
      .add("cipher-alg", info.cipher);
  json.add("uuid", info.uuid).add("format", "luks").add("cipher-mode", info.mode);
  json.add("slots", std::move(slots)).add("payload-offset", info.payload_offset);
  json.add("master-key-iters", info.master_key_iterations);
  return json;
}

}  // namespace vmm::tools
