// SPDX-License-Identifier: Apache-2.0
// disk-reliability: looks for crashes and faults that a qcow2 image does not survive.
//
//   disk-reliability crash [--states N] [--seed S] [--workload W] [--choices N] [--oracle-every N]
//   disk-reliability faults [--seeds N] [--seed S] [--workload W] [--every N]
//   disk-reliability replay --workload W --seed S --cut C --choice K [--save FILE]
//   disk-reliability fault --workload W --seed S --op I --kind eio|enospc|short [--from-then-on]
//                          [--use WHAT]
//   disk-reliability workloads
//
// Status 0: nothing found; 1: found something, with the command that shows it again; 2: usage.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

#include "disk/testing/crash_search.h"
#include "disk/testing/fault_runs.h"
#include "disk/testing/last_words.h"
#include "vmm/core/log.h"

namespace vmm::disk {
namespace {

constexpr unsigned kTimeLimit = 120;  // seconds for one case

struct Options {
  std::string command;
  std::map<std::string, std::string> values;

  bool has(const std::string& name) const { return values.count(name) != 0; }
  std::string text(const std::string& name) const {
    auto found = values.find(name);
    return found == values.end() ? "" : found->second;
  }
  std::uint64_t number(const std::string& name, std::uint64_t fallback) const {
    const std::string value = text(name);
    std::uint64_t parsed = fallback;
    std::from_chars(value.data(), value.data() + value.size(), parsed);
    return parsed;
  }
};

int usage() {
  std::fputs(
      "usage: disk-reliability crash|faults|replay|fault|workloads [--option value]...\n"
      "       (the options stand at the top of disk/testing/reliability.cc)\n",
      stderr);
  return 2;
}

int failed(const std::string& why) {
  fmt::print("FAILED: {}\n", why);
  return 1;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<std::string> chosen_workloads(const Options& options) {
  if (options.has("workload")) return {options.text("workload")};
  return workload_names();
}

Result<WorkloadRun> run_chosen(EventLoop& loop, const Options& options) {
  VMM_TRY(Workload workload, make_workload(options.text("workload"), options.number("seed", 1)));
  return run_workload(loop, workload);
}

// Seeds from `seed` on, every workload with each, until there were enough states.
int crash(EventLoop& loop, const Options& options) {
  CrashSearchOptions search;
  search.max_choices = options.number("choices", search.max_choices);
  search.oracle_every = options.number("oracle-every", 0);
  search.command = options.text("argv0");
  const std::uint64_t wanted = options.number("states", 5000);
  const auto start = std::chrono::steady_clock::now();
  std::map<std::string, std::uint64_t> by_workload;
  CrashSearchResult sum;
  std::uint64_t nr_runs = 0;
  for (std::uint64_t seed = options.number("seed", 1); sum.states < wanted; ++seed) {
    for (const std::string& name : chosen_workloads(options)) {
      if (sum.states >= wanted) break;
      Result<Workload> workload = make_workload(name, seed);
      if (!workload) return failed(workload.error().message());
      set_last_words(fmt::format("workload {}, seed {}", name, seed));
      Result<WorkloadRun> run = run_workload(loop, *workload);
      if (!run) return failed(fmt::format("{}, seed {}: {}", name, seed, run.error().message()));
      ++nr_runs;
      if (!run->wrong.empty()) {
        return failed(fmt::format("{}, seed {}, without any crash: {}", name, seed, run->wrong));
      }
      // A part of them at most, so that every workload has its turn.
      search.max_states = std::min(wanted - sum.states, wanted / workload_names().size() + 1);
      const CrashSearchResult found = search_crashes(loop, *run, search);
      sum.cuts += found.cuts;
      sum.states += found.states;
      sum.repeated += found.repeated;
      sum.oracle += found.oracle;
      sum.leaky += found.leaky;
      sum.dirty += found.dirty;
      by_workload[name] += found.states;
      if (!found.failure.empty()) return failed(found.failure);
    }
  }
  fmt::print("crash states: {} different images from {} cuts in {} recordings, {:.1f} s\n",
             sum.states, sum.cuts, nr_runs, seconds_since(start));
  for (const auto& [name, states] : by_workload) fmt::print("  {:24} {}\n", name, states);
  fmt::print("  with leaked clusters (allowed): {}\n", sum.leaky);
  fmt::print("  marked dirty, repaired by opening: {}\n", sum.dirty);
  fmt::print("  judged by qemu-img check too: {}\n", sum.oracle);
  fmt::print("  corruptions: 0, flushed bytes lost: 0\n");
  return 0;
}

int faults(EventLoop& loop, const Options& options) {
  FaultOptions enumerate;
  enumerate.every = std::max<std::uint64_t>(options.number("every", 1), 1);
  enumerate.command = options.text("argv0");
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t first = options.number("seed", 1);
  FaultResult sum;
  for (std::uint64_t seed = first; seed < first + options.number("seeds", 1); ++seed) {
    for (const std::string& name : chosen_workloads(options)) {
      Result<Workload> workload = make_workload(name, seed);
      if (!workload) return failed(workload.error().message());
      FaultResult found = enumerate_faults(loop, *workload, enumerate);
      sum.runs += found.runs;
      sum.faults += found.faults;
      sum.failed_requests += found.failed_requests;
      sum.crashes += found.crashes;
      for (const auto& [use, count] : found.by_use) sum.by_use[use] += count;
      if (!found.failure.empty()) return failed(found.failure);
    }
  }
  fmt::print("faults: {} in {} runs, {} requests reported them, {:.1f} s\n", sum.faults, sum.runs,
             sum.failed_requests, seconds_since(start));
  for (const auto& [use, count] : sum.by_use) fmt::print("  {:24} {}\n", use, count);
  fmt::print("  crash states behind a fault: {}\n", sum.crashes);
  fmt::print("  corruptions: 0, wrong bytes: 0, hangs: 0\n");
  return 0;
}

int replay(EventLoop& loop, const Options& options) {
  Result<WorkloadRun> run = run_chosen(loop, options);
  if (!run) return failed(run.error().message());
  const std::string wrong = replay_crash(loop, *run, options.number("cut", 0),
                                         options.number("choice", 0), options.text("save"));
  if (!wrong.empty()) return failed(wrong);
  fmt::print("nothing is wrong\n");
  return 0;
}

int fault(EventLoop& loop, const Options& options) {
  Result<WorkloadRun> dry = run_chosen(loop, options);
  if (!dry) return failed(dry.error().message());
  FaultCase wanted;
  wanted.index = options.number("op", 0);
  wanted.from_then_on = options.has("from-then-on");
  for (Fault::Kind kind : {Fault::Kind::kNoSpace, Fault::Kind::kShortWrite}) {
    if (options.text("kind") == name_of(kind)) wanted.kind = kind;
  }
  for (int use = 0; use <= static_cast<int>(ClusterUse::kSnapshotTable); ++use) {
    if (options.text("use") == name_of(static_cast<ClusterUse>(use))) {
      wanted.use = static_cast<ClusterUse>(use);
    }
  }
  FaultResult result;
  const std::string wrong = run_fault(loop, *dry, wanted, result);
  if (!wrong.empty()) return failed(wrong);
  fmt::print("nothing is wrong; {} operations failed\n", result.faults);
  return 0;
}

int run(int argc, char** argv) {
  Options options;
  options.values["argv0"] = argv[0];
  if (argc < 2) return usage();
  options.command = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name.substr(0, 2) != "--") return usage();
    const bool has_value = i + 1 < argc && std::string_view(argv[i + 1]).substr(0, 2) != "--";
    options.values[std::string(name.substr(2))] = has_value ? argv[++i] : "";
  }
  Result<std::unique_ptr<EventLoop>> loop = EventLoop::create();
  if (!loop) return failed(loop.error().message());
  arm_last_words(kTimeLimit);
  log::set_level(log::Level::kError);  // faults make warnings
  if (options.command == "crash") return crash(**loop, options);
  if (options.command == "faults") return faults(**loop, options);
  if (options.command == "replay") return replay(**loop, options);
  if (options.command == "fault") return fault(**loop, options);
  if (options.command == "workloads") {
    for (const std::string& name : workload_names()) fmt::print("{}\n", name);
    return 0;
  }
  return usage();
}

}  // namespace
}  // namespace vmm::disk

int main(int argc, char** argv) {
  return vmm::disk::run(argc, argv);
}
