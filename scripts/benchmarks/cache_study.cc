// SPDX-License-Identifier: Apache-2.0
// Replays look-up traces against ways of caching L2 tables. Prints CSV; scripts/bench-l2-cache
// keeps it, and docs/l2-cache.md says what follows.
//
// cache_study TABLES REQUESTS SEED: TABLES is a file of 128 tables of 64 KiB (a 64 GiB image with
// 64 KiB clusters). A miss reads from that file, as an image's would be read, from the page cache;
// a hit reads nothing. What is timed (processor time) is the look-up with its misses, without
// the guest's own data.
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t kTable = 65536;  // bytes
constexpr std::uint64_t kTables = 128;
constexpr std::uint64_t kEntries = kTables * kTable / 8;  // one for each cluster of the guest's

struct Request {
  std::uint32_t entry;  // of the L2 tables as one array
  bool allocates;       // changes its entry
};
using Trace = std::vector<Request>;

struct Slot {
  std::uint64_t unit = ~std::uint64_t{0};
  bool dirty = false;
  std::uint64_t used = 0;  // for the array: when it was used last
  std::vector<std::uint64_t> entries;
};

// What differs: how a unit (a table or a slice) is found, and which one makes room.
class Index {
 public:
  virtual ~Index() = default;
  virtual Slot* find(std::uint64_t unit) = 0;
  virtual Slot& replace(
      std::uint64_t unit) = 0;  // the slot that `unit` gets; its old content is in it
};

// A tree or a hash for look-up, a list for eviction.
template <class Map>
class MapWithLru : public Index {
 public:
  explicit MapWithLru(std::size_t capacity) : capacity_(capacity) {}
  Slot* find(std::uint64_t unit) override {
    auto found = map_.find(unit);
    if (found == map_.end()) return nullptr;
    lru_.splice(lru_.end(), lru_, found->second);
    return &*found->second;
  }
  Slot& replace(std::uint64_t unit) override {
    if (lru_.size() < capacity_) {
      lru_.emplace_back();
    } else {
      map_.erase(lru_.front().unit);
      lru_.splice(lru_.end(), lru_, lru_.begin());
    }
    map_[unit] = std::prev(lru_.end());
    return lru_.back();
  }

 private:
  const std::size_t capacity_;
  std::list<Slot> lru_;
  Map map_;
};
using Iterator = std::list<Slot>::iterator;
using Tree = MapWithLru<std::map<std::uint64_t, Iterator>>;
using Hash = MapWithLru<std::unordered_map<std::uint64_t, Iterator>>;

// Every key is looked at; the one used least recently goes.
class Array : public Index {
 public:
  explicit Array(std::size_t capacity) : keys_(capacity, ~std::uint64_t{0}), slots_(capacity) {}
  Slot* find(std::uint64_t unit) override {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i] != unit) continue;
      slots_[i].used = ++now_;
      return &slots_[i];
    }
    return nullptr;
  }
  Slot& replace(std::uint64_t unit) override {
    std::size_t oldest = 0;
    for (std::size_t i = 1; i < slots_.size(); ++i) {
      if (slots_[i].used < slots_[oldest].used) oldest = i;
    }
    keys_[oldest] = unit;
    slots_[oldest].used = ++now_;
    return slots_[oldest];
  }

 private:
  std::vector<std::uint64_t> keys_;
  std::vector<Slot> slots_;
  std::uint64_t now_ = 0;
};

// One place for each unit, whatever is in it now.
class DirectMapped : public Index {
 public:
  explicit DirectMapped(std::size_t capacity) : slots_(capacity) {}
  Slot* find(std::uint64_t unit) override {
    Slot& slot = slots_[unit % slots_.size()];
    return slot.unit == unit ? &slot : nullptr;
  }
  Slot& replace(std::uint64_t unit) override { return slots_[unit % slots_.size()]; }

 private:
  std::vector<Slot> slots_;
};

struct Way {
  const char* structure;  // none, rbtree, hash, array, direct
  std::uint64_t unit;     // bytes
  std::uint64_t cache;    // bytes
  bool write_through;     // a change writes the whole unit at once, as the patch of 2011 did
};

struct Result {
  std::uint64_t hits = 0;
  std::uint64_t writes = 0;
  double ns = 0;  // of one request
};

// Of this thread, in the kernel too: what other processes do does not count.
double cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}

class Replay {
 public:
  Replay(int tables, const Way& way) : tables_(tables), way_(way), per_unit_(way.unit / 8) {
    const std::size_t capacity = way.cache / way.unit;
    const std::string structure = way.structure;
    if (structure == "rbtree") index_ = std::make_unique<Tree>(capacity);
    if (structure == "hash") index_ = std::make_unique<Hash>(capacity);
    if (structure == "array") index_ = std::make_unique<Array>(capacity);
    if (structure == "direct") index_ = std::make_unique<DirectMapped>(capacity);
  }

  // The first half fills the cache, the second is measured.
  Result run(const Trace& trace) {
    Result result;
    std::uint64_t sum = 0;
    double start = 0;
    const std::size_t half = trace.size() / 2;
    for (std::size_t i = 0; i < trace.size(); ++i) {
      if (i == half) {
        result = {};
        start = cpu_ns();
      }
      const Request& request = trace[i];
      const std::uint64_t unit = request.entry / per_unit_;
      Slot* slot = index_ ? index_->find(unit) : nullptr;
      result.hits += slot != nullptr;
      if (slot == nullptr) slot = &load(unit, result);
      sum += slot->entries[request.entry % per_unit_];
      if (request.allocates) change(*slot, request.entry, result);
    }
    result.ns = (cpu_ns() - start) / static_cast<double>(trace.size() - half);
    if (sum == 42) std::abort();  // so that the sum is needed
    return result;
  }

