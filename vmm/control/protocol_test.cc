// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/protocol.h"

#include <nlohmann/json.hpp>

#include "vmm/control/testing/fake_target.h"
#include "vmm/core/testing/catch.h"

namespace vmm::control {
namespace {

using Json = nlohmann::ordered_json;
using testing::FakeTarget;

Json ask(std::string_view request, Target& target) {
  const std::string line = answer(request, target);
  REQUIRE_FALSE(line.empty());
  CHECK(line.back() == '\n');
  CHECK(line.find('\n') == line.size() - 1);
  return Json::parse(line);
}

TEST_CASE("greeting: names the program, the protocol, the machine and its state", "[control]") {
  FakeTarget target;
  CHECK(greeting("1.2", "web", target) ==
        R"({"vmm":"1.2","protocol":1,"name":"web","state":"running"})"
        "\n");
  target.is_paused = true;
  CHECK(Json::parse(greeting("1.2", "web", target))["state"] == "paused");
}

TEST_CASE("answer: each command does its work", "[control]") {
  FakeTarget target;
  CHECK(ask(R"({"command":"pause"})", target) == Json{{"ok", true}});
  CHECK(target.is_paused);
  CHECK(ask(R"({"command":"stat"})", target)["state"] == "paused");
  CHECK(ask(R"({"command":"stat"})", target)["stat"]["answer"] == 42);
  CHECK(ask(R"({"command":"resume"})", target)["ok"] == true);
  CHECK_FALSE(target.is_paused);
  CHECK(ask(R"({"command":"stop"})", target)["ok"] == true);
  CHECK(target.nr_presses == 1);
  CHECK(target.nr_ends == 0);
  CHECK(ask(R"({"command":"stop","force":true,"unknown":[1,2]})", target)["ok"] == true);
  CHECK(target.nr_presses == 1);
  CHECK(target.nr_ends == 1);
}

TEST_CASE("answer: a disk grows, and its limits change one by one", "[control]") {
  FakeTarget target;
  CHECK(ask(R"({"command":"resize","disk":"vda","size":1048576})", target) == Json{{"ok", true}});
  CHECK(target.size == 1048576);
  CHECK(ask(R"({"command":"limit","disk":"vda","iops":500})", target)["ok"] == true);
  CHECK(target.iops == 500);
  CHECK(target.bw == 8);
  CHECK(ask(R"({"command":"limit","disk":"vda","bw":0})", target)["ok"] == true);
  CHECK(target.iops == 500);
  CHECK(target.bw == 0);
  for (const char* bad :
       {R"({"command":"resize","disk":"vdb","size":1})", R"({"command":"resize","disk":"vda"})",
        R"({"command":"resize","size":1})", R"({"command":"resize","disk":"vda","size":-1})",
        R"({"command":"resize","disk":7,"size":1})",
        R"({"command":"resize","disk":"vda","size":"1M"})",
        R"({"command":"resize","disk":"vda","size":1.5})",
        R"({"command":"limit","disk":7,"iops":1})", R"({"command":"limit","disk":"vda","bw":"1M"})",
        R"({"command":"limit","disk":"vda","iops":1.5})"}) {
    CHECK(ask(bad, target)["ok"] == false);
  }
  CHECK(target.size == 1048576);
  CHECK(target.iops == 500);
}

TEST_CASE("answer: snapshots are made, listed and deleted, and not applied", "[control]") {
  FakeTarget target;
  for (const char* name : {"a", "b"}) {
    const Json request = {
        {"command", "snapshot"}, {"disk", "vda"}, {"action", "create"}, {"name", name}};
    CHECK(ask(request.dump(), target) == Json{{"ok", true}});
  }
  CHECK(ask(R"({"command":"snapshot","disk":"vda","action":"delete","name":"a"})", target) ==
        Json{{"ok", true}});
  CHECK(ask(R"({"command":"snapshot","disk":"vda","action":"list"})", target).dump() ==
        R"({"ok":true,"snapshots":["b"]})");
  for (const char* bad :
       {R"({"command":"snapshot","disk":"vda","action":"delete","name":"a"})",
        R"({"command":"snapshot","disk":"vdb","action":"create","name":"a"})",
        R"({"command":"snapshot","disk":"vda","action":"create","name":""})",
        R"({"command":"snapshot","disk":"vda","action":"create"})",
        R"({"command":"snapshot","disk":"vda","action":"create","name":7})",
        R"({"command":"snapshot","disk":"vda","action":"apply","name":"b"})",
        R"({"command":"snapshot","disk":"vda","action":"keep","name":"b"})",
        R"({"command":"snapshot","disk":"vda"})", R"({"command":"snapshot","action":"list"})"}) {
    CHECK(ask(bad, target)["ok"] == false);
  }
  CHECK(target.all_snapshots == std::vector<std::string>{"b"});
}

TEST_CASE("answer: debug gives the vCPUs' registers", "[control]") {
  FakeTarget target;
  CHECK(ask(R"({"command":"debug"})", target).dump() == R"({"ok":true,"vcpus":[{"id":0}]})");
}

TEST_CASE("answer: the balloon takes a size", "[control]") {
  FakeTarget target;
  CHECK(ask(R"({"command":"balloon","size":0})", target) == Json{{"ok", true}});
  CHECK(target.balloon == 0);
  CHECK(ask(R"({"command":"balloon"})", target)["ok"] == false);
  CHECK(ask(R"({"command":"balloon","size":"all"})", target)["ok"] == false);
}

TEST_CASE("answer: what cannot be done is said", "[control]") {
  FakeTarget target;
  target.is_paused = true;
  Json refused = ask(R"({"command":"stop"})", target);
  CHECK(refused["ok"] == false);
  CHECK(refused["error"].get<std::string>().find("paused") != std::string::npos);
  CHECK(target.nr_presses == 0);
  target.can_pause = false;
  CHECK(ask(R"({"command":"pause"})", target)["ok"] == false);
  CHECK(ask(R"({"command":"sing"})", target)["error"].get<std::string>().find("'sing'") !=
        std::string::npos);
}

TEST_CASE("answer: garbage is refused and does nothing", "[control][hostile]") {
  FakeTarget target;
  for (std::string_view request :
       {"", "stop", "{", "[]", "null", "\"stop\"", R"({"command":7})", R"({"command":["stop"]})",
        R"({"Command":"stop"})", "\xff\xfe{}", R"({"command":"stop"}{"command":"stop"})",
        R"({"command":"\ud800"})", "1e999999"}) {
    INFO(request);
    CHECK(ask(request, target)["ok"] == false);
  }
  CHECK(ask(std::string(4000, '['), target)["ok"] == false);
  CHECK(ask(R"({"command":"stop","force":"yes"})", target)["ok"] == true);  // not true: no force
  CHECK(target.nr_ends == 0);
  CHECK(target.nr_presses == 1);
  CHECK_FALSE(target.is_paused);
}

TEST_CASE("answer: a file name that is no UTF-8 is shown as far as it can be", "[control]") {
  FakeTarget target;
  target.file = "disk\xff.img";
  CHECK(ask(R"({"command":"stat"})", target)["stat"]["file"] == "disk\xef\xbf\xbd.img");
}

}  // namespace
}  // namespace vmm::control
