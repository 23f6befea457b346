// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/bench_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <random>

#include "disk/qcow/qcow_disk.h"
#include "vmm/tools/bench.h"
#include "vmm/tools/json.h"
#include "vmm/tools/opened_image.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

Result<std::uint64_t> number_in(const std::string& text, std::uint64_t fallback, std::uint64_t max,
                                const char* what) {
  if (text.empty()) return fallback;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) {
    return fail(ErrorKind::kInvalid, fmt::format("Invalid {} specified", what));
  }
  return value;
}

Result<std::uint64_t> size_in(const std::string& text, std::uint64_t fallback, std::uint64_t max,
                              const char* what) {
  if (text.empty()) return fallback;
  const Result<std::uint64_t> size = parse_size(text);
  if (!size || *size > max) {
    return fail(ErrorKind::kInvalid,
                fmt::format("Invalid {} specified: '{}' is not a size of at most {} bytes", what,
                            text, max));
  }
  return *size;
}

Result<int> pattern_in(const std::string& text) {
  if (text.empty()) return 0;
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 0);
  if (*end != '\0' || value < 0 || value > 255) {
    return fail(ErrorKind::kInvalid, "Invalid pattern byte specified");
  }
  return static_cast<int>(value);
}

constexpr std::uint64_t kMaxInt = std::numeric_limits<std::int32_t>::max();

Result<BenchConfig> bench_config(const BenchToolConfig& words, bool json) {
  BenchConfig config;
  VMM_TRY(config.nr_requests, number_in(words.count, 75000, kMaxInt, "request count"));
  VMM_TRY(const std::uint64_t depth, number_in(words.depth, 64, kMaxInt, "queue depth"));
  if (depth == 0) return fail(ErrorKind::kInvalid, "Invalid queue depth specified");
  config.depth = static_cast<std::uint32_t>(depth);
  VMM_TRY(config.buffer_size, size_in(words.buffer_size, 4096, kMaxInt, "buffer size"));
  if (config.buffer_size == 0) return fail(ErrorKind::kInvalid, "Invalid buffer size specified");
  VMM_TRY(config.step, size_in(words.step, 0, kMaxInt, "step size"));
  VMM_TRY(config.offset,
          size_in(words.offset, 0, std::numeric_limits<std::int64_t>::max(), "offset"));
  VMM_TRY(config.pattern, pattern_in(words.pattern));
  VMM_TRY(config.flush_interval, number_in(words.flush_interval, 0, kMaxInt, "flush interval"));
  config.write = words.write;
  config.drain = !words.no_drain;
  config.latencies = json || words.latency;
  if (config.flush_interval != 0 && !config.write) {
    return fail(ErrorKind::kInvalid, "--flush-interval is only available in write tests");
  }
  if (config.flush_interval != 0 && config.flush_interval < depth) {
    return fail(ErrorKind::kInvalid, "Flush interval can't be smaller than depth");
  }
  if (words.random) {
    const auto seed = words.random_seed.empty() ? std::random_device{}() : 0;
    VMM_TRY(config.random_seed,
            number_in(words.random_seed, seed, std::numeric_limits<std::uint64_t>::max(), "seed"));
  }
  return config;
}

Result<ImageOptions> image_options(const BenchToolConfig& words) {
  ImageOptions image = words.image;
  image.read_only = !words.write;
  if (!words.cache.empty()) {
    const auto mode = parse_cache_mode(words.cache);
    if (!mode) return fail(ErrorKind::kInvalid, "Invalid cache mode");
    image.cache = *mode;
  }
  if (!words.aio.empty() && !is_aio_mode(words.aio)) {
    return fail(ErrorKind::kInvalid, fmt::format("Invalid aio option: {}", words.aio));
  }
  VMM_CHECK(parse_driver_options(words.driver_options, image));
  return image;
}

void announce(const Console& console, const BenchConfig& config) {
  const std::uint64_t step = config.step == 0 ? config.buffer_size : config.step;
  if (config.random_seed) {
    fmt::print(console.out,
               "Sending {} {} requests, {} bytes each, {} in parallel (at random multiples of {} "
               "from offset {}, seed {})\n",
               config.nr_requests, config.write ? "write" : "read", config.buffer_size,
               config.depth, step, config.offset, *config.random_seed);
  } else {
    fmt::print(console.out,
               "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step "
               "size {})\n",
               config.nr_requests, config.write ? "write" : "read", config.buffer_size,
               config.depth, config.offset, step);
  }
  if (config.flush_interval != 0) {
    fmt::print(console.out, "Sending flush every {} requests\n", config.flush_interval);
  }
  std::fflush(console.out);
}

