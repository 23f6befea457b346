// SPDX-License-Identifier: Apache-2.0
#include "vmm/confine_io.h"

#include "vmm/io/io_thread.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm {
namespace {

Task<Result<void>> confine(EventLoop& loop, const sandbox::SandboxConfig& config) {
  bool on_ring = loop.prepare_to_confine();
  co_return sandbox::confine_thread(
      config, on_ring ? sandbox::ThreadKind::kIoRing : sandbox::ThreadKind::kIoPool);
}

// For a thread of one kind, whatever its loop is on.
Task<Result<void>> confine_as(EventLoop& loop, const sandbox::SandboxConfig& config,
                              sandbox::ThreadKind kind) {
  loop.prepare_to_confine();
  co_return sandbox::confine_thread(config, kind);
}

}  // namespace

Result<void> confine_io(IoThread& thread, const sandbox::SandboxConfig& config) {
  return thread.call([&] { return confine(thread.loop(), config); });
}

Result<void> confine_vhost_user(IoThread& thread, const sandbox::SandboxConfig& config) {
  return thread.call(
      [&] { return confine_as(thread.loop(), config, sandbox::ThreadKind::kVhostUser); });
}

Result<void> confine_vsock(IoThread& thread, const sandbox::SandboxConfig& config) {
  return thread.call(
      [&] { return confine_as(thread.loop(), config, sandbox::ThreadKind::kVsock); });
}

Result<void> confine_vhost(IoThread& thread, const sandbox::SandboxConfig& config) {
  return thread.call(
      [&] { return confine_as(thread.loop(), config, sandbox::ThreadKind::kVhost); });
}

}  // namespace vmm
