// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_net.h"

#include "vmm/net_passt.h"
#include "vmm/net_tap.h"

namespace vmm {

Result<void> check_plug(const MachineConfig::Net& net) {
  switch (net.kind) {
    case MachineConfig::Net::Kind::kUser:
      return check_passt(net);
    case MachineConfig::Net::Kind::kTap:
      return check_tap();
    case MachineConfig::Net::Kind::kNone:
      break;
  }
  return {};
}

Result<std::unique_ptr<virtio::NetBackend>> plug_in(const MachineConfig::Net& net) {
  switch (net.kind) {
    case MachineConfig::Net::Kind::kUser:
      return open_passt(net);
    case MachineConfig::Net::Kind::kTap:
      return open_tap(net.tap);
    case MachineConfig::Net::Kind::kNone:
      break;
  }
  return std::unique_ptr<virtio::NetBackend>();
}

}  // namespace vmm
