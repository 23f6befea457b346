// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/server.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <vector>

#include "vmm/control/client.h"
#include "vmm/control/listener.h"
#include "vmm/control/testing/directory.h"
#include "vmm/control/testing/fake_target.h"
#include "vmm/core/testing/patience.h"

namespace vmm::control {
namespace {

using std::chrono::milliseconds;
using testing::Directory;
using testing::FakeTarget;
using vmm::testing::comes_true;

const std::string kStat = R"({"command":"stat"})";

struct Bench {
  Bench() {
    server->start([] {});
    server->open(target);
  }
  Result<Client> connect() { return Client::connect_to(directory.path(), "web"); }

  Directory directory;
  Listener listener = *Listener::create(directory.path(), "web");
  FakeTarget target;
  std::unique_ptr<Server> server = *Server::create(listener.fd(), "1.2", "web");
};

bool is_good(const Result<std::string>& answer) {
  return answer && nlohmann::json::parse(*answer)["ok"] == true;
}

TEST_CASE("Server: greets, and answers one request after the other", "[control]") {
  Bench bench;
  Client client = *bench.connect();
  CHECK(client.pid() == ::getpid());
  CHECK(nlohmann::json::parse(client.greeting())["name"] == "web");
  for (int i = 0; i < 100; ++i) CHECK(is_good(client.ask(kStat)));
  CHECK(is_good(client.ask(R"({"command":"stop"})")));
  CHECK(bench.target.nr_presses == 1);
  CHECK_FALSE(is_good(client.ask("garbage")));
  CHECK(is_good(client.ask(kStat)));
}

std::vector<UniqueFd> some_files(std::size_t count) {
  std::vector<UniqueFd> files;
  while (files.size() < count) files.emplace_back(::memfd_create("disk", MFD_CLOEXEC));
  return files;
}

TEST_CASE("Server: files arrive with the request that names them", "[control]") {
  Bench bench;
  Client client = *bench.connect();
  std::vector<UniqueFd> files = some_files(2);
  REQUIRE(::write(files[1].get(), "base", 4) == 4);
  const std::string attach = R"({"command":"attach","option":"x","files":["x","base"]})";
  CHECK(is_good(client.ask(attach, files)));
  REQUIRE(bench.target.files.size() == 2);
  CHECK(bench.target.files[1].path == "base");
  char bytes[4];
  REQUIRE(::pread(bench.target.files[1].fd.get(), bytes, 4, 0) == 4);
  CHECK(std::string(bytes, 4) == "base");
  CHECK(is_good(client.ask(R"({"command":"detach","disk":"vdb"})")));

  CHECK_FALSE(is_good(client.ask(attach)));  // not those of the request before
  CHECK_FALSE(is_good(client.ask(attach, some_files(3))));
  CHECK_FALSE(
      is_good(client.ask(R"({"command":"attach","option":"x","files":[7]})", some_files(1))));
  CHECK(is_good(client.ask(kStat, some_files(kMaxFiles))));
  CHECK_FALSE(is_good(client.ask(attach, some_files(kMaxFiles + 1))));
  CHECK(bench.target.files.empty());
  CHECK(is_good(client.ask(kStat)));
}

// A client that looks at the console.
struct Watcher {
  explicit Watcher(Bench& bench) {
    Client client = *bench.connect();
    REQUIRE(is_good(client.ask(R"({"command":"console"})")));
    connection = client.take_connection(said);
  }
  // What it has been told, once that ends with `end`.
  std::string until(const std::string& end) {
    const vmm::testing::Deadline deadline;
    while (!said.ends_with(end) && !deadline.passed()) {
      char bytes[4096];
      const ssize_t got = ::read(connection.get(), bytes, sizeof bytes);
      if (got > 0) said.append(bytes, static_cast<std::size_t>(got));
      if (got <= 0) std::this_thread::sleep_for(milliseconds(5));
    }
    return said;
  }

