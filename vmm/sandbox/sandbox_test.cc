// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>

#include "vmm/core/testing/catch.h"
#include "vmm/core/unique_fd.h"
#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/jail.h"
#include "vmm/sandbox/landlock.h"
#include "vmm/sandbox/privileges.h"
#include "vmm/sandbox/testing/in_child.h"
#include "vmm/sandbox/violation.h"

// What needs no filter, so that the rest can be looked at from inside.
namespace vmm::sandbox {
namespace {

using testing::in_child;
using testing::Outcome;

bool may_be_root() {
  if (::geteuid() == 0) return true;
  WARN("not root: skipped");
  return false;
}

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  ::_exit(testing::kRefused);
}
void expect(const Result<void>& result) {
  expect(result.has_value(), result ? "" : result.error().message().c_str());
}

std::uint64_t capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  ::syscall(SYS_capget, &header, data);
  auto all = [](const __user_cap_data_struct& part) {
    return part.effective | part.permitted | part.inheritable;
  };
  return all(data[0]) | std::uint64_t{all(data[1])} << 32;
}

void check_survived(const Outcome& outcome) {
  INFO(outcome.output);
  CHECK(outcome.status == testing::kSurvived);
}

TEST_CASE("Root's powers are gone, and exec() cannot bring them back", "[sandbox]") {
  check_survived(in_child([] {
    expect(set_no_new_privileges());
    expect(empty_bounding_set());
    expect(drop_capabilities());
    expect(capabilities() == 0, "capabilities");
    for (unsigned long capability = 0; capability <= CAP_LAST_CAP; ++capability) {
      int there = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
      expect(there <= 0 || ::geteuid() != 0, "bounding set");
    }
    expect(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs");
    expect(::chroot("/") != 0 && errno == EPERM, "chroot after capabilities went");
  }));
}

TEST_CASE("--uid and --gid hold for threads that were there before", "[sandbox]") {
  if (!may_be_root()) return;
  check_survived(in_child([] {
    std::atomic<bool> changed = false;
    bool right = false;
    std::thread earlier([&] {
      while (!changed) std::this_thread::yield();
      right = ::syscall(SYS_getuid) == 4242 && ::syscall(SYS_getgid) == 4343;
    });
    SandboxConfig config;
    config.uid = 4242;
    config.gid = 4343;
    expect(close_doors(config));
    changed = true;
    earlier.join();
    expect(right, "the other thread's ids");
    expect(::getgroups(0, nullptr) == 0, "supplementary groups");
    expect(::setuid(0) != 0, "setuid(0) afterwards");
    expect(capabilities() == 0, "capabilities");
  }));
}

TEST_CASE("In a jail there is an empty root directory, and no way back", "[sandbox]") {
  if (!may_be_root()) return;
  check_survived(in_child([] {
    UniqueFd before(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    struct stat outside {
    }, inside{};
    expect(::fstat(before.get(), &outside) == 0, "stat of the old network namespace");
    SandboxConfig config;
    config.jail = true;
    config.uid = 4242;
    expect(enter(config));
    expect(::getpid() == 1, "process 1 of its world");
    expect(::stat("/proc/self/ns/net", &inside) == 0, "stat of the new network namespace");
    expect(outside.st_ino != inside.st_ino, "another network namespace");

    // A thread that was there before must not keep the old tree.
    std::atomic<bool> closed = false;
    bool gone = false;
    std::thread earlier([&] {
      while (!closed) std::this_thread::yield();
      gone = ::access("/etc", F_OK) != 0 && ::access("/proc", F_OK) != 0;
    });
    expect(close_doors(config));
    closed = true;
    earlier.join();
    expect(gone, "the old tree on the other thread");
    expect(::access("/../etc", F_OK) != 0, "the old tree through ..");
    expect(::open("/file", O_CREAT | O_WRONLY, 0600) < 0, "making a file");
    expect(::getuid() == 4242, "uid");
  }));
}

TEST_CASE("A jailed process's status is its supervisor's, also when a signal ended it",
          "[sandbox]") {
  if (!may_be_root()) return;
  SandboxConfig config;
  config.jail = true;
  CHECK(in_child([&] {
          expect(enter(config));
          ::_exit(7);
        }).status == 7);
  CHECK(in_child([&] {
          expect(enter(config));
          ::abort();
        }).status >= 128);
  // Forwarded from outside.
  CHECK(in_child([&] {
          pid_t outside = ::getpid();
          int ends[2];
          expect(::pipe(ends) == 0, "pipe");
          if (::fork() == 0) {  // who signals the supervisor, once the jailed one is ready
            char byte;
            expect(::read(ends[0], &byte, 1) == 1, "read");
            ::kill(outside, SIGTERM);
            ::_exit(0);
          }
          sigset_t term;
          ::sigemptyset(&term);
          ::sigaddset(&term, SIGTERM);
          ::sigprocmask(SIG_BLOCK, &term, nullptr);
          expect(enter(config));
          expect(::write(ends[1], "x", 1) == 1, "write");
          int signal = 0;
          ::sigwait(&term, &signal);
          ::_exit(signal == SIGTERM ? 9 : 1);
        }).status == 9);
}

TEST_CASE("--chroot changes the root directory for all threads", "[sandbox]") {
  if (!may_be_root()) return;
  char directory[] = "/tmp/vmm-sandbox-XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  for (bool jail : {false, true}) {
    INFO("jail: " << jail);
    check_survived(in_child([&] {
      SandboxConfig config;
      config.jail = jail;
      config.chroot = directory;
      expect(enter(config));
      expect(close_doors(config));
      expect(::access("/etc", F_OK) != 0, "the old tree");
    }));
  }
  ::rmdir(directory);
}

TEST_CASE("Landlock keeps every file shut, where the kernel has it", "[sandbox]") {
  if (landlock_version() == 0) {
    WARN("this kernel has no Landlock: skipped");
    return;
  }
  check_survived(in_child([] {
    UniqueFd open_before(::open("/dev/null", O_RDWR));
    expect(set_no_new_privileges());
    expect(landlock_everything());
    expect(::open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES, "opening a file");
    expect(::write(open_before.get(), "x", 1) == 1, "a file that was open");
  }));
}

TEST_CASE("Flags that need root say so, and none goes with --no-sandbox", "[sandbox]") {
  SandboxConfig config;
  CHECK(check(config));
  config.jail = true;
  config.enabled = false;
  CHECK(check(config).error().message() == "--jail does not go with --no-sandbox");
  if (!may_be_root()) return;
  check_survived(in_child([] {
    expect(change_user(4242, std::nullopt));
    SandboxConfig wanted;
    wanted.chroot = "/tmp";
    Result<void> checked = check(wanted);
    expect(!checked && checked.error().kind() == ErrorKind::kPermission, "check");
    expect(checked.error().message().rfind("--chroot needs root", 0) == 0, "message");
  }));
}

}  // namespace
}  // namespace vmm::sandbox
