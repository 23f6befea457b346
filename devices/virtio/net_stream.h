// SPDX-License-Identifier: Apache-2.0
// NetStream: a NetBackend on a stream socket, as passt and QEMU's "-netdev stream" speak it: each
// frame follows its length, four bytes in network order.
#pragma once

#include <string>
#include <vector>

#include "devices/virtio/net_backend.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

class NetStream final : public NetBackend {
 public:
  static constexpr std::size_t kMaxStreamFrame = 65535;  // bytes; passt takes no longer ones

  // `socket` must be non-blocking.
  NetStream(UniqueFd socket, std::string name);

  const char* name() const override { return name_.c_str(); }
  ssize_t receive(std::span<std::byte> header_and_frame) override;
  int send(std::span<std::byte> header_and_frame) override;
  int flush() override;
  int descriptor() const override { return socket_.get(); }

 private:
  ssize_t fill();

  const UniqueFd socket_;
  const std::string name_;
  // What came and was not received yet.
  std::vector<std::byte> in_;
  std::size_t in_begin_ = 0, in_end_ = 0;
  // The rest of a frame whose beginning is sent already.
  std::vector<std::byte> out_;
  std::size_t out_begin_ = 0;
};

}  // namespace vmm::virtio
