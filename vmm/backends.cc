// SPDX-License-Identifier: Apache-2.0
#include "vmm/backends.h"

#include "vmm/machine_net.h"
#include "vmm/share.h"

namespace vmm {

Result<void> check_backends(const MachineConfig& config) {
  VMM_CHECK(check_plug(config.net));
  return check_shares(config.shares);
}

Result<Backends> open_backends(const MachineConfig& config) {
  Backends backends;
  VMM_TRY(backends.net, plug_in(config.net));
  VMM_TRY(backends.shares, open_shares(config.shares));
  return backends;
}

}  // namespace vmm
