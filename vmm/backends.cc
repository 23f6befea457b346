// SPDX-License-Identifier: Apache-2.0
#include "vmm/backends.h"

#include "vmm/machine_net.h"
#include "vmm/share.h"
#include "vmm/vhost_vsock_file.h"
#include "vmm/vsock_connector.h"

namespace vmm {

Result<void> check_backends(const MachineConfig& config) {
  VMM_CHECK(check_plug(config.net));
  VMM_CHECK(check_shares(config.shares));
  return config.vsock.vhost ? check_vhost_vsock() : check_vsock(config.vsock);
}

Result<Backends> open_backends(const MachineConfig& config) {
  Backends backends;
  VMM_TRY(backends.net, plug_in(config.net));
  VMM_TRY(backends.shares, open_shares(config.shares));
  if (!config.vsock.path.empty()) {
    VMM_TRY(backends.vsock, start_vsock_connector(config.vsock.listen_fd, config.vsock.path));
  }
  if (config.vsock.vhost) {
    VMM_TRY(backends.vhost_vsock, open_vhost_vsock());
  }
  return backends;
}

}  // namespace vmm