constexpr std::array<std::pair<const char*, double>, 6> kPercentiles = {{{"p50", 0.5},
                                                                         {"p90", 0.9},
                                                                         {"p95", 0.95},
                                                                         {"p99", 0.99},
                                                                         {"p99.9", 0.999},
                                                                         {"p99.99", 0.9999}}};

void print_human(const Console& console, const BenchResult& result, bool latency) {
  fmt::print(console.out, "Run completed in {:.3f} seconds.\n", result.seconds);
  if (!latency) return;
  const Histogram& times = result.latencies;
  fmt::print(console.out, "Latency in us: min {:.1f}, mean {:.1f}",
             static_cast<double>(times.min()) / 1e3, times.mean() / 1e3);
  for (const auto& [name, fraction] : kPercentiles) {
    fmt::print(console.out, ", {} {:.1f}", name,
               static_cast<double>(times.percentile(fraction)) / 1e3);
  }
  fmt::print(console.out, ", max {:.1f}\n", static_cast<double>(times.max()) / 1e3);
}

Json cache_json(const disk::qcow::CacheStats& stats) {
  Json json = Json::object();
  json.add("hits", stats.hits).add("misses", stats.misses);
  json.add("evictions", stats.evictions).add("write-backs", stats.write_backs);
  return json;
}

void print_json(const Console& console, const BenchConfig& config, const BenchResult& result,
                OpenedImage& image) {
  const double seconds = std::max(result.seconds, 1e-9);
  const auto nr_requests = static_cast<double>(config.nr_requests);
  const double bytes = nr_requests * static_cast<double>(config.buffer_size);
  Json latency = Json::object();
  latency.add("min", result.latencies.min()).add("mean", result.latencies.mean());
  for (const auto& [name, fraction] : kPercentiles) {
    latency.add(name, result.latencies.percentile(fraction));
  }
  latency.add("max", result.latencies.max());
  Json json = Json::object();
  json.add("filename", image.options().path)
      .add("format", image.disk().format())
      .add("operation", config.write ? "write" : "read")
      .add("requests", config.nr_requests)
      .add("depth", config.depth)
      .add("buffer-size", config.buffer_size)
      .add("step-size", config.step == 0 ? config.buffer_size : config.step)
      .add("offset", config.offset)
      .add("seconds", result.seconds)
      .add("iops", nr_requests / seconds)
      .add("mib-per-second", bytes / seconds / 0x1p20)
      .add("latency-ns", std::move(latency));
  if (config.random_seed) json.add("seed", *config.random_seed);
  if (auto* qcow = image.qcow2()) {
    const disk::qcow::Statistics statistics = qcow->statistics();
    Json cache = cache_json(statistics.l2);
    cache.add("bytes", statistics.l2_cache_bytes).add("entry-bytes", statistics.l2_slice_bytes);
    json.add("l2-cache", std::move(cache)).add("refcount-cache", cache_json(statistics.refcounts));
  }
  fmt::print(console.out, "{}\n", json.dump());
}

Result<void> run(const BenchToolConfig& words, const Console& console) {
  if (words.output != "" && words.output != "human" && words.output != "json") {
    return fail(ErrorKind::kInvalid, "--output must be used with human or json as argument.");
  }
  const bool json = words.output == "json";
  VMM_TRY(const BenchConfig config, bench_config(words, json));
  VMM_TRY(ImageOptions options, image_options(words));
  VMM_TRY(const auto loop, EventLoop::create());
  VMM_TRY(const auto image, loop->run_until(OpenedImage::open(*loop, std::move(options))));
  if (!json) announce(console, config);
  Result<std::unique_ptr<BenchResult>> result = loop->run_until(run_bench(image->disk(), config));
  if (result && json) print_json(console, config, **result, *image);
  if (result && !json) print_human(console, **result, words.latency);
  const Result<void> closed = loop->run_until(image->disk().close());
  if (!result) return Unexpected(std::move(result).error().with_context("Failed request"));
  return closed;
}

}  // namespace

int run_bench_tool(const BenchToolConfig& config, const Console& console) {
  const Result<void> result = run(config, console);
  if (result) return 0;
  console.error(result.error());
  return 1;
}

}  // namespace vmm::tools
