// SPDX-License-Identifier: Apache-2.0
// What a test program says when a signal ends it: which case it was at.
#pragma once

#include <string>

namespace vmm::disk {

// Printed to standard error by a fatal signal, and by the end of the time limit.
void set_last_words(const std::string& text);
// `limit` in seconds, without a call of set_last_words(): the case hangs.
void arm_last_words(unsigned limit);

}  // namespace vmm::disk
