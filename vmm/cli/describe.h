// SPDX-License-Identifier: Apache-2.0
// What a command's options tell of themselves, for manual pages and for shells that complete words.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "vmm/cli/command.h"

namespace vmm::cli {

// A manual page of section 1 in man(7)'s language. `program` is "vmm disk info".
std::string manual_page(const CLI::App& app, const std::string& program);
// Of a program that only has commands.
std::string manual_page(std::string_view about, std::span<const Command> commands,
                        const std::string& program);

// What `word` may become, a line each, where `before` stands in front of it. Empty: a file's name,
// or anything.
std::string completions(const CLI::App& app, std::string_view before, std::string_view word);
std::string completions(std::span<const Command> commands, std::string_view word);

// `vmm complete WORD...`: what the shells' completion calls, with the words of a command line that
// follow "vmm" up to the one to complete, which may be empty.
Result<int> complete_command(const Arguments& arguments);

}  // namespace vmm::cli
