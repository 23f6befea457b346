// SPDX-License-Identifier: Apache-2.0
// The table of the I/O shell's commands. Names, argument forms and summaries are qemu-io's: scripts
// see them in its answers.
#include <algorithm>
#include <array>

#include "vmm/tools/io_command.h"

namespace vmm::tools {

namespace {

using Needs = IoCommand::Needs;
constexpr int kMany = IoCommand::kManyArguments;

constexpr const char* kReadHelp = R"(
 reads OFF..OFF+LEN, and prints how long that took

 -b  from the saved machine state (not supported here)
 -C  statistics as one comma separated line
 -l  how many bytes -P looks at
 -p  nothing; older scripts use it
 -P  every byte read must have this value
 -q  no statistics
 -s  at which byte of what was read -P begins to look
 -v  show the bytes

 'read -v 512 1k' shows 1 KiB from byte 512 on.

)";
constexpr const char* kReadvHelp = R"(
 reads from OFF on into several buffers, one for each LEN, in one request

 -C  statistics as one comma separated line
 -P  every byte read must have this value
 -q  no statistics
 -v  show the bytes

)";
constexpr const char* kAioReadHelp = R"(
 starts a read and goes on to the next command; aio_flush waits for it

 It succeeds once it is started: what goes wrong later is printed, and not
 counted as a failure.

 -C  statistics as one comma separated line
 -i  count a request that is refused, and do nothing
 -P  every byte read must have this value
 -q  no statistics
 -v  show the bytes

)";
constexpr const char* kWriteHelp = R"(
 writes OFF..OFF+LEN, with bytes of 0xcd where nothing else is asked for

 -b  to the saved machine state (not supported here)
 -c  compressed
 -C  statistics as one comma separated line
 -f  the data is on stable storage when the command ends
 -n  with -z: fail where zeros would have to be written as data
 -p  nothing; older scripts use it
 -P  bytes of this value
 -q  no statistics
 -s  the contents of this file, repeated
 -u  with -z: the range may lose its storage
 -z  zeros, without writing them where the format can do so

)";
constexpr const char* kWritevHelp = R"(
 writes from OFF on out of several buffers, one for each LEN, in one request

 -C  statistics as one comma separated line
 -f  the data is on stable storage when the command ends
 -P  bytes of this value; 0xcd otherwise
 -q  no statistics

)";
constexpr const char* kAioWriteHelp = R"(
 starts a write and goes on to the next command; aio_flush waits for it

 It succeeds once it is started: what goes wrong later is printed, and not
 counted as a failure.

 -C  statistics as one comma separated line
 -f  the data is on stable storage when the request ends
 -i  count a request that is refused, and do nothing
 -P  bytes of this value; 0xcd otherwise
 -q  no statistics
 -u  with -z: the range may lose its storage
 -z  zeros, without writing them where the format can do so

)";
constexpr const char* kDiscardHelp = R"(
 gives up the contents of OFF..OFF+LEN, and its storage where possible

 -C  statistics as one comma separated line
 -q  no statistics

)";
constexpr const char* kOpenHelp = R"(
 opens an image for the commands that follow

 -C  copy on read (not supported here)
 -d  what discards do: unmap or ignore
 -i  how I/O is done: io_uring (threads and native are taken as that)
 -k  nothing; older scripts use it
 -n  without the host's page cache, as -t none
 -o  options of the format, as name=value,...
 -r  for reading only
 -s  writes go to a temporary file
 -t  cache mode: writeback, writethrough, none, directsync, unsafe
 -U  although another process may be writing it; with -r

)";
constexpr const char* kReopenHelp = R"(
 closes the image and opens it again with other options

 -c  cache mode, as -t of open
 -o  options of the format, as name=value,...
 -r  for reading only
 -w  for writing too

)";
constexpr const char* kSigraiseHelp = R"(
 sends this process a signal: 'sigraise 9' ends it as a crash would

)";

