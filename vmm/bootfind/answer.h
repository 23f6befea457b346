// SPDX-License-Identifier: Apache-2.0
// What the confined child tells its parent: an error, or the entries it found. The parent believes
// neither lengths nor characters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/bootfind/boot_entry.h"
#include "vmm/core/result.h"

namespace vmm::bootfind {

struct Answer {
  std::vector<BootEntry> entries;
  std::size_t chosen = 0;
};

std::string encode_answer(const Result<Answer>& answer);

// The child's own error comes back as an error of the same kind, and so does an answer that makes
// no sense (kInvalid). All strings are fit for a terminal; chosen < entries.size().
Result<Answer> decode_answer(std::string_view bytes);

}  // namespace vmm::bootfind
