// SPDX-License-Identifier: Apache-2.0
#include "vmm/control_target.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "vmm/cli/disk_option.h"
#include "vmm/luggage.h"
#include "vmm/machine.h"
#include "vmm/machine_disk.h"
#include "vmm/machine_stat.h"

namespace vmm {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const VcpuStat& vcpu) {
  return {{"id", vcpu.id},
          {"state", vcpu.paused ? "paused" : "running"},
          {"cpu_time_ns", vcpu.counted.cpu_time_ns},
          {"exits",
           {{"port", vcpu.counted.port_exits},
            {"mmio", vcpu.counted.mmio_exits},
            {"other", vcpu.counted.other_exits}}}};
}

Json to_json(const disk::CacheStatistics& cache) {
  return {{"name", cache.name},           {"size", cache.size_bytes},
          {"hits", cache.hits},           {"misses", cache.misses},
          {"evictions", cache.evictions}, {"write_backs", cache.write_backs}};
}

Json to_json(const DiskStat& disk, std::size_t index) {
  Json json = {{"name", device_name(index)},
               {"file", disk.file},
               {"device", disk.file_id.device},
               {"inode", disk.file_id.inode},
               {"format", disk.format},
               {"size", disk.size},
               {"read_only", disk.read_only},
               {"reads", disk.requests.reads},
               {"read_bytes", disk.requests.read_bytes},
               {"writes", disk.requests.writes},
               {"written_bytes", disk.requests.written_bytes},
               {"flushes", disk.requests.flushes},
               {"discards", disk.requests.discards},
               {"failures", disk.requests.failures},
               {"read_ns", disk.requests.read_ns},
               {"write_ns", disk.requests.write_ns},
               {"flush_ns", disk.requests.flush_ns},
               {"waiting", disk.waiting},
               {"iops", disk.limits.operations},
               {"bw", disk.limits.bytes},
               {"caches", nullptr}};
  if (disk.caches) {
    json["caches"] = Json::array();
    for (const disk::CacheStatistics& cache : *disk.caches)
      json["caches"].push_back(to_json(cache));
  }
  return json;
}

Json to_json(const disk::qcow::Snapshot& snapshot) {
  return {{"id", snapshot.id},
          {"name", snapshot.name},
          {"date_seconds", snapshot.date_seconds},
          {"date_nanoseconds", snapshot.date_nanoseconds},
          {"vm_clock_ns", snapshot.vm_clock_nanoseconds},
          {"vm_state_size", snapshot.vm_state_size},
          {"instruction_count", snapshot.instruction_count},
          {"disk_size", snapshot.disk_size}};
}

// By tag; virtio 1.2, 5.5.6.3.
constexpr const char* kGuestMemory[virtio::BalloonStats::kNrTags] = {
    "swap_in", "swap_out",  "major_faults", "minor_faults",        "free",
    "total",   "available", "disk_caches",  "hugetlb_allocations", "hugetlb_failures"};

Json to_json(const virtio::BalloonStats& balloon) {
  Json json = {{"target", balloon.target_bytes},
               {"actual", balloon.actual_bytes},
               {"returned", balloon.returned_bytes},
               {"guest", Json::object()}};
  for (std::size_t tag = 0; tag < balloon.guest.size(); ++tag) {
    if (balloon.guest[tag]) json["guest"][kGuestMemory[tag]] = *balloon.guest[tag];
  }
  return json;
}

Json to_json(const virtio::VsockStats& vsock) {
  return {{"open", vsock.open},
          {"opened", vsock.opened},
          {"from_guest_bytes", vsock.from_guest_bytes},
          {"to_guest_bytes", vsock.to_guest_bytes}};
}

std::string hex(std::uint64_t value) {
  return fmt::format("{:#x}", value);
}

Json to_json(const kvm_segment& segment) {
  return {{"selector", hex(segment.selector)},
          {"base", hex(segment.base)},
          {"limit", hex(segment.limit)},
          {"type", segment.type},
          {"present", segment.present != 0},
          {"dpl", segment.dpl},
          {"db", segment.db},
          {"s", segment.s},
          {"l", segment.l},
          {"g", segment.g},
          {"avl", segment.avl}};
}

Json to_json(const kvm_regs& r) {
  return {{"rip", hex(r.rip)}, {"rflags", hex(r.rflags)}, {"rax", hex(r.rax)}, {"rbx", hex(r.rbx)},
          {"rcx", hex(r.rcx)}, {"rdx", hex(r.rdx)},       {"rsi", hex(r.rsi)}, {"rdi", hex(r.rdi)},
          {"rsp", hex(r.rsp)}, {"rbp", hex(r.rbp)},       {"r8", hex(r.r8)},   {"r9", hex(r.r9)},
          {"r10", hex(r.r10)}, {"r11", hex(r.r11)},       {"r12", hex(r.r12)}, {"r13", hex(r.r13)},
          {"r14", hex(r.r14)}, {"r15", hex(r.r15)}};
}

