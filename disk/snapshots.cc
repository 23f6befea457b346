// SPDX-License-Identifier: Apache-2.0
#include "disk/snapshots.h"

#include <fmt/core.h>

#include "disk/qcow/qcow_disk.h"
#include "disk/writethrough_disk.h"

namespace vmm::disk {
namespace {

Result<qcow::QcowDisk*> qcow2_of(Disk& disk) {
  if (auto* wrapper = dynamic_cast<WritethroughDisk*>(&disk)) return qcow2_of(wrapper->inner());
  if (auto* qcow = dynamic_cast<qcow::QcowDisk*>(&disk)) return qcow;
  return fail(ErrorKind::kUnsupported, fmt::format("{} images have no snapshots", disk.format()));
}

}  // namespace

Task<Result<void>> create_snapshot(Disk& disk, std::string name) {
  VMM_CO_TRY(qcow::QcowDisk * qcow, qcow2_of(disk));
  co_return co_await qcow->create_snapshot(qcow::new_snapshot(std::move(name)));
}

Task<Result<void>> delete_snapshot(Disk& disk, std::string id_or_name) {
  VMM_CO_TRY(qcow::QcowDisk * qcow, qcow2_of(disk));
  co_return co_await qcow->delete_snapshot(std::move(id_or_name));
}

Result<std::vector<qcow::Snapshot>> snapshots_of(Disk& disk) {
  VMM_TRY(qcow::QcowDisk * qcow, qcow2_of(disk));
  return qcow->snapshots();
}

}  // namespace vmm::disk
