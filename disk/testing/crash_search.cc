// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/crash_search.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <unordered_set>

#include "disk/testing/last_words.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk {
namespace {

std::uint64_t hash_of(const std::vector<std::byte>& image, std::uint64_t seed) {
  std::uint64_t hash = seed ^ image.size();
  std::size_t at = 0;
  for (; at + 8 <= image.size(); at += 8) {
    hash = (hash ^ load_le<std::uint64_t>(image.data() + at)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  for (; at < image.size(); ++at) {
    hash = (hash ^ std::to_integer<std::uint64_t>(image[at])) * 0x9e3779b97f4a7c15;
  }
  return hash ^ hash >> 32;
}

Result<void> save(const std::vector<std::byte>& image, const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return fail_errno(errno, path);
  const std::size_t written = std::fwrite(image.data(), 1, image.size(), file);
  if (std::fclose(file) != 0 || written != image.size()) return fail_errno(errno, path);
  return {};
}

std::string replay_command(const CrashSearchOptions& options, const WorkloadRun& run,
                           std::uint64_t cut, std::uint64_t choice) {
  return fmt::format("{} replay --workload {} --seed {} --cut {} --choice {}", options.command,
                     run.workload.name, run.workload.seed, cut, choice);
}

// At most `count` choices of the present cut: the fixed ones, or some of them, and random ones.
std::vector<std::uint64_t> choices(const CrashStates& states, std::uint64_t count,
                                   std::uint64_t seed) {
  if (states.nr_pending() == 0) return {0};
  const std::uint64_t nr_fixed = states.nr_fixed_choices();
  std::vector<std::uint64_t> chosen;
  if (nr_fixed <= count) {
    const std::uint64_t all = std::min(count, nr_fixed + count / 2);
    for (std::uint64_t choice = 0; choice < all; ++choice) chosen.push_back(choice);
    return chosen;
  }
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i < count; ++i) {
    chosen.push_back(i % 2 == 0 ? random() % nr_fixed : nr_fixed + random() % 1000);
  }
  return chosen;
}

}  // namespace

Result<std::string> ask_qemu(const CrashState& state, const WorkloadRun& run,
                             std::uint64_t moment) {
  char folder[] = "/tmp/crash-state-XXXXXX";
  if (mkdtemp(folder) == nullptr) return fail_errno(errno, "a temporary folder for qemu-img");
  const std::string path = std::string(folder) + "/image";
  const std::string data = std::string(folder) + "/" + run.workload.format.data_file;
  Result<void> saved = save(state.image, path);
  if (saved && !run.workload.format.data_file.empty()) saved = save(state.data, data);
  for (const auto& [name, versions] : run.backings) {
    const std::vector<std::byte>* bytes = run.backing_at(name, moment);
    if (saved && bytes != nullptr) saved = save(*bytes, std::string(folder) + "/" + name);
  }
  std::string said;
  int code = 0;
  if (saved) {
    const std::string command = fmt::format("timeout 60 qemu-img check -f qcow2 {} 2>&1", path);
    std::FILE* pipe = popen(command.c_str(), "r");
    char line[512];
    while (pipe != nullptr && std::fgets(line, sizeof line, pipe) != nullptr) said += line;
    const int status = pipe != nullptr ? pclose(pipe) : -1;
    code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  unlink(path.c_str());
  unlink(data.c_str());
  for (const auto& [name, versions] : run.backings) {
    unlink((std::string(folder) + "/" + name).c_str());
  }
  rmdir(folder);
  if (!saved) return Unexpected(std::move(saved).error());
  // 0: nothing; 2: corruptions; 3: leaks only; others: it could not run.
  if (code == 0 || code == 3) return std::string();
  if (code == 127) return fail(ErrorKind::kNotFound, "qemu-img is not installed");
  return said.empty() ? fmt::format("qemu-img check ended with {}", code) : said;
}

CrashSearchResult search_crashes(EventLoop& loop, const WorkloadRun& run,
                                 const CrashSearchOptions& options) {
  CrashSearchResult result;
  CrashStates states(run);
  std::unordered_set<std::uint64_t> seen;
  for (std::uint64_t cut = 0; cut < states.nr_cuts() && result.states < options.max_states; ++cut) {
    states.advance_to(cut);
    ++result.cuts;
    const std::uint64_t moment = states.moment(cut);
    const std::uint64_t covered = run.model.covered(moment);
    // What is left of the states goes to the cuts that are left.
    const std::uint64_t share = (options.max_states - result.states) / (states.nr_cuts() - cut) + 1;
    for (const std::uint64_t choice : choices(states, std::min(share, options.max_choices), cut)) {
      const CrashState state = states.state(choice);
      const std::vector<std::byte>& image = state.image;
      if (!seen.insert(hash_of(image, hash_of(state.data, covered))).second) {
        ++result.repeated;
        continue;
      }
      const std::string command = replay_command(options, run, cut, choice);
      set_last_words(command);
      ++result.states;
      const bool use = options.use_every != 0 && result.states % options.use_every == 0;
      CrashVerdict verdict = judge_crash(loop, run, state, moment, use);
      if (verdict.leaks > 0) ++result.leaky;
      if (verdict.dirty) ++result.dirty;
      // qemu-img calls an image corrupt that says itself that it is dirty, or where version 2
      // leaks.
      if (verdict.wrong.empty() && !verdict.dirty && verdict.copied_leaks == 0 &&
          options.oracle_every != 0 && result.states % options.oracle_every == 0) {
        Result<std::string> said = ask_qemu(state, run, moment);
        ++result.oracle;
        verdict.wrong = said ? *said : said.error().message();
      }
      if (!verdict.wrong.empty()) {
        result.failure =
            fmt::format("{}\nreplay: {}\n{}", verdict.wrong, command, states.describe(choice));
        return result;
      }
    }
  }
  return result;
}

std::string replay_crash(EventLoop& loop, const WorkloadRun& run, std::uint64_t cut,
                         std::uint64_t choice, const std::string& save_as) {
  CrashStates states(run);
  if (cut >= states.nr_cuts()) return fmt::format("there are {} cuts", states.nr_cuts());
  for (std::uint64_t at = 0; at <= cut; ++at) states.advance_to(at);
  const CrashState state = states.state(choice);
  if (!save_as.empty()) {
    Result<void> saved = save(state.image, save_as);
    if (!saved) return saved.error().message();
  }
  for (bool use : {false, true}) {
    CrashVerdict verdict = judge_crash(loop, run, state, states.moment(cut), use);
    if (!verdict.wrong.empty()) return verdict.wrong + "\n" + states.describe(choice);
  }
  Result<std::string> said = ask_qemu(state, run, states.moment(cut));
  return said ? *said : std::string();
}

}  // namespace vmm::disk