  std::string said;
  UniqueFd connection;
};

TEST_CASE("Server: a console shows what was said before and after, and takes what is typed",
          "[control]") {
  Bench bench;
  const auto say = [&](std::string_view text) {
    bench.target.log.append(std::as_bytes(std::span(text)));
  };
  const auto typed = [&] {
    std::lock_guard lock(bench.target.typed_mutex);
    return bench.target.typed;
  };
  say("before ");
  Watcher first(bench), second(bench);
  CHECK(first.until("before ") == "before ");
  say("after");
  CHECK(first.until("after") == "before after");
  CHECK(second.until("after") == "before after");
  REQUIRE(::write(first.connection.get(), "typed\n", 6) == 6);
  CHECK(comes_true([&] { return typed() == "typed\n"; }));

  // A guest that takes nothing now gets it later; others are served meanwhile.
  bench.target.room = 0;
  REQUIRE(::write(first.connection.get(), "later", 5) == 5);
  Client other = *bench.connect();
  CHECK(is_good(other.ask(kStat)));
  bench.target.room = 3;
  CHECK(comes_true([&] { return typed() == "typed\nlat"; }));
  bench.target.room = 100;
  CHECK(comes_true([&] { return typed() == "typed\nlater"; }));
}

TEST_CASE("Server: what is said right before the end is still shown", "[control]") {
  for (int i = 0; i < 30; ++i) {
    Bench bench;
    Watcher watcher(bench);
    const std::string line(20000, 'x');
    bench.target.log.append(std::as_bytes(std::span(line)));
    bench.target.log.append(std::as_bytes(std::span("end", 3)));
    bench.server->stop();
    std::string all = std::move(watcher.said);
    char bytes[4096];
    ssize_t got;
    while ((got = ::read(watcher.connection.get(), bytes, sizeof bytes)) > 0) {
      all.append(bytes, static_cast<std::size_t>(got));
    }
    REQUIRE(all == line + "end");
  }
}

TEST_CASE("Server: who does not read a console holds up neither the guest nor others",
          "[control]") {
  Bench bench;
  Watcher deaf(bench);
  const std::string line(4096, 'x');
  for (int i = 0; i < 4000; ++i) bench.target.log.append(std::as_bytes(std::span(line)));
  Client other = *bench.connect();
  CHECK(is_good(other.ask(kStat)));
  bench.target.log.append(std::as_bytes(std::span("end", 3)));
  CHECK(deaf.until("end").size() < 4000 * line.size());
}

TEST_CASE("Server: requests that come together are all answered, in order", "[control]") {
  Bench bench;
  Client client = *bench.connect();
  std::string all;
  for (int i = 0; i < 100; ++i) all += kStat + "\n";
  REQUIRE(all.size() < kMaxRequest);
  CHECK(is_good(client.ask(all + "nonsense")));
  for (int i = 1; i < 100; ++i) CHECK(is_good(client.ask("")));  // one more line, one more answer
  CHECK_FALSE(is_good(client.ask("")));
}

TEST_CASE("Server: nobody is served before the machine runs, and everybody then", "[control]") {
  Directory directory;
  Listener listener = *Listener::create(directory.path(), "web");
  FakeTarget target;
  std::unique_ptr<Server> server = *Server::create(listener.fd(), "1.2", "web");
  server->start([] {});
  Result<Client> early = Client::connect_to(directory.path(), "web");
  REQUIRE_FALSE(early);
  CHECK(early.error().kind() == ErrorKind::kBusy);
  server->open(target);
  CHECK(Client::connect_to(directory.path(), "web"));
}

TEST_CASE("Server: its end hangs up, and the socket serves the next boot", "[control]") {
  Bench bench;
  Client client = *bench.connect();
  CHECK_FALSE(client.wait_for_end(milliseconds(10)));
  bench.server->stop();
  CHECK(client.wait_for_end(milliseconds(60000)));
  Result<std::string> late = client.ask(kStat);
  REQUIRE_FALSE(late);
  CHECK(late.error().kind() == ErrorKind::kNotFound);

  bench.server = *Server::create(bench.listener.fd(), "1.2", "web");
  bench.server->start([] {});
  bench.server->open(bench.target);
  CHECK(is_good(bench.connect()->ask(kStat)));
}

TEST_CASE("Server: a request without end costs the client its connection", "[control][hostile]") {
  Bench bench;
  Client client = *bench.connect();
  CHECK_FALSE(client.ask(std::string(1 << 20, 'x')));
  CHECK(is_good(bench.connect()->ask(kStat)));
}

TEST_CASE("Server: many who say nothing keep nobody out", "[control][hostile]") {
  Bench bench;
  std::vector<Client> silent;
  for (std::size_t i = 0; i < 3 * Server::kMaxClients; ++i) {
    silent.push_back(*bench.connect());
    CHECK(is_good(silent.front().ask(kStat)));  // who talks stays
  }
  CHECK(is_good(silent.back().ask(kStat)));
  CHECK(silent[1].wait_for_end(milliseconds(60000)));
}

}  // namespace
}  // namespace vmm::control
