// SPDX-License-Identifier: Apache-2.0
// Qcow1Disk: a qcow image of version 1, with its backing file.
//
// Clusters are only ever added, at the end of the file: the format knows no free ones. So readers
// need no care, and a crash leaves unused bytes and nothing worse, as long as data reaches the file
// before the L2 entry that points to it, and an L2 table before its L1 entry.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <vector>

#include "disk/disk.h"
#include "disk/qcow/table_cache.h"
#include "disk/qcow1/header.h"
#include "vmm/io/sync.h"

namespace vmm::disk::qcow1 {

struct Options {
  bool detect_zeroes = false;
  std::uint64_t l2_cache_size = 0;  // bytes; 0: what the image needs, at most 32 MiB
};

// What is stored at an offset, and for how many bytes in the same way.
struct Extent {
  std::uint64_t length = 0;
  bool allocated = false;  // decided by this image, not by its backing file
  bool compressed = false;
  std::uint64_t offset = 0;  // in the file, unless compressed
};

class Qcow1Disk final : public Disk, private qcow::TableCache::WriteBack {
 public:
  // `backing` may be left out: it then reads as zeros.
  static Task<Result<std::unique_ptr<Qcow1Disk>>> open(EventLoop& loop,
                                                       std::unique_ptr<Storage> storage,
                                                       Header header, std::unique_ptr<Disk> backing,
                                                       Options options);

  const Header& header() const { return header_; }
  Disk* backing() const { return backing_.get(); }
  const qcow::CacheStats& cache_stats() const { return l2_.stats(); }

  std::uint64_t size() const override { return header_.size; }
  bool read_only() const override { return storage_->read_only(); }
  const char* format() const override { return "qcow"; }
  std::uint32_t optimal_io_size() const override {
    return static_cast<std::uint32_t>(header_.cluster_size());
  }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override;
  // The format has no way to free a cluster: nothing happens.
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override;
  // Nor one to say "zeros": they are written, except where nothing is stored anyway.
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  ZeroMode mode) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> close() override;

  // Stores one whole cluster (the last one may be shorter) compressed; `packed` is what
  // qcow::compress() made of it, padded with zeros to a whole cluster. Empty: stored as it is.
  Task<Result<void>> write_compressed(std::uint64_t offset, std::span<const std::byte> packed,
                                      IoVec cluster);
  // Forgets all guest data in this image, so that the backing file shows: after a commit.
  Task<Result<void>> make_empty();
  // `offset` < size().
  Task<Result<Extent>> extent_at(std::uint64_t offset);

 private:
  // Where L2 entries lie.
  struct Place {
    qcow::TableCache::Ref slice;  // empty: there is no L2 table
    std::uint64_t index = 0;      // in the slice
    std::uint64_t nr = 0;         // entries from there to the slice's end
  };

  Qcow1Disk(EventLoop& loop, std::unique_ptr<Storage> storage, Header header,
            std::unique_ptr<Disk> backing, Options options);
  Task<Result<void>> load();
  Task<Result<Place>> find(std::uint64_t offset);
  Task<Result<Place>> find_or_make(std::uint64_t offset);
  Task<Result<void>> read_backing(std::uint64_t offset, IoVec iov);
  Task<Result<void>> read_compressed(std::uint64_t entry, std::uint64_t skip, IoVec iov);
  Task<Result<void>> write_once(std::uint64_t offset, IoVec iov, std::uint64_t& done);
  Task<Result<void>> write_new(Place& place, std::uint64_t offset, IoVec iov,
                               std::uint64_t nr_clusters);
  Task<Result<void>> commit();
  Task<Result<void>> write_back() override { return commit(); }
  Task<Result<void>> write_tables(qcow::TableCache::Batch batch, const std::set<std::uint64_t>& l1);
  std::uint64_t in_cluster(std::uint64_t offset) const {
    return offset & (header_.cluster_size() - 1);
  }
  std::uint64_t allocate(std::uint64_t bytes);

  std::unique_ptr<Storage> storage_;
  const Header header_;
  std::unique_ptr<Disk> backing_;
  const Options options_;
  qcow::TableCache l2_;
  std::vector<std::uint64_t> l1_;
  std::set<std::uint64_t> dirty_l1_;  // entries that the file does not have yet
  std::uint64_t end_ = 0;             // of what is in use, bytes
  AsyncMutex allocating_;             // held while entries change from one place to another
  AsyncMutex committing_;
};

}  // namespace vmm::disk::qcow1
