// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/header_file.h"

#include <algorithm>

#include "disk/aligned_buffer.h"

namespace vmm::disk::qcow {

// Another header than `header_`, which stays what it is until the new one is durable. Nothing is
// written where it does not fit.
Task<Result<void>> HeaderFile::store(const Header& header) {
  Result<std::vector<std::byte>> bytes = encode_header(header);
  if (!bytes) co_return Unexpected(std::move(bytes).error());
  AlignedBuffer padded = AlignedBuffer::zeroed((bytes->size() + 511) & ~std::size_t{511});
  std::copy(bytes->begin(), bytes->end(), padded.data());
  iovec whole = padded.as_iovec();
  certain_ = false;
  Result<void> done = co_await storage_.writev(0, IoVec(&whole, 1));
  if (!done) co_return Unexpected(std::move(done).error().with_context("qcow2 header"));
  done = co_await storage_.sync();
  certain_ = done.has_value();
  co_return done;
}

Task<Result<void>> HeaderFile::update(Change change, OnFailure on_failure) {
  AsyncMutex::Lock lock = co_await turn_.lock();
  Header next = header_;
  change(next);
  Result<void> done = co_await store(next);
  if (done || on_failure == OnFailure::kInsist) header_ = std::move(next);
  co_return done;
}

Task<Result<void>> HeaderFile::make_certain() {
  AsyncMutex::Lock lock = co_await turn_.lock();
  if (certain_) co_return Result<void>();
  co_return co_await store(header_);
}

}  // namespace vmm::disk::qcow
