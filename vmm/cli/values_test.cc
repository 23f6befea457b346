// SPDX-License-Identifier: Apache-2.0
// What users write on the command line: sizes, disks, escape keys.
#include <sched.h>

#include <string>
#include <vector>

#include "vmm/cli/cpu_option.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/escape.h"
#include "vmm/cli/memory_option.h"
#include "vmm/cli/net_option.h"
#include "vmm/cli/size.h"
#include "vmm/cli/stat.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::cli;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::string text_of(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("parse_size: numbers with and without suffixes", "[cli]") {
  constexpr std::uint64_t kMiB = 1 << 20;
  CHECK(*parse_size("512", kMiB, "--mem") == 512 * kMiB);
  CHECK(*parse_size("512", 1, "--size") == 512);
  CHECK(*parse_size("64k", kMiB, "--mem") == 64 << 10);
  CHECK(*parse_size("4G", kMiB, "--mem") == std::uint64_t{4} << 30);
  CHECK(*parse_size("1TiB", kMiB, "--mem") == std::uint64_t{1} << 40);
  CHECK(*parse_size("7MB", kMiB, "--mem") == 7 * kMiB);
  CHECK(*parse_size("100B", kMiB, "--mem") == 100);
  CHECK(*parse_size("0", kMiB, "--mem") == 0);
}

TEST_CASE("parse_size: what is no size is refused, with the flag's name", "[cli]") {
  for (const char* text : {"", "M", "-1", "1.5G", "12x", "12 M", "0x10", "iB", "5iB"}) {
    INFO(text);
    Result<std::uint64_t> size = parse_size(text, 1, "--mem");
    REQUIRE_FALSE(size);
    CHECK(contains(size.error().message(), "--mem: '" + std::string(text) + "'"));
  }
  for (const char* text : {"99999999999999999999", "18446744073709551615", "9999999999G"}) {
    CHECK(contains(parse_size(text, 1, "--mem").error().message(), "too large"));
  }
}

TEST_CASE("describe_stat: shows what the answer has, and survives what it lacks", "[cli]") {
  const std::string text = describe_stat("web", 12, R"({"ok":true,"state":"paused","stat":{
      "uptime_ms":1500,"memory":16777216,
      "vcpus":[{"id":0,"state":"paused","cpu_time_ns":2000000000,
                "exits":{"port":7,"mmio":8,"other":9}}],
      "disks":[{"name":"vda","file":"a\u001b[2J.img","format":"qcow2","size":1048576,
                "read_only":true,"reads":3,"read_bytes":1536,"writes":0,
                "caches":[{"name":"l2","size":65536,"hits":5,"misses":1,"evictions":2,
                           "write_backs":4}]}]}})");
  CHECK(text ==
        "web: paused, process 12, up 1.5 s, 16.0 MiB of memory\n"
        "vCPU 0: paused, 2.00 s of processor time; exits: 7 port, 8 MMIO, 9 other\n"
        "vda: a?[2J.img (qcow2, 1.0 MiB, read-only)\n"
        "  3 reads (1.5 KiB), 0 writes (0 B), 0 flushes, 0 discards, 0 failures\n"
        "  l2 cache of 64.0 KiB: 5 hits, 1 misses, 2 evictions, 4 write-backs\n");
  for (const char* answer : {"", "[]", "{}", R"({"stat":7})", R"({"stat":{"vcpus":3,"disks":"x"}})",
                             R"({"stat":{"vcpus":[1,null],"disks":[[],{"caches":true}]}})"}) {
    CHECK(describe_stat("web", 12, answer).starts_with("web: "));
  }
}

