// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/confined_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "vmm/core/testing/catch.h"
#include "vmm/core/unique_fd.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm::bootfind {
namespace {

// The error of a child that ends in `work` after it was confined.
std::string error_of(const std::function<void()>& work, ChildLimits limits = {}) {
  Result<std::string> answer = run_confined(limits, {}, [&](const Confine& confine) {
    if (Result<void> confined = confine(); !confined) return confined.error().message();
    work();
    return std::string("came back");
  });
  return answer ? *answer : answer.error().message();
}

const char* const kForbidden = "was stopped at a system call that it may not make";

}  // namespace

TEST_CASE("Confined child: its answer comes back, however long", "[bootfind]") {
  Result<std::string> answer = run_confined({}, {}, [](const Confine& confine) {
    return confine() ? std::string(1 << 20, 'x') : std::string("not confined");
  });
  REQUIRE(answer.has_value());
  CHECK(*answer == std::string(1 << 20, 'x'));
}

TEST_CASE("Confined child: it can neither open files nor make sockets, processes or code",
          "[bootfind]") {
  if (!sandbox::has_filters()) return;  // the suite "sandbox" runs without sanitizers
  CHECK(error_of([] { (void)::open("/etc/passwd", O_RDONLY); }) == kForbidden);
  CHECK(error_of([] { (void)::socket(AF_UNIX, SOCK_STREAM, 0); }) == kForbidden);
  CHECK(error_of([] { (void)::fork(); }) == kForbidden);
  CHECK(error_of([] { (void)::kill(::getppid(), 0); }) == kForbidden);
  CHECK(error_of([] {
          (void)::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }) == kForbidden);
  struct stat status {};
  CHECK(error_of([&] { (void)::stat("/etc/passwd", &status); }) == kForbidden);
}

TEST_CASE("Confined child: of its parent's descriptors it has those it was given", "[bootfind]") {
  UniqueFd given(::memfd_create("given", MFD_CLOEXEC)), other(::memfd_create("other", MFD_CLOEXEC));
  const int keep[] = {given.get()};
  Result<std::string> answer = run_confined({}, keep, [&](const Confine& confine) {
    if (!confine()) return std::string("not confined");
    const bool has_given = ::write(given.get(), "x", 1) == 1;
    const bool has_other = ::write(other.get(), "x", 1) == 1;
    return std::string(has_given ? "given " : "") + (has_other ? "other" : "");
  });
  REQUIRE(answer.has_value());
  CHECK(*answer == "given ");
}

TEST_CASE("Confined child: one that hangs is killed", "[bootfind]") {
  ChildLimits limits;
  limits.time = std::chrono::milliseconds(200);
  CHECK(error_of(
            [] {
              for (volatile bool forever = true; forever;) {
              }
            },
            limits) == "was not done after 0.2 seconds");
}

TEST_CASE("Confined child: one that crashes is an error and no more", "[bootfind]") {
  CHECK(error_of([] { ::_exit(7); }) == "ended with status 7");
  CHECK(error_of([] { ::raise(SIGSEGV); }) == "crashed (signal 11, Segmentation fault)");
  CHECK(error_of([] { std::abort(); }) == "crashed (signal 6, Aborted)");
  Result<std::string> early = run_confined({}, {}, [](const Confine&) -> std::string {
    ::kill(::getpid(), SIGKILL);
    return "";
  });
  CHECK_FALSE(early.has_value());
}

TEST_CASE("Confined child: an answer or a file beyond its limit is refused", "[bootfind]") {
  ChildLimits limits;
  limits.answer = 1000;
  Result<std::string> answer =
      run_confined(limits, {}, [](const Confine&) { return std::string(1001, 'x'); });
  REQUIRE_FALSE(answer.has_value());
  CHECK(answer.error().message() == "gave too long an answer");

  UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  limits.file_size = 4096;
  const int keep[] = {file.get()};
  answer = run_confined(limits, keep, [&](const Confine&) {
    std::vector<char> much(10'000);
    while (::write(file.get(), much.data(), much.size()) > 0) {
    }
    return std::string("came back");
  });
  REQUIRE_FALSE(answer.has_value());
  CHECK(answer.error().message() == "wrote more than it may");
}

}  // namespace vmm::bootfind
