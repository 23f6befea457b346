// SPDX-License-Identifier: Apache-2.0
// VsockConnection: the state of one stream between a guest and the host (virtio 1.2, 5.10.6): who
// may send how much, who has ended what, and which packets the guest is owed. No I/O: the device
// tells it what happened on either side, and asks what to do.
#pragma once

#include <cstdint>
#include <optional>

#include "devices/virtio/vsock_packet.h"

namespace vmm::virtio {

class VsockConnection {
 public:
  // Bytes from the guest that may wait for the host.
  static constexpr std::uint32_t kBuffer = 128 << 10;

  enum class Origin { kGuest, kHost };
  // What the device shall do after a packet.
  enum class Effect {
    kNone,
    kOpened,    // the guest took the host's connection
    kData,      // the packet's bytes are for the host
    kShutdown,  // look at guest_ended() and guest_refuses() again
    kClosed,    // nothing more goes to the host, and what waits for it is dropped
  };
  struct Control {
    VsockOp op;
    std::uint32_t flags = 0;
  };

  // kGuest: `request` is the guest's, and waits for dialed() or abort(). kHost: the guest is asked.
  VsockConnection(Origin origin, const VsockHeader& request);

  // A packet for this connection. What breaks the rules resets it.
  Effect receive(const VsockHeader& packet);

  // The host's side.
  void dialed();                       // it took the guest's connection
  void forwarded(std::uint32_t size);  // so many of the guest's bytes are with the host, or dropped
  void host_ended();    // it will send no more, and all that it sent is with the guest
  void host_refuses();  // it will take no more: what comes from now on is to be dropped
  void abort();         // it is gone, or never was there

  // How many bytes the guest takes now: `sent` ones are to be told of.
  std::uint32_t credit() const;
  void sent(std::uint32_t size);
  // There is something to send, and no credit for it.
  void stalled();

  // The next packet that the guest is owed, which is then no longer owed. Data is not among them.
  std::optional<Control> next_control();
  // Puts into a packet to the guest what each says of this side, which counts as said.
  void sign(VsockHeader& packet);

  bool open() const { return state_ == State::kOpen; }
  bool requested() const { return state_ == State::kRequested; }
  bool dialing() const { return state_ == State::kDialing; }
  bool guest_ended() const { return (guest_shutdown_ & kVsockNoSend) != 0; }
  bool guest_refuses() const { return (guest_shutdown_ & kVsockNoReceive) != 0; }
  bool host_has_ended() const { return (host_shutdown_ & kVsockNoSend) != 0; }
  bool host_takes_nothing() const { return (host_shutdown_ & kVsockNoReceive) != 0; }
  // Nothing is owed in either direction: it can be forgotten.
  bool finished() const { return state_ == State::kClosed && !owes_rst_; }

 private:
  enum class State {
    kDialing,    // the guest asked, the host has not answered
    kRequested,  // the host asked, the guest has not answered
    kOpen,
    kClosed,
  };

  Effect receive_open(const VsockHeader& packet);
  Effect reset();
  Effect take_data(std::uint32_t size);
  Effect take_shutdown(std::uint32_t flags);
  void close_if_done();
  bool closing() const { return guest_ended() && guest_refuses(); }
  std::uint32_t waiting() const { return received_ - forwarded_; }

  State state_;
  bool owes_request_ = false, owes_response_ = false, owes_rst_ = false;
  bool owes_credit_update_ = false, owes_credit_request_ = false;
  bool asked_for_credit_ = false;
  bool guest_gone_ = false;  // it closed and did not wait for what the host has yet to take
  std::uint32_t guest_shutdown_ = 0, host_shutdown_ = 0, shutdown_told_ = 0;

  // All modulo 2^32.
  std::uint32_t guest_buffer_ = 0;     // guest-controlled
  std::uint32_t guest_forwarded_ = 0;  // guest-controlled
  std::uint32_t sent_ = 0;
  std::uint32_t received_ = 0;
  std::uint32_t forwarded_ = 0;
  std::uint32_t forwarded_told_ = 0;
};

}  // namespace vmm::virtio
