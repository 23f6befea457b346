// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error, with std::expected's member names so that a later move to it is
// mechanical.
//
// Three tiers of failure: a fault of the host, the user or an image is an Error, carried up and
// printed once by main(); a fault of the guest is answered inside the device (status byte,
// DEVICE_NEEDS_RESET); a bug of ours is an assert.
#pragma once

#include <cassert>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace vmm {

enum class ErrorKind {
  kIo,           // the host failed an operation; os_errno() says how
  kInvalid,      // bad input: a flag, a file's contents, a field out of range
  kUnsupported,  // well-formed, but uses a feature that is refused by name
  kNotFound,     // a named file or object is not there
  kPermission,   // it is there, but may not be used
  kBusy,         // locked by another process
  kNoSpace,      // ENOSPC, EDQUOT: may go away by itself, see werror=
  kCorrupt,      // an image contradicts itself; it is no longer written
  kOutOfRange,   // an address or offset beyond the end
};

class Error {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}

  // An Error of a failed system call: `context: strerror(err)`. `err` is a positive errno; its kind
  // follows from it.
  static Error from_errno(int err, std::string_view context);

  ErrorKind kind() const { return kind_; }
  int os_errno() const { return os_errno_; }  // 0 where no system call failed
  const std::string& message() const { return message_; }

  // The errno a caller of a block operation would see: os_errno(), or the nearest one to kind().
  int to_errno() const;

  // Puts "prefix: " in front: outer layers name the file, inner ones what they read.
  Error with_context(std::string_view prefix) &&;

 private:
  ErrorKind kind_;
  int os_errno_ = 0;
  std::string message_;
};

// What a function returns to fail: `return Unexpected(Error(...))`.
template <class E = Error>
class Unexpected {
 public:
  explicit Unexpected(E error) : error_(std::move(error)) {}
  E& error() & { return error_; }
  E&& error() && { return std::move(error_); }

 private:
  E error_;
};

inline Unexpected<Error> fail(ErrorKind kind, std::string message) {
  return Unexpected(Error(kind, std::move(message)));
}
inline Unexpected<Error> fail_errno(int err, std::string_view context) {
  return Unexpected(Error::from_errno(err, context));
}

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(Unexpected<Error> error) : state_(std::in_place_index<1>, std::move(error).error()) {}
  template <class U = T>
  requires(std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Unexpected<Error>>) Result(U&& value)
      : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return *std::get_if<0>(checked()); }
  const T& value() const& { return const_cast<Result*>(this)->value(); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& { return const_cast<Result*>(this)->error(); }
  Error&& error() && { return std::move(error()); }

  T value_or(T fallback) const& { return has_value() ? value() : std::move(fallback); }

 private:
  std::variant<T, Error>* checked() {
    assert(has_value());
    return &state_;
  }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Unexpected<Error> error) : error_(std::move(error).error()) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const { assert(has_value()); }

  Error& error() & {
    assert(error_.has_value());
    return *error_;
  }
  const Error& error() const& { return const_cast<Result*>(this)->error(); }
  Error&& error() && { return std::move(error()); }

 private:
  std::optional<Error> error_;
};

// Propagation. `VMM_TRY(auto x, f())` declares x or returns f's error; `VMM_CO_TRY(auto x, co_await
// f())` is the same inside a coroutine. Statement form only: g++ 12 crashes on a statement
// expression around co_await.
#define VMM_RESULT_CAT_(a, b) a##b
#define VMM_RESULT_CAT(a, b) VMM_RESULT_CAT_(a, b)
#define VMM_TRY_IMPL_(ret, tmp, decl, ...)                             \
  auto tmp = __VA_ARGS__;                                              \
  if (!tmp.has_value()) ret ::vmm::Unexpected(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define VMM_TRY(decl, ...) \
  VMM_TRY_IMPL_(return, VMM_RESULT_CAT(vmm_try_, __LINE__), decl, __VA_ARGS__)
#define VMM_CO_TRY(decl, ...) \
  VMM_TRY_IMPL_(co_return, VMM_RESULT_CAT(vmm_try_, __LINE__), decl, __VA_ARGS__)

// The same for Result<void>, or where the value is not wanted.
#define VMM_CHECK_IMPL_(ret, tmp, ...) \
  auto tmp = __VA_ARGS__;              \
  if (!tmp.has_value()) ret ::vmm::Unexpected(std::move(tmp).error())
#define VMM_CHECK(...) VMM_CHECK_IMPL_(return, VMM_RESULT_CAT(vmm_check_, __LINE__), __VA_ARGS__)
#define VMM_CO_CHECK(...) \
  VMM_CHECK_IMPL_(co_return, VMM_RESULT_CAT(vmm_check_, __LINE__), __VA_ARGS__)

}  // namespace vmm
