// SPDX-License-Identifier: Apache-2.0
// Many requests at once against an array of bytes that says what may be there.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "disk/file_storage.h"
#include "disk/testing/qcow_fixture.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kBlock = 512;

// What each 512-byte block may hold. A change takes effect at some moment between its begin and its
// end; so a value is gone when a change ends that began after the value's own change had ended. A
// read may see whatever was possible at any moment while it was under way.
class Model {
 public:
  explicit Model(std::uint64_t nr_blocks) : blocks_(nr_blocks) {}

  std::uint64_t now() { return ++time_; }

  // Changes `count` blocks to `value` (0 stands for zeros). Gives the moment it began.
  std::uint64_t begin(std::uint64_t first, std::uint64_t count, std::uint64_t value) {
    const std::uint64_t began = now();
    for (std::uint64_t i = first; i < first + count; ++i) {
      blocks_[i].push_back({value, began, kNever, kNever});
    }
    return began;
  }
  // `advice`: it may have done nothing.
  void end(std::uint64_t first, std::uint64_t count, std::uint64_t began, bool advice) {
    const std::uint64_t ended = now();
    for (std::uint64_t i = first; i < first + count; ++i) {
      for (Value& value : blocks_[i]) {
        if (value.began == began) {
          value.ended = ended;
        } else if (!advice && value.gone == kNever && value.ended < began) {
          value.gone = ended;
        }
      }
    }
  }
  // Whether a read that began at `since` and ends now may have seen this.
  bool allows(std::uint64_t block, std::uint64_t seen, std::uint64_t since) const {
    for (const Value& value : blocks_[block]) {
      if (value.value == seen && value.gone > since) return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  struct Value {
    std::uint64_t value;
    std::uint64_t began;
    std::uint64_t ended;
    std::uint64_t gone;
  };
  struct History : std::vector<Value> {
    History() : std::vector<Value>{{0, 0, 0, kNever}} {}
  };

  std::vector<History> blocks_;
  std::uint64_t time_ = 0;
};

struct Run {
  QcowFixture& image;
  Model& model;
  std::uint64_t nr_blocks;
  std::uint64_t nr_wrong = 0;
  std::string wrong;
};

void note(Run& run, std::string what) {
  if (run.nr_wrong++ == 0) run.wrong = std::move(what);
}

void check_blocks(Run& run, std::uint64_t first, const std::vector<std::uint64_t>& words,
                  std::uint64_t since) {
  constexpr std::uint64_t kWords = kBlock / 8;
  for (std::uint64_t block = 0; block < words.size() / kWords; ++block) {
    const std::uint64_t value = words[block * kWords];
    for (std::uint64_t word = 1; word < kWords; ++word) {
      if (words[block * kWords + word] != value) {
        note(run, "block " + std::to_string(first + block) + " is torn");
        return;
      }
    }
    if (!run.model.allows(first + block, value, since)) {
      note(run, "block " + std::to_string(first + block) + " holds " + std::to_string(value));
    }
  }
}

Task<void> one_worker(Run& run, std::uint64_t seed, int nr_requests) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < nr_requests; ++i) {
    // Often the same few clusters, so that requests meet.
    const std::uint64_t span =
        random() % 4 == 0 ? run.nr_blocks : std::min<std::uint64_t>(run.nr_blocks, 600);
    const std::uint64_t first = random() % span;
    const std::uint64_t count =
        1 + random() % std::min<std::uint64_t>(span - first, random() % 8 == 0 ? 400 : 40);
    const std::uint64_t offset = first * kBlock;
    const std::uint64_t length = count * kBlock;
    const unsigned kind = static_cast<unsigned>(random() % 16);
    if (kind < 6) {
      const std::uint64_t value = seed << 32 | static_cast<std::uint64_t>(i + 1);
      std::vector<std::uint64_t> words(length / 8, value);
      // In two buffers, split anywhere.
      const std::size_t cut = random() % length;
      auto* bytes = reinterpret_cast<std::byte*>(words.data());
      const std::vector<iovec> iov{{bytes, cut}, {bytes + cut, length - cut}};
      const std::uint64_t id = run.model.begin(first, count, value);
      Result<void> done = co_await run.image.disk->writev(offset, iov);
      if (!done) note(run, done.error().message());
      run.model.end(first, count, id, false);
    } else if (kind < 11) {
      std::vector<std::uint64_t> words(length / 8, ~std::uint64_t{0});
      iovec iov{words.data(), length};
      const std::uint64_t since = run.model.now();
      Result<void> done = co_await run.image.disk->readv(offset, IoVec(&iov, 1));
      if (!done) note(run, done.error().message());
      check_blocks(run, first, words, since);
    } else if (kind < 13) {
      const std::uint64_t id = run.model.begin(first, count, 0);
      Result<void> done = co_await run.image.disk->discard(offset, length);
      if (!done) note(run, done.error().message());
      run.model.end(first, count, id, true);
    } else if (kind < 15) {
      const std::uint64_t id = run.model.begin(first, count, 0);
      Result<void> done = co_await run.image.disk->write_zeroes(
          offset, length, random() % 2 == 0 ? ZeroMode::kMayUnmap : ZeroMode::kKeepAllocated);
      if (!done) note(run, done.error().message());
      run.model.end(first, count, id, false);
    } else {
      Result<void> done = co_await run.image.disk->flush();
      if (!done) note(run, done.error().message());
    }
  }
}