// In the order in which people are shown them.
Json control_registers(const kvm_sregs& s) {
  return {{"cr0", hex(s.cr0)},
          {"cr2", hex(s.cr2)},
          {"cr3", hex(s.cr3)},
          {"cr4", hex(s.cr4)},
          {"cr8", hex(s.cr8)},
          {"efer", hex(s.efer)},
          {"apic_base", hex(s.apic_base)}};
}

Json segments(const kvm_sregs& s) {
  return {{"cs", to_json(s.cs)}, {"ds", to_json(s.ds)},  {"es", to_json(s.es)},
          {"fs", to_json(s.fs)}, {"gs", to_json(s.gs)},  {"ss", to_json(s.ss)},
          {"tr", to_json(s.tr)}, {"ldt", to_json(s.ldt)}};
}

Json table(const kvm_dtable& table) {
  return {{"base", hex(table.base)}, {"limit", hex(table.limit)}};
}

}  // namespace

bool ControlTarget::paused() const {
  return machine_.paused();
}

void ControlTarget::press_power_button() {
  machine_.press_power_button();
}

void ControlTarget::end() {
  machine_.end();
}

bool ControlTarget::pause() {
  return machine_.pause();
}

void ControlTarget::resume() {
  machine_.resume();
}

Json ControlTarget::debug() {
  Json vcpus = Json::array();
  for (const std::optional<kvm::VcpuRegisters>& each : machine_.registers()) {
    Json vcpu = {{"id", vcpus.size()}, {"registers", nullptr}};
    if (each) {
      vcpu["registers"] = to_json(each->general);
      vcpu["control"] = control_registers(each->special);
      vcpu["segments"] = segments(each->special);
      vcpu["gdt"] = table(each->special.gdt);
      vcpu["idt"] = table(each->special.idt);
    }
    vcpus.push_back(std::move(vcpu));
  }
  return vcpus;
}

Result<void> ControlTarget::inflate(std::uint64_t bytes) {
  return machine_.inflate(bytes);
}

Result<void> ControlTarget::grow_disk(const std::string& disk, std::uint64_t size) {
  return machine_.grow_disk(disk, size);
}

Result<void> ControlTarget::limit_disk(const std::string& disk,
                                       std::optional<std::uint64_t> operations,
                                       std::optional<std::uint64_t> bytes) {
  return machine_.limit_disk(disk, operations, bytes);
}

Result<void> ControlTarget::change_snapshot(const std::string& disk, SnapshotChange change,
                                            const std::string& name) {
  VMM_TRY(MachineDisk * found, machine_.find_disk(disk));
  return change == SnapshotChange::kCreate ? found->create_snapshot(name)
                                           : found->delete_snapshot(name);
}

Result<Json> ControlTarget::snapshots(const std::string& disk) {
  VMM_TRY(MachineDisk * found, machine_.find_disk(disk));
  VMM_TRY(const std::vector<disk::qcow::Snapshot> snapshots, found->snapshots());
  Json json = Json::array();
  for (const disk::qcow::Snapshot& snapshot : snapshots) json.push_back(to_json(snapshot));
  return json;
}

Result<std::string> ControlTarget::attach_disk(const std::string& option,
                                               std::vector<control::GivenFile> files) {
  VMM_TRY(disk::DiskOptions options, cli::parse_disk_option(option));
  AttachedDisk disk;
  disk.option = option;
  disk.files = std::move(files);
  return machine_.attach_disk(std::move(options), std::move(disk));
}

std::size_t ControlTarget::type(std::span<const std::byte> bytes) {
  return machine_.input(bytes);
}

Result<void> ControlTarget::detach_disk(const std::string& disk) {
  VMM_TRY(MachineDisk * found, machine_.find_disk(disk));
  return found->eject();
}

Json ControlTarget::stat() {
  using std::chrono::milliseconds;
  const MachineStat stat = machine_.stat();
  const auto uptime = std::chrono::steady_clock::now() - started_;
  Json json = {{"uptime_ms", std::chrono::duration_cast<milliseconds>(uptime).count()},
               {"memory", stat.memory_bytes},
               {"vcpus", Json::array()},
               {"disks", Json::array()}};
  for (const VcpuStat& vcpu : stat.vcpus) json["vcpus"].push_back(to_json(vcpu));
  for (std::size_t i = 0; i < stat.disks.size(); ++i) {
    json["disks"].push_back(to_json(stat.disks[i], i));
  }
  if (stat.balloon) json["balloon"] = to_json(*stat.balloon);
  if (stat.vsock) json["vsock"] = to_json(*stat.vsock);
  return json;
}

}  // namespace vmm
