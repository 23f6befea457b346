// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/result.h"

#include <memory>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

Result<int> parse_positive(int value) {
  if (value <= 0) return fail(ErrorKind::kInvalid, "not positive");
  return value;
}

Result<int> twice(int value) {
  VMM_TRY(int parsed, parse_positive(value));
  return parsed * 2;
}

Result<void> only_checks(int value) {
  VMM_CHECK(parse_positive(value));
  return {};
}

TEST_CASE("Result: VMM_TRY hands the value on and the error up", "[core]") {
  CHECK(twice(4).value() == 8);
  Result<int> failed = twice(-1);
  REQUIRE(!failed);
  CHECK(failed.error().kind() == ErrorKind::kInvalid);
  CHECK(only_checks(1).has_value());
  CHECK(!only_checks(0).has_value());
}

TEST_CASE("Result: carries types that only move", "[core]") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  std::unique_ptr<int> taken = *std::move(result);
  CHECK(*taken == 7);
}

TEST_CASE("Error: a failed system call names context, reason and kind", "[core]") {
  Error error = Error::from_errno(ENOSPC, "write").with_context("disk.qcow2");
  CHECK(error.message() == "disk.qcow2: write: No space left on device");
  CHECK(error.kind() == ErrorKind::kNoSpace);
  CHECK(error.os_errno() == ENOSPC);
  CHECK(Error(ErrorKind::kCorrupt, "x").to_errno() == EIO);
}

}  // namespace
}  // namespace vmm