TEST_CASE("parse_disk_option: two commas are a comma of the file's name", "[cli]") {
  CHECK(parse_disk_option("a,,b.img")->path == "a,b.img");
  CHECK(parse_disk_option(",,")->path == ",");
  CHECK(parse_disk_option("a,,,,b")->path == "a,,b");
  disk::DiskOptions options = *parse_disk_option("a,,,ro,serial=1,,2,direct");
  CHECK(options.path == "a,");
  CHECK(options.read_only);
  CHECK(options.serial == "1,2");
  CHECK(options.direct);
  CHECK(contains(parse_disk_option("a,,ro,b").error().message(),
                 "--disk a,ro: there is no option 'b'"));
  CHECK(contains(parse_disk_option("a,").error().message(), "there is no option ''"));
  CHECK(contains(parse_disk_option(",ro").error().message(), "there is no file name"));
}

TEST_CASE("parse_disk_option: a file and its options", "[cli]") {
  disk::DiskOptions plain = *parse_disk_option("a b.qcow2");
  CHECK(plain.path == "a b.qcow2");
  CHECK_FALSE(plain.read_only);
  CHECK_FALSE(plain.format);
  disk::DiskOptions all = *parse_disk_option("x,ro,format=raw,direct");
  CHECK(all.path == "x");
  CHECK(all.read_only);
  CHECK(all.direct);
  CHECK(all.format == disk::Format::kRaw);
  CHECK(parse_disk_option("x,format=qcow2")->format == disk::Format::kQcow2);
  CHECK_FALSE(plain.no_follow);
  CHECK(parse_disk_option("x,nofollow")->no_follow);
}

TEST_CASE("parse_disk_option: every option arrives", "[cli]") {
  const disk::DiskOptions options = *parse_disk_option(
      "x,snapshot,cache=unsafe,discard=ignore,detect-zeroes=on,backing=off,l2-cache-size=2M,"
      "l2-cache-entry-size=512,refcount-cache-size=64K,serial=abc-1,"
      "werror=stop,iops=500,bw=20M");
  CHECK(options.temporary);
  CHECK(options.cache == disk::CacheMode::kUnsafe);
  CHECK_FALSE(options.discard);
  CHECK(options.detect_zeroes);
  CHECK(options.backing == disk::BackingPolicy::kRefuse);
  CHECK(options.l2_cache_size == 2 << 20);
  CHECK(options.l2_cache_entry_size == 512);
  CHECK(options.refcount_cache_size == 64 << 10);
  CHECK(options.serial == "abc-1");
  CHECK(options.write_errors == disk::WriteErrors::kWait);
  CHECK(options.max_operations == 500);
  CHECK(options.max_bytes == 20 << 20);
  CHECK(parse_disk_option("x")->backing == disk::BackingPolicy::kOpenIfTold);
  CHECK(parse_disk_option("x,backing=on")->backing == disk::BackingPolicy::kOpen);
  CHECK(parse_disk_option("x,cache=none")->cache == disk::CacheMode::kNone);
  CHECK(parse_disk_option("x")->write_errors == disk::WriteErrors::kWaitNoSpace);
  CHECK(parse_disk_option("x,werror=report")->write_errors == disk::WriteErrors::kReport);
  CHECK(parse_disk_option("x,queues=4")->nr_queues == 4);
  CHECK(parse_disk_option("x")->nr_queues == 0);
}

TEST_CASE("parse_memory_option: a size, and where the memory is", "[cli]") {
  MachineConfig config;
  REQUIRE(parse_memory_option("2G", config));
  CHECK(config.memory_bytes == std::uint64_t{2} << 30);
  CHECK_FALSE(config.memory_shared);
  REQUIRE(parse_memory_option("64,shared,file=/dev/shm/a,b", config));
  CHECK(config.memory_bytes == 64 << 20);
  CHECK(config.memory_shared);
  CHECK(config.memory_file == "/dev/shm/a,b");
  for (const char* bad : {"", "64,", "64,share", "64,file=", ",shared", "64,shared,"}) {
    const Result<void> refused = parse_memory_option(bad, config);
    INFO(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().starts_with("--mem"));
  }
}

TEST_CASE("parse_cpu_option: features can be taken from the host's", "[cli]") {
  CHECK(parse_cpu_option("host")->empty());
  CHECK(*parse_cpu_option("host,-avx2,-rdrand") == std::vector<std::string>{"avx2", "rdrand"});
  for (const char* bad : {"", "host,", "max", "host,avx2", "host,+avx2", "host,-", "host,-avx9",
                          "host,-lm", "host,,-avx2", "host,-avx2,"}) {
    const auto refused = parse_cpu_option(bad);
    INFO(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().starts_with("--cpu"));
  }
}

