// SPDX-License-Identifier: Apache-2.0
// What the LUKS header inside an encrypted qcow2 image says of itself. Nothing is decrypted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "disk/qcow/header.h"
#include "disk/storage.h"
#include "vmm/core/result.h"
#include "vmm/io/task.h"
#include "vmm/tools/console.h"
#include "vmm/tools/json.h"

namespace vmm::tools {

struct LuksInfo {
  struct Slot {
    bool active = false;
    std::uint32_t iterations = 0;
    std::uint64_t key_offset = 0;  // bytes
    std::uint32_t stripes = 0;
  };
  std::string cipher;        // "aes-256"
  std::string mode;          // "xts"
  std::string iv_generator;  // "plain64"
  std::string hash;          // "sha256"
  std::string uuid;
  std::uint64_t payload_offset = 0;  // bytes
  std::uint32_t master_key_iterations = 0;
  std::vector<Slot> slots;
};

// Fails with kInvalid where there is no LUKS header of version 1 where the image says it is.
Task<Result<LuksInfo>> read_luks_info(disk::Storage& storage, const disk::qcow::Header& header);

// Under "    encrypt:".
void print_luks_info(const Console& console, const LuksInfo& info);
Json luks_info_json(const LuksInfo& info);

}  // namespace vmm::tools
