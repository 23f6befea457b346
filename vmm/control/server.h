// SPDX-License-Identifier: Apache-2.0
// Server: the control thread. It answers clients while the machine runs, shares no lock with vCPU
// and I/O threads beyond what Target does, and holds a bounded amount for a bounded number of
// clients, whatever they do.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "vmm/control/protocol.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::control {

class Server {
 public:
  // One more sends the one away that has been silent for longest.
  static constexpr std::size_t kMaxClients = 16;

  // `listen_fd` listens and does not block; it stays the caller's. `version` and `name` are for the
  // greeting.
  static Result<std::unique_ptr<Server>> create(int listen_fd, std::string version,
                                                std::string name);
  ~Server();  // stop()

  // Makes the thread. `on_begin` is called there, first. Nobody is served before open().
  void start(std::function<void()> on_begin);
  // `target` must stay until stop().
  void open(Target& target);
  // Hangs up on everybody and joins the thread. Who connects from now on waits for the next server
  // of this socket, or its end.
  void stop();

 private:
  struct Client {
    UniqueFd fd;
    std::string received;  // less than a line; at most kMaxRequest
    std::string to_send;   // while there is any, nothing more is read
    std::uint64_t active_at = 0;
    // Where it is in the console's log, from its request for that on: then `received` is what is
    // typed, and not yet taken.
    std::optional<std::uint64_t> console_at;
    std::vector<UniqueFd> files;  // that came with what was received; at most kMaxFiles
  };

  Server(int listen_fd, UniqueFd wake_fd, std::string version, std::string name);
  void run();
  void wake();
  void accept_one(Target& target);
  // False: the client is gone, or shall be.
  bool serve(Client& client, Target& target);
  bool serve_console(Client& client, Target& target, short events);
  void say_rest(Client& client, Target& target);
  static short wanted_events(const Client& client, Target& target);
  // Milliseconds until something is to be tried again; -1: nothing is.
  int patience() const;
  bool receive(Client& client);
  void answer_lines(Client& client, Target& target);
  static bool send(Client& client);

  const int listen_fd_;
  UniqueFd wake_fd_;
  const std::string version_, name_;
  std::thread thread_;
  std::atomic<Target*> target_ = nullptr;
  std::atomic<bool> stopping_ = false;

  // On the thread.
  std::vector<Client> clients_;
  std::uint64_t now_ = 0;  // counts what clients did
};

}  // namespace vmm::control
