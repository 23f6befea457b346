// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/bootfind.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "vmm/bootfind/answer.h"
#include "vmm/bootfind/confined_child.h"
#include "vmm/bootfind/finder.h"
#include "vmm/io/blocking_backend.h"

namespace vmm::bootfind {
namespace {

Result<UniqueFd> make_memfd(const char* name) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno(errno, "memfd_create");
  return fd;
}

// Nobody can change the bytes afterwards, us included. Gives their number.
Result<std::uint64_t> seal(const UniqueFd& fd, std::uint64_t limit) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return fail_errno(errno, "sealing a memfd");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, "fstat");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit) return fail(ErrorKind::kInvalid, "a file that was found is too large");
  return size;
}

Sink sink_to(int fd) {
  return [fd](std::span<const std::byte> bytes) -> Result<void> {
    while (!bytes.empty()) {
      const ssize_t put = ::write(fd, bytes.data(), bytes.size());
      if (put < 0) return fail_errno(errno, "keeping a file that was found");
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return {};
  };
}

struct Outputs {
  int kernel, initrd;
};

// In the child.
Result<Answer> search(const OpenSource& open, const BootOptions& options, const Outputs* outputs,
                      const Confine& confine) {
  allow_only_blocking_calls();
  Result<std::unique_ptr<Source>> source = open();
  if (!source) {
    // kNotFound is for disks without a kernel.
    const ErrorKind kind = source.error().kind();
    return fail(kind == ErrorKind::kNotFound ? ErrorKind::kInvalid : kind,
                source.error().message());
  }
  VMM_CHECK(confine());
  Finder finder(**source, options.finder);
  VMM_CHECK(finder.scan());
  Answer answer;
  if (outputs != nullptr) {
    VMM_TRY(answer.chosen, finder.choose(options.entry));
    VMM_CHECK(finder.write_kernel(answer.chosen, sink_to(outputs->kernel)));
    VMM_CHECK(finder.write_initrd(answer.chosen, sink_to(outputs->initrd)));
  }
  answer.entries = finder.entries();
  return answer;
}

Result<Answer> search_in_child(const OpenSource& open, const BootOptions& options,
                               const Outputs* outputs) {
  ChildLimits limits;
  limits.time = options.time_limit;
  limits.file_size = std::max(options.finder.max_kernel, options.finder.max_initrd);
  std::vector<int> keep;
  if (outputs != nullptr) keep = {outputs->kernel, outputs->initrd};
  Result<std::string> bytes = run_confined(limits, keep, [&](const Confine& confine) {
    return encode_answer(search(open, options, outputs, confine));
  });
  if (!bytes) {
    return fail(bytes.error().kind(),
                fmt::format("the search for a kernel on the disk {}; give one with -k",
                            bytes.error().message()));
  }
  return decode_answer(*bytes);
}

}  // namespace

Result<BootChoice> find_boot(const OpenSource& open, const BootOptions& options) {
  BootChoice choice;
  VMM_TRY(choice.kernel, make_memfd("kernel"));
  VMM_TRY(choice.initrd, make_memfd("initrd"));
  const Outputs outputs{choice.kernel.get(), choice.initrd.get()};
  VMM_TRY(Answer answer, search_in_child(open, options, &outputs));
  VMM_TRY(std::uint64_t kernel_size, seal(choice.kernel, options.finder.max_kernel));
  VMM_TRY(std::uint64_t initrd_size, seal(choice.initrd, options.finder.max_initrd));
  if (kernel_size == 0) return fail(ErrorKind::kInvalid, "the kernel that was found is empty");
  if (initrd_size == 0) choice.initrd.reset();

  choice.entry = std::move(answer.entries[answer.chosen]);
  choice.command_line = choice.entry.command_line;
  choice.description =
      fmt::format("\"{}\" ({}): {}", choice.entry.title, choice.entry.where, choice.entry.kernel);
  return choice;
}

Result<std::vector<BootEntry>> list_boot(const OpenSource& open, const BootOptions& options) {
  VMM_TRY(Answer answer, search_in_child(open, options, nullptr));
  return std::move(answer.entries);
}

std::string format_list(const std::vector<BootEntry>& entries) {
  std::string text;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const BootEntry& entry = entries[i];
    text += fmt::format("{} {}  {}\n", entry.is_default ? '*' : ' ', i + 1, entry.title);
    text += fmt::format("      id       {}\n      found in {}\n      kernel   {}\n", entry.id,
                        entry.where, entry.kernel);
    for (const std::string& path : entry.initrds) text += fmt::format("      initrd   {}\n", path);
    text += fmt::format("      params   {}\n", entry.command_line);
  }
  return text;
}

}  // namespace vmm::bootfind
