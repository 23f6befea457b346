// SPDX-License-Identifier: Apache-2.0
#include "vmm/luggage.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "disk/image_lock.h"
#include "vmm/control/pass_files.h"

namespace vmm {
namespace {

// The index, the option and the files' names are no longer than the request that brought them.
constexpr std::size_t kMaxPiece = 2 * control::kMaxRequest;

// A piece is a message: strings with a zero behind each, and the files.
std::optional<Luggage::Piece> unpack(std::string_view bytes, std::vector<UniqueFd> files) {
  std::vector<std::string> strings;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\0');
    if (end == std::string_view::npos) return {};
    strings.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(end + 1);
  }
  if (strings.size() != files.size() + 2) return {};
  Luggage::Piece piece{};
  const std::string& index = strings[0];
  if (std::from_chars(index.data(), index.data() + index.size(), piece.index).ec != std::errc()) {
    return {};
  }
  piece.disk.option = std::move(strings[1]);
  for (std::size_t i = 0; i < files.size(); ++i) {
    piece.disk.files.push_back({std::move(strings[i + 2]), std::move(files[i])});
  }
  return piece;
}

}  // namespace

AttachedDisk::~AttachedDisk() {
  for (const control::GivenFile& file : files) {
    if (file.fd) disk::unlock_image(file.fd.get());
  }
}

Result<std::vector<control::GivenFile>> AttachedDisk::open_again() const {
  std::vector<control::GivenFile> again;
  for (const control::GivenFile& file : files) {
    UniqueFd fd(::fcntl(file.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return fail_errno(errno, fmt::format("{}: dup", file.path));
    again.push_back({file.path, std::move(fd)});
  }
  return again;
}

Result<Luggage> Luggage::create() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return fail_errno(errno, "socketpair");
  }
  Luggage luggage;
  luggage.in_ = UniqueFd(ends[0]);
  luggage.out_ = UniqueFd(ends[1]);
  return luggage;
}

Result<void> Luggage::put(std::size_t index, AttachedDisk disk) {
  std::string bytes = std::to_string(index) + '\0' + disk.option + '\0';
  std::vector<int> fds;
  for (const control::GivenFile& file : disk.files) {
    bytes += file.path + '\0';
    fds.push_back(file.fd.get());
  }
  if (bytes.size() > kMaxPiece) return fail(ErrorKind::kInvalid, "its names are too long");
  if (control::send_with_files(in_.get(), bytes, fds) < 0) return fail_errno(errno, "hand on");
  disk.files.clear();  // with their locks, which those on the way have now
  return {};
}

std::vector<Luggage::Piece> Luggage::take() {
  std::vector<Piece> pieces;
  std::array<char, kMaxPiece> bytes;
  for (;;) {
    std::vector<UniqueFd> files;
    const ssize_t got = control::receive_with_files(out_.get(), bytes, files);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return pieces;
    const std::string_view message(bytes.data(), static_cast<std::size_t>(got));
    if (std::optional<Piece> piece = unpack(message, std::move(files))) {
      pieces.push_back(*std::move(piece));
    }
  }
}

}  // namespace vmm
