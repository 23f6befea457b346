// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/result.h"

#include <system_error>

namespace vmm {
namespace {

ErrorKind kind_of(int err) {
  switch (err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return ErrorKind::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorKind::kPermission;
    case ENOSPC:
    case EDQUOT:
      return ErrorKind::kNoSpace;
    case EBUSY:
    case EWOULDBLOCK:
    case ETXTBSY:
      return ErrorKind::kBusy;
    case EOPNOTSUPP:
    case ENOSYS:
      return ErrorKind::kUnsupported;
    default:
      return ErrorKind::kIo;
  }
}

}  // namespace

Error Error::from_errno(int err, std::string_view context) {
  std::string message(context);
  if (!message.empty()) message += ": ";
  message += std::generic_category().message(err);
  Error error(kind_of(err), std::move(message));
  error.os_errno_ = err;
  return error;
}

int Error::to_errno() const {
  if (os_errno_ != 0) return os_errno_;
  switch (kind_) {
    case ErrorKind::kInvalid:
    case ErrorKind::kOutOfRange:
      return EINVAL;
    case ErrorKind::kUnsupported:
      return EOPNOTSUPP;
    case ErrorKind::kNotFound:
      return ENOENT;
    case ErrorKind::kPermission:
      return EACCES;
    case ErrorKind::kBusy:
      return EBUSY;
    case ErrorKind::kNoSpace:
      return ENOSPC;
    case ErrorKind::kIo:
    case ErrorKind::kCorrupt:
      break;
  }
  return EIO;
}

Error Error::with_context(std::string_view prefix) && {
  message_.insert(0, ": ").insert(0, prefix);
  return std::move(*this);
}

}  // namespace vmm
