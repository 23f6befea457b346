// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/fault_runs.h"

#include <fmt/format.h>

#include <algorithm>

#include "disk/testing/crash_states.h"
#include "disk/testing/last_words.h"

namespace vmm::disk {
namespace {

// What an operation is for. Tables are written before anything refers to them, so what a place is
// used for is asked of the image as it ended up; a place that is free then was data.
std::string use_of(const StorageOp& op, const ImageReport& report) {
  if (op.kind == StorageOp::Kind::kSync) return "sync";
  if (op.kind == StorageOp::Kind::kTruncate || op.kind == StorageOp::Kind::kAllocate) {
    return "file size";
  }
  if (op.kind == StorageOp::Kind::kPunch) return "hole";
  if (op.file != 0) return op.kind == StorageOp::Kind::kRead ? "data file read" : "data file write";
  const ClusterUse use = report.use_at(op.offset);
  return fmt::format("{} {}", use == ClusterUse::kFree ? "data" : name_of(use),
                     op.kind == StorageOp::Kind::kRead ? "read" : "write");
}

std::string describe(const Workload& workload, const FaultCase& fault, const std::string& command) {
  std::string text = fmt::format("{} fault --workload {} --seed {} --op {} --kind {}", command,
                                 workload.name, workload.seed, fault.index, name_of(fault.kind));
  if (fault.from_then_on) text += " --from-then-on";
  if (fault.use) text += fmt::format(" --use '{}'", name_of(*fault.use));
  return text;
}

bool fits(const StorageOp& op, Fault::Kind kind) {
  switch (kind) {
    case Fault::Kind::kIoError:
      return true;
    case Fault::Kind::kNoSpace:
      return op.kind != StorageOp::Kind::kRead && op.kind != StorageOp::Kind::kPunch;
    case Fault::Kind::kShortWrite:
      return op.kind == StorageOp::Kind::kWrite && op.length >= 512;
  }
  return false;
}

// Requests that failed although nothing failed while they were under way, and more of them than one
// fault explains.
std::string check_blame(const WorkloadRun& run, const FaultCase& fault,
                        const std::vector<std::uint64_t>& victims) {
  const std::vector<StorageOp>& ops = run.recording->ops;
  for (const FailedRequest& request : run.failed) {
    const bool explained = std::any_of(victims.begin(), victims.end(), [&](std::uint64_t victim) {
      return ops[victim].began <= request.ended && ops[victim].ended >= request.began;
    });
    if (!explained) {
      return fmt::format("a {} at block {:#x} failed, and nothing had: {}",
                         name_of(request.op.kind), request.op.first, request.why);
    }
  }
  if (!fault.from_then_on && run.workload.workers.size() == 1 && run.failed.size() > 1) {
    return fmt::format("{} requests failed for one fault: {}; {}", run.failed.size(),
                       run.failed[0].why, run.failed[1].why);
  }
  // A flush must not say that all is well when it is not known to be.
  for (std::uint64_t victim : victims) {
    if (ops[victim].kind != StorageOp::Kind::kSync) continue;
    for (const GuestModel::Flush& flush : run.model.flushes()) {
      const bool inside = flush.began < ops[victim].began && ops[victim].ended < flush.ended;
      if (inside && run.workload.workers.size() == 1) return "a flush hid that a sync failed";
    }
  }
  return "";
}

// What a power cut right after each flush behind the fault would leave.
std::string check_crashes(EventLoop& loop, const WorkloadRun& run, std::uint64_t fault_at,
                          FaultResult& result) {
  CrashStates states(run);
  const std::vector<GuestModel::Flush>& flushes = run.model.flushes();
  for (std::uint64_t cut = 0; cut < states.nr_cuts(); ++cut) {
    states.advance_to(cut);
    const std::uint64_t moment = states.moment(cut);
    const bool after_flush = std::any_of(flushes.begin(), flushes.end(),
                                         [&](const auto& flush) { return flush.ended == moment; });
    if (moment < fault_at || (!after_flush && cut % 16 != 0)) continue;
    const std::uint64_t random = states.nr_fixed_choices() + cut;
    for (std::uint64_t choice : {std::uint64_t{0}, random}) {
      if (choice != 0 && states.nr_pending() == 0) continue;
      ++result.crashes;
      const CrashVerdict verdict = judge_crash(loop, run, states.state(choice), moment, false);
      if (!verdict.wrong.empty()) {
        return fmt::format("after a crash at cut {}, choice {}: {}\n{}", cut, choice, verdict.wrong,
                           states.describe(choice));
      }
    }
  }
  return "";
}

}  // namespace

std::string run_fault(EventLoop& loop, const WorkloadRun& dry, const FaultCase& wanted,
                      FaultResult& result) {
  const ImageReport layout = check_image(dry.end);
  auto fault = std::make_shared<Fault>();
  fault->kind = wanted.kind;
  fault->once = !wanted.from_then_on;
  fault->hits = [&](std::uint64_t index, const StorageOp& op) {
    if (!wanted.from_then_on) return index == wanted.index;
    if (index < wanted.index || op.kind == StorageOp::Kind::kRead) return false;
    return !wanted.use || (op.kind == StorageOp::Kind::kWrite && op.file == 0 &&
                           layout.use_at(op.offset) == *wanted.use);
  };
  Result<WorkloadRun> run = run_workload(loop, dry.workload, fault);
  if (!run) return "the workload cannot run: " + run.error().message();
  if (fault->victims.empty()) return "";  // a place that this run did not come to
  ++result.runs;
  result.faults += fault->victims.size();
  result.failed_requests += run->failed.size();
  const std::vector<StorageOp>& ops = run->recording->ops;
  for (std::uint64_t victim : fault->victims) ++result.by_use[use_of(ops[victim], layout)];

  if (!run->wrong.empty()) return run->wrong;
  std::string wrong = check_blame(*run, wanted, fault->victims);
  if (!wrong.empty()) return wrong;
  // The fault may have hit the last flush or close() itself; nothing else may fail there.
  if (run->close_failed && ops[fault->victims.back()].began < run->model.flushes().back().began) {
    return "close() failed, long after the fault";
  }
  const std::shared_ptr<MemoryStorage::Bytes> bytes = storage_of(run->workload, run->end);
  const std::shared_ptr<MemoryStorage::Bytes> data = storage_of(run->workload, run->end_data);
  const ImageReport report = check_image(bytes->data);
  if (!report.dirty && !report.corruptions.empty()) {
    return "at the end: " + report.corruptions.front();
  }
  Result<std::unique_ptr<qcow::QcowDisk>> disk =
      open_image(loop, bytes, data, *run, GuestModel::kNever);
  if (!disk) return "open at the end: " + disk.error().message();
  const ImageReport opened = check_image(bytes->data);
  if (!opened.corruptions.empty()) return "after repair: " + opened.corruptions.front();
  wrong = compare_with_model(loop, **disk, *run, GuestModel::kNever);
  if (!wrong.empty()) return "at the end: " + wrong;
  if (run->workload.format.data_file_raw) {
    wrong = compare_raw(data->data, (*disk)->size(), *run, GuestModel::kNever);
    if (!wrong.empty()) return "at the end: " + wrong;
  }
  wrong = compare_snapshots(loop, **disk, *run, GuestModel::kNever - 1, wanted.index);
  if (!wrong.empty()) return "at the end: " + wrong;
  return check_crashes(loop, *run, ops[fault->victims.front()].began, result);
}

FaultResult enumerate_faults(EventLoop& loop, const Workload& workload,
                             const FaultOptions& options) {
  FaultResult result;
  Result<WorkloadRun> dry = run_workload(loop, workload);
  if (!dry) {
    result.failure = dry.error().message();
    return result;
  }
  std::vector<FaultCase> cases;
  const std::vector<StorageOp>& ops = dry->recording->ops;
  for (std::uint64_t index = workload.seed % options.every; index < ops.size();
       index += options.every) {
    for (Fault::Kind kind :
         {Fault::Kind::kIoError, Fault::Kind::kNoSpace, Fault::Kind::kShortWrite}) {
      if (fits(ops[index], kind)) cases.push_back({kind, index, false, {}});
    }
  }
  for (std::uint64_t index = 0; index < ops.size(); index += ops.size() / 4 + 1) {
    for (Fault::Kind kind : {Fault::Kind::kIoError, Fault::Kind::kNoSpace}) {
      cases.push_back({kind, index, true, {}});
    }
    for (ClusterUse use :
         {ClusterUse::kHeader, ClusterUse::kRefcountTable, ClusterUse::kRefcountBlock,
          ClusterUse::kL1Table, ClusterUse::kL2Table, ClusterUse::kData}) {
      cases.push_back({Fault::Kind::kNoSpace, index, true, use});
    }
  }
  for (const FaultCase& fault : cases) {
    const std::string command = describe(workload, fault, options.command);
    set_last_words(command);
    const std::string wrong = run_fault(loop, *dry, fault, result);
    if (wrong.empty()) continue;
    result.failure = fmt::format("{}\nreplay: {}\n", wrong, command);
    return result;
  }
  return result;
}

}  // namespace vmm::disk