TEST_CASE("parse_pin_option: one processor of the host for each vCPU", "[cli]") {
  cpu_set_t allowed;
  REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  unsigned cpu = 0;
  while (!CPU_ISSET(cpu, &allowed)) ++cpu;
  const std::string one = std::to_string(cpu);
  CHECK(parse_pin_option("", 4)->empty());
  CHECK(*parse_pin_option(one, 1) == std::vector<unsigned>{cpu});
  // The same one twice is the user's affair.
  CHECK(*parse_pin_option(one + "," + one + "-" + one, 2) == std::vector<unsigned>{cpu, cpu});
  for (const std::string& bad :
       {one + "," + one, std::string("x"), std::string("3-1"), one + ",,", one + ",",
        std::string("8191"), std::string("99999999999"), "-" + one}) {
    const auto refused = parse_pin_option(bad, 1);
    INFO(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().starts_with("--pin"));
  }
}

TEST_CASE("parse_disk_option: unknown values name the option and what it takes", "[cli]") {
  const auto message = [](const char* text) {
    const auto options = parse_disk_option(text);
    return options ? std::string("accepted") : options.error().message();
  };
  CHECK(message("x,discard=on") == "--disk x: discard=on: expected one of unmap, ignore");
  CHECK(contains(message("x,cache=fast"), "writethrough"));
  CHECK(contains(message("x,detect-zeroes="), "detect-zeroes="));
  CHECK(contains(message("x,backing=maybe"), "auto, on, off"));
  CHECK(contains(message("x,werror=ignore"), "report, enospc, stop"));
  CHECK(contains(message("x,iops=1K"), "iops: '1K' is not a whole number"));
  CHECK(contains(message("x,iops=18446744073709551616"), "iops"));
  CHECK(contains(message("x,bw=fast"), "bw"));
  for (const char* text :
       {"x,queues=", "x,queues=0", "x,queues=65", "x,queues=2x", "x,queues=-1"}) {
    CHECK(contains(message(text), "from 1 to 64"));
  }
  CHECK(contains(message("x,l2-cache-size=many"), "l2-cache-size"));
  CHECK(contains(message("x,serial=123456789012345678901"), "20 bytes"));
  CHECK(contains(message("x,snapshot=on"), "no option 'snapshot=on'"));
}

TEST_CASE("parse_disk_option: unknown options and formats are named", "[cli]") {
  CHECK(contains(parse_disk_option("x,readonly").error().message(),
                 "--disk x: there is no option 'readonly'"));
  CHECK(contains(parse_disk_option("x,").error().message(), "there is no option ''"));
  CHECK(contains(parse_disk_option("x,format=vmdk").error().message(), "vmdk"));
  CHECK(contains(parse_disk_option("").error().message(), "no file name"));
  CHECK(contains(parse_disk_option(",ro").error().message(), "no file name"));
}

TEST_CASE("EscapeParser: what is typed goes to the guest", "[cli]") {
  EscapeParser parser;
  CHECK(text_of(parser.parse(bytes("ls -l\r")).for_guest) == "ls -l\r");
}

TEST_CASE("EscapeParser: Ctrl-a x quits, and nothing after it counts", "[cli]") {
  EscapeParser parser;
  auto parsed = parser.parse(bytes("ab\x01xcd"));
  CHECK(parsed.quit);
  CHECK(text_of(parsed.for_guest) == "ab");
}

TEST_CASE("EscapeParser: the two keys may come in two reads", "[cli]") {
  EscapeParser parser;
  auto first = parser.parse(bytes("\x01"));
  CHECK(first.for_guest.empty());
  CHECK_FALSE(first.quit);
  CHECK(parser.parse(bytes("x")).quit);
}