 private:
  Slot& load(std::uint64_t unit, Result& result) {
    Slot& slot = index_ ? index_->replace(unit) : single_;
    if (slot.dirty) store(slot, result);
    slot.unit = unit;
    slot.entries.resize(per_unit_);
    transfer(
        ::pread(tables_, slot.entries.data(), way_.unit, static_cast<off_t>(unit * way_.unit)));
    return slot;
  }
  void change(Slot& slot, std::uint64_t entry, Result& result) {
    slot.entries[entry % per_unit_] ^= 1;
    slot.dirty = true;
    if (way_.write_through || !index_) store(slot, result);
  }
  void store(Slot& slot, Result& result) {
    transfer(::pwrite(tables_, slot.entries.data(), way_.unit,
                      static_cast<off_t>(slot.unit * way_.unit)));
    slot.dirty = false;
    ++result.writes;
  }
  void transfer(ssize_t done) const {
    if (done == static_cast<ssize_t>(way_.unit)) return;
    std::perror("tables");
    std::exit(1);
  }

  const int tables_;
  const Way way_;
  const std::uint64_t per_unit_;
  std::unique_ptr<Index> index_;
  Slot single_;  // where nothing is cached
};

// Patterns. `write_percent` of the requests allocate.

Trace make_trace(const std::string& pattern, std::size_t nr_requests, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const bool writes = pattern == "seeks-writing";
  Trace trace(nr_requests);
  std::vector<double> zipf;  // cumulative, over slices of 512 entries in a shuffled order
  std::vector<std::uint32_t> place;
  if (pattern == "zipf") {
    const std::uint32_t nr_slices = kEntries / 512;
    double sum = 0;
    for (std::uint32_t i = 0; i < nr_slices; ++i) zipf.push_back(sum += 1.0 / (i + 1.0));
    for (std::uint32_t i = 0; i < nr_slices; ++i) place.push_back(i);
    for (std::uint32_t i = nr_slices; i > 1; --i) std::swap(place[i - 1], place[random() % i]);
  }
  for (std::size_t i = 0; i < nr_requests; ++i) {
    std::uint64_t entry = 0;
    if (pattern == "sequential") {
      entry = i / 16;  // 4 KiB requests, 16 to a cluster
    } else if (pattern == "random") {
      entry = random() % kEntries;
    } else if (pattern == "zipf") {
      const double x = std::uniform_real_distribution<double>(0, zipf.back())(random);
      const auto at = std::lower_bound(zipf.begin(), zipf.end(), x) - zipf.begin();
      entry = place[static_cast<std::size_t>(at)] * 512u + random() % 512;
    } else {  // seeks: as bonnie++ seeks, all over one file; it lies in 2 GiB here, 4 tables
      entry = random() % (4 * kTable / 8);
    }
    trace[i] = {static_cast<std::uint32_t>(entry), writes && random() % 10 == 0};
  }
  return trace;
}

void study(int tables, const char* pattern, const Trace& trace, const Way& way) {
  Result best;
  for (int round = 0; round < 3; ++round) {
    Replay replay(tables, way);
    const Result result = replay.run(trace);
    if (round == 0 || result.ns < best.ns) best = result;
  }
  std::printf("%s,%s,%s,%llu,%s,%.4f,%.1f,%llu\n", pattern, way.structure,
              way.unit == kTable ? "table" : "slice",
              static_cast<unsigned long long>(way.cache / kTable),
              way.write_through ? "through" : "back",
              static_cast<double>(best.hits) / static_cast<double>(trace.size() - trace.size() / 2),
              best.ns, static_cast<unsigned long long>(best.writes));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: cache-study TABLES REQUESTS SEED\n");
    return 2;
  }
  const int tables = ::open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (tables < 0 || ::ftruncate(tables, kTables * kTable) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  const std::vector<std::uint64_t> filled(kTable / 8, 1);
  for (std::uint64_t i = 0; i < kTables; ++i) {
    if (::pwrite(tables, filled.data(), kTable, static_cast<off_t>(i * kTable)) < 0) return 1;
  }
  std::printf("pattern,structure,unit,cache_tables,write,hit_rate,ns_per_request,writes\n");
  for (const char* pattern : {"sequential", "random", "zipf", "seeks", "seeks-writing"}) {
    const Trace trace = make_trace(pattern, std::strtoull(argv[2], nullptr, 10),
                                   std::strtoull(argv[3], nullptr, 10));
    for (std::uint64_t unit : {kTable, std::uint64_t{4096}}) {
      study(tables, pattern, trace, {"none", unit, 0, false});
      for (std::uint64_t size = 1; size <= kTables; size *= 2) {
        for (const char* structure : {"rbtree", "hash", "array", "direct"}) {
          study(tables, pattern, trace, {structure, unit, size * kTable, false});
        }
        if (unit == kTable) study(tables, pattern, trace, {"rbtree", unit, size * kTable, true});
      }
    }
  }
  return 0;
}
