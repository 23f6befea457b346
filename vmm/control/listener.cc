// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/listener.h"

#include <fmt/core.h>

#include <utility>

#include "vmm/control/directory.h"

namespace vmm::control {

Result<Listener> Listener::create(const std::string& directory, const std::string& name) {
  VMM_CHECK(check_name(name));
  VMM_CHECK(open_directory(directory, /*make=*/true));
  const std::string path = socket_path(directory, name);
  Result<SocketFile> file = SocketFile::create(path);
  if (file) return Listener(*std::move(file), name);
  if (file.error().kind() != ErrorKind::kBusy) return Unexpected(std::move(file).error());
  return fail(ErrorKind::kBusy, fmt::format("a virtual machine named '{}' runs already ({}); "
                                            "'vmm list' shows all",
                                            name, path));
}

bool remove_if_stale(const std::string& directory, const std::string& name) {
  if (!check_name(name) || !open_directory(directory, /*make=*/false)) return false;
  return SocketFile::remove_if_stale(socket_path(directory, name));
}

}  // namespace vmm::control
