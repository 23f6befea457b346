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

Task<Result<void>> confine_as(EventLoop& loop, const sandbox::SandboxConfig& config,
                              sandbox::ThreadKind kind) {
  loop.prepare_to_confine();
  co_return sandbox::confine_thread(config, kind);
}

}  // namespace

Result<void> confine_io(IoThread& thread, const sandbox::SandboxConfig& config) {
  return thread.call([&] { return confine(thread.loop(), config); });
}

Result<void> confine_io_as(IoThread& thread, const sandbox::SandboxConfig& config,
                           sandbox::ThreadKind kind) {
  return thread.call([&] { return confine_as(thread.loop(), config, kind); });
}

}  // namespace vmm
