// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/listener.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "vmm/control/client.h"
#include "vmm/control/directory.h"
#include "vmm/control/testing/directory.h"
#include "vmm/core/testing/patience.h"

namespace vmm::control {
namespace {

using testing::Directory;
using vmm::testing::comes_true;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

TEST_CASE("check_name: a name is a file name that no shell misreads", "[control]") {
  for (const char* name : {"web", "guest-12", "a.b_c-D", "7"}) CHECK(check_name(name));
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("-f"), std::string("a/b"),
        std::string("a b"), std::string("a\nb"), std::string("\xc3\xa4"), std::string(65, 'a'),
        std::string("a\0b", 3)}) {
    CHECK_FALSE(check_name(name));
  }
}

TEST_CASE("Listener: the directory and the socket are this user's alone", "[control]") {
  Directory parent;
  const std::string directory = parent.path() + "/vmm";
  Listener listener = *Listener::create(directory, "web");
  struct stat status {};
  REQUIRE(::lstat(directory.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0700);
  REQUIRE(::lstat(socket_path(directory, "web").c_str(), &status) == 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(names_in(directory) == std::vector<std::string>{"web"});
}

TEST_CASE("Listener: a directory that others can enter is refused", "[control][hostile]") {
  Directory parent;
  REQUIRE(::chmod(parent.path().c_str(), 0755) == 0);
  Result<Listener> listener = Listener::create(parent.path(), "web");
  REQUIRE_FALSE(listener);
  CHECK(contains(listener.error().message(), "chmod 700"));
  REQUIRE(::chmod(parent.path().c_str(), 0700) == 0);
  REQUIRE(::symlink(".", (parent.path() + "/vmm").c_str()) == 0);
  CHECK_FALSE(Listener::create(parent.path() + "/vmm", "web"));
}

TEST_CASE("Listener: a name that runs is taken, busy or not", "[control]") {
  Directory directory;
  Listener first = *Listener::create(directory.path(), "web");
  Result<Listener> second = Listener::create(directory.path(), "web");  // it sends no greeting
  REQUIRE_FALSE(second);
  CHECK(second.error().kind() == ErrorKind::kBusy);
  CHECK(contains(second.error().message(), "'web' runs already"));
  CHECK_FALSE(remove_if_stale(directory.path(), "web"));
  CHECK(Listener::create(directory.path(), "mail"));
}

TEST_CASE("Listener: a socket that was left behind is cleaned up", "[control]") {
  Directory directory;
  { Listener gone = *Listener::create(directory.path(), "web"); }
  CHECK(exists(socket_path(directory.path(), "web")));
  Result<Client> client = Client::connect_to(directory.path(), "web");
  REQUIRE_FALSE(client);
  CHECK(client.error().kind() == ErrorKind::kNotFound);
  CHECK(Listener::create(directory.path(), "web"));

  CHECK(remove_if_stale(directory.path(), "web"));
  CHECK_FALSE(exists(socket_path(directory.path(), "web")));
}

TEST_CASE("Listener: the socket goes when its process has been killed", "[control]") {
  Directory directory;
  const std::string path = socket_path(directory.path(), "web");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Result<Listener> listener = Listener::create(directory.path(), "web");
    if (!listener || !listener->remove_at_end()) ::_exit(1);
    for (;;) ::pause();
  }
  REQUIRE(comes_true([&] { return exists(path); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(exists(path));
  ::kill(child, SIGKILL);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(comes_true([&] { return !exists(path); }));
}

TEST_CASE("Listener: who removes a socket leaves that of a successor alone", "[control]") {
  Directory directory;
  const std::string path = socket_path(directory.path(), "web");
  {
    Listener first = *Listener::create(directory.path(), "web");
    REQUIRE(first.remove_at_end());
    ::unlink(path.c_str());
    std::ofstream(path) << "another";
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(exists(path));
}

}  // namespace
}  // namespace vmm::control
