// SPDX-License-Identifier: Apache-2.0
// HeaderFile: the header of an open image, in memory and in the file's first cluster. Nobody else
// writes either.
//
// Several things change the header at the same time: a commit moves the refcount table while a
// snapshot is made, an overlap marks the image corrupt. So nobody stores a whole header: a change
// is a function that sets the fields that are its own, and it meets the header as it is when its
// turn has come.
#pragma once

#include <functional>

#include "disk/qcow/header.h"
#include "disk/storage.h"
#include "vmm/io/sync.h"

namespace vmm::disk::qcow {

class HeaderFile {
 public:
  using Change = std::function<void(Header&)>;

  // What becomes of a change that could not be written, or not be synced.
  enum class OnFailure {
    kTakeBack,  // it never was; the file is made to agree before anything else is committed
    kInsist,    // it stands, and the file is made to agree
  };

  HeaderFile(EventLoop& loop, Storage& storage, Header header)
      : storage_(storage), header_(std::move(header)), turn_(loop) {}

  // What counts. A change counts once it is durable.
  const Header& now() const { return header_; }

  // Durable when it comes back. `change` sets its own fields and nothing else.
  Task<Result<void>> update(Change change, OnFailure on_failure = OnFailure::kTakeBack);

  // After an update that failed nobody knows which header the file has: writes now() again.
  Task<Result<void>> make_certain();

 private:
  Task<Result<void>> store(const Header& header);

  Storage& storage_;
  Header header_;        // changed with turn_ held only
  bool certain_ = true;  // the file has it
  AsyncMutex turn_;
};

}  // namespace vmm::disk::qcow
