// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vsock_connection.h"

namespace vmm::virtio {

VsockConnection::VsockConnection(Origin origin, const VsockHeader& request)
    : state_(origin == Origin::kGuest ? State::kDialing : State::kRequested),
      owes_request_(origin == Origin::kHost) {
  if (origin == Origin::kHost) return;
  guest_buffer_ = request.buf_alloc;
  guest_forwarded_ = request.fwd_cnt;
}

VsockConnection::Effect VsockConnection::receive(const VsockHeader& packet) {
  const auto op = static_cast<VsockOp>(static_cast<std::uint16_t>(packet.op));
  if (state_ == State::kClosed) return Effect::kNone;
  if (op == VsockOp::kRst) {
    // Who has closed both ways and waits no longer takes back nothing of what was sent before.
    guest_gone_ = true;
    if (closing() && waiting() > 0) return Effect::kNone;
    state_ = State::kClosed;
    owes_rst_ = false;
    return Effect::kClosed;
  }
  guest_buffer_ = packet.buf_alloc;
  guest_forwarded_ = packet.fwd_cnt;
  if (credit() > 0) asked_for_credit_ = false;
  switch (state_) {
    case State::kRequested:
      if (op != VsockOp::kResponse) return reset();
      state_ = State::kOpen;
      return Effect::kOpened;
    case State::kOpen:
      return receive_open(packet);
    case State::kDialing:
      // It has changed its mind, or breaks the rules.
    case State::kClosed:
      break;
  }
  return reset();
}

VsockConnection::Effect VsockConnection::receive_open(const VsockHeader& packet) {
  switch (static_cast<VsockOp>(static_cast<std::uint16_t>(packet.op))) {
    case VsockOp::kRw:
      return take_data(packet.len);
    case VsockOp::kCreditUpdate:
      return Effect::kNone;
    case VsockOp::kCreditRequest:
      owes_credit_update_ = true;
      return Effect::kNone;
    case VsockOp::kShutdown:
      return take_shutdown(packet.flags);
    default:
      return reset();
  }
}

VsockConnection::Effect VsockConnection::reset() {
  state_ = State::kClosed;
  owes_rst_ = true;
  return Effect::kClosed;
}

VsockConnection::Effect VsockConnection::take_data(std::uint32_t size) {
  if (guest_ended() || size > kBuffer - waiting()) return reset();
  received_ += size;
  return Effect::kData;
}

VsockConnection::Effect VsockConnection::take_shutdown(std::uint32_t flags) {
  guest_shutdown_ |= flags & (kVsockNoReceive | kVsockNoSend);  // no flag is ever taken back
  close_if_done();
  return Effect::kShutdown;
}

// A clean end: the guest has closed, all is with the host, and RST says so (5.10.6.6.1).
void VsockConnection::close_if_done() {
  if (state_ != State::kOpen || !closing() || waiting() > 0) return;
  state_ = State::kClosed;
  owes_rst_ = !guest_gone_;
}

void VsockConnection::dialed() {
  if (state_ != State::kDialing) return;
  state_ = State::kOpen;
  owes_response_ = true;
}

void VsockConnection::forwarded(std::uint32_t size) {
  forwarded_ += size;
  close_if_done();
}

void VsockConnection::host_ended() {
  host_shutdown_ |= kVsockNoSend;
}

void VsockConnection::host_refuses() {
  host_shutdown_ |= kVsockNoReceive;
}

void VsockConnection::abort() {
  if (state_ == State::kClosed) return;
  // A guest that was not asked yet need not hear of it.
  const bool unknown = state_ == State::kRequested && owes_request_;
  state_ = State::kClosed;
  owes_rst_ = !unknown && !guest_gone_;
}

std::uint32_t VsockConnection::credit() const {
  if (state_ != State::kOpen || guest_refuses() || host_has_ended()) return 0;
  // A guest that claims to have handed on more than it was sent gets nothing.
  const std::uint32_t under_way = sent_ - guest_forwarded_;
  return under_way >= guest_buffer_ ? 0 : guest_buffer_ - under_way;
}

void VsockConnection::sent(std::uint32_t size) {
  sent_ += size;
}

void VsockConnection::stalled() {
  if (asked_for_credit_ || state_ != State::kOpen || guest_refuses() || host_has_ended()) return;
  asked_for_credit_ = true;
  owes_credit_request_ = true;
}

std::optional<VsockConnection::Control> VsockConnection::next_control() {
  if (owes_rst_) {
    owes_rst_ = false;
    return Control{VsockOp::kRst};
  }
  if (state_ == State::kRequested && owes_request_) {
    owes_request_ = false;
    return Control{VsockOp::kRequest};
  }
  if (state_ != State::kOpen || guest_gone_) return std::nullopt;
  if (owes_response_) {
    owes_response_ = false;
    return Control{VsockOp::kResponse};
  }
  // The guest learns of room that it has none left to wait for.
  if (owes_credit_update_ || forwarded_ - forwarded_told_ >= kBuffer / 2) {
    owes_credit_update_ = false;
    return Control{VsockOp::kCreditUpdate};
  }
  if (owes_credit_request_) {
    owes_credit_request_ = false;
    return Control{VsockOp::kCreditRequest};
  }
  if (host_shutdown_ != shutdown_told_) {
    shutdown_told_ = host_shutdown_;
    return Control{VsockOp::kShutdown, host_shutdown_};
  }
  return std::nullopt;
}

void VsockConnection::sign(VsockHeader& packet) {
  packet.buf_alloc = kBuffer;
  packet.fwd_cnt = forwarded_;
  forwarded_told_ = forwarded_;
}

}  // namespace vmm::virtio