// Returns what went wrong first, or nothing.
std::string run_model(QcowFixture& image, const FormatOptions& format, const QcowOptions& options,
                      std::uint64_t seed, int nr_requests) {
  image.format(format);
  const std::uint64_t nr_blocks = format.size / kBlock;
  Model model(nr_blocks);
  Run run{image, model, nr_blocks, 0, ""};
  for (int session = 0; session < 2; ++session) {
    image.open(options);
    Gate gate(*image.loop);
    for (std::uint64_t worker = 0; worker < 12; ++worker) {
      spawn(gate,
            one_worker(run, seed * 1000 + static_cast<std::uint64_t>(session) * 100 + worker + 1,
                       nr_requests));
    }
    image.loop->run_until(gate.close());
    image.close();
  }
  image.open({.read_only = true});
  std::vector<std::uint64_t> words(format.size / 8);
  iovec iov{words.data(), format.size};
  QcowFixture::require(image.loop->run_until(image.disk->readv(0, IoVec(&iov, 1))));
  check_blocks(run, 0, words, model.now());
  image.close();
  return run.wrong;
}

TEST_CASE("QcowDisk: every byte is what one of the overlapping requests left it", "[qcow][model]") {
  // Other rounds, other seeds, for who looks longer.
  const char* round = std::getenv("VMM_MODEL_SEED");
  const std::uint64_t first = 1 + (round == nullptr ? 0 : std::strtoull(round, nullptr, 10)) * 12;
  for (std::uint64_t seed = first; seed < first + 12; ++seed) {
    FormatOptions format;
    format.size = seed % 3 == 0 ? 4 << 20 : 1 << 20;
    format.version = seed % 4 == 0 ? 2 : 3;
    format.cluster_size = std::uint64_t{512} << (seed * 5 % 9);
    format.refcount_bits = format.version == 2 ? 16 : 1u << (seed % 7);
    format.extended_l2 = format.version == 3 && format.cluster_size >= 16384;
    QcowOptions options;
    options.l2_cache_size = seed % 2 == 0 ? 512 : 0;
    options.l2_cache_entry_size = seed % 2 == 0 ? 512 : 0;
    options.refcount_cache_size = 1;
    options.detect_zeroes = seed % 5 == 0;
    CAPTURE(seed, format.version, format.cluster_size, format.refcount_bits);
    QcowFixture image(5, seed);
    CHECK(run_model(image, format, options, seed, 60) == "");
  }
}

// Clusters smaller than the blocks that the file takes: writes to one meet those to another.
void run_on_blocks(const std::string& path, const FileOptions& file_options) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    FormatOptions format;
    format.size = 1 << 20;
    format.cluster_size = std::uint64_t{512} << (seed % 4);
    QcowOptions options;
    options.l2_cache_size = seed % 2 == 0 ? 512 : 0;
    options.l2_cache_entry_size = 512;
    options.refcount_cache_size = 1;
    options.detect_zeroes = seed % 5 == 0;
    CAPTURE(seed, format.cluster_size);
    QcowFixture image(0, seed);
    image.make_storage = [&](bool read_only) {
      FileOptions now = file_options;
      now.read_only = read_only;
      Result<std::unique_ptr<FileStorage>> file = FileStorage::open(*image.loop, path, now);
      QcowFixture::require(file);
      return *std::move(file);
    };
    CHECK(run_model(image, format, options, seed, 60) == "");
  }
}

TEST_CASE("QcowDisk: the same where the file takes only blocks larger than clusters",
          "[qcow][model]") {
  char path[] = "/tmp/vmm-blocks-XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  REQUIRE(fd);
  FileOptions options;
  options.block_size = 4096;
  run_on_blocks(path, options);
  ::unlink(path);
}

}  // namespace
}  // namespace vmm::disk::qcow