const std::array kCommands = std::to_array<IoCommand>({
    {"abort", nullptr, io_commands_impl::abort, 0, 0, Needs::kNothing, nullptr,
     "simulate a program crash using abort(3)", nullptr},
    {"aio_flush", nullptr, io_commands_impl::aio_flush, 0, 0, Needs::kImage, nullptr,
     "completes all outstanding aio requests", nullptr},
    {"aio_read", nullptr, io_commands_impl::aio_read, 2, kMany, Needs::kImage,
     "[-Ciqv] [-P pattern] off len [len..]", "asynchronously reads a number of bytes",
     kAioReadHelp},
    {"aio_write", nullptr, io_commands_impl::aio_write, 2, kMany, Needs::kWritableImage,
     "[-Cfiquz] [-P pattern] off len [len..]", "asynchronously writes a number of bytes",
     kAioWriteHelp},
    {"alloc", "a", io_commands_impl::alloc, 1, 2, Needs::kImage, "offset [count]",
     "checks if offset is allocated in the file", nullptr},
    {"close", "c", io_commands_impl::close, 0, 0, Needs::kImage, nullptr,
     "close the current open file", nullptr},
    {"discard", "d", io_commands_impl::discard, 2, kMany, Needs::kWritableImage, "[-Cq] off len",
     "discards a number of bytes at a specified offset", kDiscardHelp},
    {"flush", "f", io_commands_impl::flush, 0, 0, Needs::kImage, nullptr,
     "flush all in-core file state to disk", nullptr},
    {"help", "?", io_commands_impl::help, 0, 1, Needs::kNothing, "[command]",
     "help for one or all commands", nullptr},
    {"info", "i", io_commands_impl::info, 0, 0, Needs::kImage, nullptr,
     "prints information about the current file", nullptr},
    {"length", "l", io_commands_impl::length, 0, 0, Needs::kImage, nullptr,
     "gets the length of the current file", nullptr},
    {"map", nullptr, io_commands_impl::map, 0, 0, Needs::kImage, "",
     "prints the allocated areas of a file", nullptr},
    {"open", "o", io_commands_impl::open, 1, kMany, Needs::kNothing,
     "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
     kOpenHelp},
    {"quit", "q", io_commands_impl::quit, 0, kMany, Needs::kNothing, nullptr, "exit the program",
     nullptr},
    {"read", "r", io_commands_impl::read, 2, kMany, Needs::kImage,
     "[-abCqv] [-P pattern [-s off] [-l len]] off len",
     "reads a number of bytes at a specified offset", kReadHelp},
    {"readv", nullptr, io_commands_impl::readv, 2, kMany, Needs::kImage,
     "[-Cqv] [-P pattern] off len [len..]", "reads a number of bytes at a specified offset",
     kReadvHelp},
    {"reopen", nullptr, io_commands_impl::reopen, 0, kMany, Needs::kImage,
     "[(-r|-w)] [-c cache] [-o options]", "reopens an image with new options", kReopenHelp},
    {"sigraise", nullptr, io_commands_impl::sigraise, 1, 1, Needs::kNothing, "signal",
     "raises a signal", kSigraiseHelp},
    {"sleep", nullptr, io_commands_impl::sleep, 1, 1, Needs::kNothing, nullptr,
     "waits for the given value in milliseconds", nullptr},
    {"truncate", "t", io_commands_impl::truncate, 1, 3, Needs::kWritableImage,
     "[-m prealloc_mode] off", "truncates the current file at the given offset", nullptr},
    {"write", "w", io_commands_impl::write, 2, kMany, Needs::kWritableImage,
     "[-bcCfnquz] [-P pattern | -s source_file] off len",
     "writes a number of bytes at a specified offset", kWriteHelp},
    {"writev", nullptr, io_commands_impl::writev, 2, kMany, Needs::kWritableImage,
     "[-Cfq] [-P pattern] off len [len..]", "writes a number of bytes at a specified offset",
     kWritevHelp},
});

}  // namespace

std::span<const IoCommand> io_commands() {
  return kCommands;
}

const IoCommand* find_io_command(std::string_view name) {
  const auto found = std::find_if(kCommands.begin(), kCommands.end(), [&](const IoCommand& c) {
    return name == c.name || (c.alias != nullptr && name == c.alias);
  });
  return found == kCommands.end() ? nullptr : &*found;
}

}  // namespace vmm::tools