TEST_CASE("EscapeParser: Ctrl-a twice, or Ctrl-a a, is one Ctrl-a for the guest", "[cli]") {
  EscapeParser parser;
  CHECK(text_of(parser.parse(bytes("\x01\x01")).for_guest) == "\x01");
  CHECK(text_of(parser
                    .parse(bytes("\x01"
                                 "ax"))
                    .for_guest) == "\x01x");
  auto help = parser.parse(bytes("\x01?"));
  CHECK(help.help);
  CHECK(help.for_guest.empty());
}

TEST_CASE("--net: kinds, names and addresses", "[cli]") {
  using Kind = MachineConfig::Net::Kind;
  using Mac = std::array<std::uint8_t, 6>;
  CHECK(parse_net_option("none", "web")->kind == Kind::kNone);
  CHECK(parse_net_option("user", "web")->kind == Kind::kUser);
  CHECK(parse_net_option("mode=user", "web")->kind == Kind::kUser);
  CHECK(parse_net_option("user,socket=/run/a,,b", "web")->socket == "/run/a,b");
  CHECK(parse_net_option("tap", "web")->tap.empty());
  const MachineConfig::Net tap = *parse_net_option("tap=vm0,mac=02:aB:00:00:00:01", "web");
  CHECK(tap.kind == Kind::kTap);
  CHECK(tap.tap == "vm0");
  CHECK((tap.mac == Mac{0x02, 0xab, 0, 0, 0, 1}));
  const MachineConfig::Net kvmtool =
      *parse_net_option("mode=tap,tapif=vm0,guest_mac=02:00:00:00:00:01", "web");
  CHECK(kvmtool.tap == "vm0");
  CHECK((kvmtool.mac == Mac{0x02, 0, 0, 0, 0, 1}));
}

TEST_CASE("--net: ports of the host that lead to the guest are at 127.0.0.1 unless said otherwise",
          "[cli]") {
  const MachineConfig::Net net =
      *parse_net_option("user,tcp=8080:80,udp=53,tcp=0.0.0.0/8000-8010,tcp=::1/22:2222", "web");
  CHECK((net.tcp ==
         std::vector<std::string>{"127.0.0.1/8080:80", "0.0.0.0/8000-8010", "::1/22:2222"}));
  CHECK(net.udp == std::vector<std::string>{"127.0.0.1/53"});
}

TEST_CASE("--net: the address comes from the machine's name", "[cli]") {
  const auto mac = parse_net_option("user", "web")->mac;
  CHECK(mac[0] == 0x02);
  CHECK(mac == parse_net_option("user", "web")->mac);
  CHECK(mac != parse_net_option("user", "web2")->mac);
}

TEST_CASE("--net: what makes no sense is refused, with the flag's name", "[cli]") {
  for (const char* text : {"",
                           "bridge",
                           "tap=",
                           "user,",
                           "user,ip=1",
                           "user,mac=",
                           "user,mac=02:00:00:00:00",
                           "user,mac=02:00:00:00:00:0g",
                           "user,mac=02-00-00-00-00-01",
                           "user,mac=01:00:00:00:00:01",
                           "user,mac=00:00:00:00:00:00",
                           "user,mac=02:00:00:00:00:011",
                           "user,mac=+2:00:00:00:00:01",
                           "user,socket=",
                           "user,socket=/a,tcp=80",
                           "tap,socket=/a",
                           "tap=a/b",
                           "tap=vm%d",
                           "tap=sixteen-letters-",
                           "tap,tapif=..",
                           "user,tcp=",
                           "user,tcp=0",
                           "user,tcp=65536",
                           "user,tcp=80:",
                           "user,tcp=all",
                           "user,tcp=9-8",
                           "user,tcp=localhost/80",
                           "user,tcp=80,--runas",
                           "user,tapif=vm0",
                           "tap,tcp=80",
                           "none,udp=53",
                           "tap,tapif="}) {
    INFO(text);
    const auto net = parse_net_option(text, "web");
    REQUIRE(!net);
    CHECK(contains(net.error().message(), "--net"));
  }
}
