// SPDX-License-Identifier: Apache-2.0
// A file that says what a command line says: one JSON object, whose members are named as the
// options without their "--" (comments, // and /* */, may stand in it):
//
//   {"name": "web", "disk": ["web.qcow2", "data.img,format=raw"], "mem": "2G", "rng": false}
//
// A flag is true or false, an option that can be given several times a string or an array of
// strings, any other a string, or a whole number where it counts something (N, PORT, SIZE).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vmm/core/result.h"

namespace CLI {
class App;
}

namespace vmm::cli {

// The longest file, in bytes.
inline constexpr std::size_t kMaxConfigFile = 1 << 20;

// What the file says as arguments, with `given` (the command line's) behind them. An option that
// can be given once and is in both is taken from `given`; one that can be given several times has
// the file's values first. `app` has parsed `given` and shall parse the result. Errors name the
// file, the line and the member.
Result<std::vector<std::string>> with_config_file(CLI::App& app, const std::string& path,
                                                  std::span<char* const> given);

// What `app` has parsed, and its defaults, as such a file. Fails for what is not UTF-8.
Result<std::string> to_config_file(const CLI::App& app);

}  // namespace vmm::cli
