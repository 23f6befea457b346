// SPDX-License-Identifier: Apache-2.0
// The directory of dirty bitmaps that an image keeps: who they are, not what they hold.
//
// Source of every field: QEMU's docs/interop/qcow2.txt, "Bitmaps".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "disk/qcow/header.h"
#include "disk/storage.h"

namespace vmm::disk::qcow {

struct Bitmap {
  std::string name;
  std::uint64_t granularity = 0;  // bytes that one bit stands for
  bool in_use = false;            // was not stored after its last change: it says nothing any more
  bool automatic = false;         // whoever writes the image has to keep it up to date
};

// Those that still hold: none where a program that knows nothing of them wrote the image since.
// Fails with kInvalid for a directory that contradicts itself or the format's limits.
Task<Result<std::vector<Bitmap>>> load_bitmaps(Storage& storage, const Header& header);

}  // namespace vmm::disk::qcow
