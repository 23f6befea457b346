// SPDX-License-Identifier: Apache-2.0
// Writing: in place where this image alone uses the cluster, else into new clusters that are linked
// once their data is written.
#include <fmt/format.h>

#include <algorithm>

#include "disk/checks.h"
#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {

// What to do with a range that lies in one slice and can be treated alike.
struct QcowDisk::WritePlan {
  enum class Kind {
    kInPlace,  // write to `host`
    kKept,     // the clusters from `host` on are there, but the entries do not say data yet
    kNew,      // clusters must be allocated
    kCorrupt,
  };
  Kind kind = Kind::kInPlace;
  HostOffset host;           // of the first byte; for kNew not known yet
  std::uint64_t length = 0;  // bytes
  // How far the write must be rounded outwards, so that what is linked is whole.
  GuestOffset start;
  GuestOffset end;
  bool zero_before = false;  // [start, first byte) reads as zeros now
  bool zero_after = false;   // [last byte, end) too
};

namespace {

bool all_written(const L2Entry& entry, const L2Format& format, std::uint64_t from,
                 std::uint64_t to) {
  if (!format.geometry.extended_l2) return (entry.descriptor & kZeroFlag) == 0;
  const std::uint32_t bits = format.geometry.subcluster_bits();
  for (std::uint64_t i = from >> bits; i <= (to - 1) >> bits; ++i) {
    if ((entry.allocated_bits() >> i & 1) == 0) return false;
  }
  return true;
}

}  // namespace

// Where the mapping is read again after every await, it is read here.
QcowDisk::WritePlan QcowDisk::plan_write(const std::byte* slice, GuestOffset at,
                                         std::uint64_t length) const {
  using Kind = WritePlan::Kind;
  const std::uint64_t cluster_size = geometry_.cluster_size();
  WritePlan plan;
  GuestOffset pos = at;
  const GuestOffset end = at + length;
  L2Entry first_entry, last_entry;
  while (pos < end) {
    const std::uint64_t in_cluster = pos.value & geometry_.cluster_mask();
    const std::uint64_t here = std::min(end - pos, cluster_size - in_cluster);
    const L2Entry entry = load_entry(slice, format_.entry_index(pos), geometry_);
    const auto subcluster = static_cast<std::uint32_t>(in_cluster >> geometry_.subcluster_bits());
    const Mapping mapping = classify(entry, subcluster, format_);
    Kind kind = Kind::kNew;
    if (mapping.kind == MappingKind::kCorrupt) {
      kind = Kind::kCorrupt;
    } else if (mapping.kind != MappingKind::kCompressed && mapping.allocated && mapping.copied) {
      kind =
          all_written(entry, format_, in_cluster, in_cluster + here) ? Kind::kInPlace : Kind::kKept;
    }
    if (pos == at) {
      plan.kind = kind;
      plan.host = mapping.host + in_cluster;
      first_entry = entry;
    } else if (kind != plan.kind ||
               (kind != Kind::kNew && mapping.host != plan.host + (pos - at))) {
      break;
    }
    last_entry = entry;
    pos = pos + here;
  }
  plan.length = pos - at;
  plan.start = at;
  plan.end = pos;
  if (plan.kind == Kind::kInPlace || plan.kind == Kind::kCorrupt) return plan;

  // New clusters replace all that was in the old ones; kept ones only what their entry lacks.
  auto unit = [&](const L2Entry& entry) {
    const bool has_data = entry.compressed() || entry.allocated_bits() != 0;
    return plan.kind == Kind::kNew && has_data ? cluster_size : geometry_.subcluster_size();
  };
  auto round = [&](GuestOffset edge, const L2Entry& entry, bool up) {
    const std::uint64_t mask = unit(entry) - 1;
    if ((edge.value & mask) == 0) return edge;
    const std::uint64_t inside = up ? edge.value - 1 : edge.value;
    if (plan.kind == Kind::kKept && geometry_.extended_l2) {
      const std::uint64_t bit = (inside & geometry_.cluster_mask()) >> geometry_.subcluster_bits();
      if ((entry.allocated_bits() >> bit & 1) != 0) return edge;  // its other bytes are there
    }
    return GuestOffset(up ? (edge.value | mask) + 1 : edge.value & ~mask);
  };
  plan.start = round(at, first_entry, false);
  plan.end = round(pos, last_entry, true);
  plan.zero_before = reads_as_zero(slice, plan.start, at);
  plan.zero_after = reads_as_zero(slice, pos, plan.end);
  return plan;
}

bool QcowDisk::reads_as_zero(const std::byte* slice, GuestOffset from, GuestOffset to) const {
  while (from < to) {
    if (from.value >= size()) return true;
    const Mapping mapping = map_slice(slice, format_, from, to - from);
    const bool zero =
        mapping.kind == MappingKind::kZero || (mapping.kind == MappingKind::kUnallocated &&
                                               (!backing_ || from.value >= backing_->size()));
    if (!zero) return false;
    from = from + mapping.length;
  }
  return true;
}

Task<Result<void>> QcowDisk::writev(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  if (read_only() || corrupt_ || !in_range(*this, offset, length)) {
    VMM_CO_CHECK(check_writable(*this, offset, length));
    co_return fail(ErrorKind::kCorrupt,
                   "the image is marked corrupt and no longer written: repair it with a check");
  }
  if (length == 0) co_return Result<void>();
  const GuestOffset at(offset);
  if (options_.detect_zeroes && length >= geometry_.subcluster_size() && is_zero(iov)) {
    co_return co_await write_zeroes(offset, length, ZeroMode::kKeepAllocated);
  }
  Result<void> done;
  const HostOffset in_place = find_in_place(at, length);
  if (in_place != HostOffset(0)) {
    VMM_CO_CHECK(check_overlap(in_place, length));
    Passages::Pass pass(passages_);
    done = co_await data().writev(in_place.value, iov);
  } else {
    done = co_await write_parts(at, iov);
  }
  if (done || done.error().kind() != ErrorKind::kNoSpace) co_return done;
  const bool has_space = co_await make_space();
  if (has_space) done = co_await write_parts(at, iov);
  co_return done;
}

// Where the whole range lies in one piece that may be written in place, as far as the cache knows
// without waiting; else 0.
HostOffset QcowDisk::find_in_place(GuestOffset at, std::uint64_t length) {
  TableCache::Ref slice = find_slice(at);
  if (!slice) return HostOffset(0);
  const Mapping mapping = map_slice(slice.data(), format_, at, length);
  const bool whole = mapping.kind == MappingKind::kData && mapping.copied &&
                     mapping.length == length && table_for(at)->writable;
  return whole ? mapping.host : HostOffset(0);
}

Task<Result<void>> QcowDisk::write_parts(GuestOffset at, IoVec iov) {
  const GuestOffset end = at + total_size(iov);
  IovecCursor cursor(iov);
  std::vector<std::vector<iovec>> in_place;  // their buffers' lists, while they are under way
  std::vector<Task<Result<void>>> tasks;
  Result<void> looked_up;
  while (at < end && looked_up) {
    Result<TableCache::Ref> slice = co_await get_writable_slice(at);
    if (!slice) {
      looked_up = Unexpected(std::move(slice).error());
      break;
    }
    // From here to the start of the next task nothing awaits, but for `over`, after which all is
    // looked up again.
    const std::uint64_t first = at.value >> geometry_.cluster_bits;
    std::uint64_t limit = std::min(end - at, to_slice_end(at));
    const std::uint64_t last = (at.value + limit - 1) >> geometry_.cluster_bits;
    if (Change* change = Change::find(changes_, first, last + 1)) {
      if (change->first() <= first) {
        co_await change->over();
        continue;
      }
      limit = (change->first() << geometry_.cluster_bits) - at.value;
    }
    const WritePlan plan = plan_write(slice->data(), at, limit);
    std::vector<iovec> piece;
    if (plan.kind == WritePlan::Kind::kCorrupt) {
      looked_up = fail(ErrorKind::kCorrupt,
                       fmt::format("the L2 entry for guest offset {:#x} means nothing", at.value));
      break;
    }
    if (plan.kind != WritePlan::Kind::kNew) {
      looked_up = check_overlap(plan.host, plan.length);
      if (!looked_up) break;
    }
    cursor.take(plan.length, piece);
    if (plan.kind == WritePlan::Kind::kInPlace) {
      in_place.push_back(std::move(piece));
      tasks.push_back(write_data(plan.host, in_place.back()));
    } else {
      tasks.push_back(write_new(plan, at, std::move(piece)));
    }
    at = at + plan.length;
  }
  Result<void> all;
  for (Task<Result<void>>& task : tasks) {
    Result<void> one = co_await task;
    if (!one && all) all = std::move(one);
  }
  co_return looked_up ? std::move(all) : std::move(looked_up);
}

Task<Result<void>> QcowDisk::write_data(HostOffset host, IoVec iov) {
  Passages::Pass pass(passages_);
  co_return co_await data().writev(host.value, iov);
}

// Allocates, writes and links `plan`, in as few runs of clusters as the free space allows.
Task<Result<void>> QcowDisk::write_new(WritePlan plan, GuestOffset at, std::vector<iovec> iov) {
  const std::uint32_t bits = geometry_.cluster_bits;
  const std::uint64_t first = plan.start.value >> bits;
  const std::uint64_t count = ((plan.end.value - 1) >> bits) - first + 1;
  Change change(loop_, changes_, first, count);
  const IoVec whole(iov);
  const GuestOffset end = at + plan.length;
  std::uint64_t done = 0;  // bytes of the request
  for (std::uint64_t cluster = first; cluster < first + count;) {
    HostRun run{geometry_.cluster_of(plan.host), first + count - cluster};
    bool zero = false;
    if (data_file_ && plan.kind == WritePlan::Kind::kNew) {
      run.first = HostCluster(cluster);  // a data file has every cluster at its guest offset
    } else if (plan.kind == WritePlan::Kind::kNew) {
      Result<Allocator::Allocation> space = co_await allocator_.allocate(1, run.count);
      if (!space) {
        if (space.error().kind() == ErrorKind::kCorrupt) {
          co_await mark_corrupt(space.error().message());
        }
        co_return Unexpected(std::move(space).error());
      }
      run = space->run;
      zero = space->zero;
    }
    // The part of the plan that these clusters hold.
    const GuestOffset run_start(cluster << bits);
    const GuestOffset run_end((cluster + run.count) << bits);
    WritePlan part = plan;
    part.start = std::max(plan.start, run_start);
    part.end = std::min(plan.end, run_end);
    const GuestOffset part_at = std::max(at, run_start);
    part.length = std::min(end, run_end) - part_at;
    std::vector<iovec> piece;
    append_slice(whole, done, part.length, piece);
    Result<void> written = co_await write_clusters(part, run, zero, part_at, piece);
    if (written) written = co_await link(part, run, part.start, part.end);
    if (!written) {
      if (!data_file_ && plan.kind == WritePlan::Kind::kNew) {
        (void)co_await allocator_.release(run, false);
      }
      co_return written;
    }
    done += part.length;
    cluster += run.count;
  }
  co_return Result<void>();
}

// Writes the request's bytes, and around them what was there before, in one operation.
Task<Result<void>> QcowDisk::write_clusters(const WritePlan& plan, HostRun run, bool zero,
                                            GuestOffset at, IoVec iov) {
  AlignedBuffer before, after;
  std::vector<iovec> all;
  GuestOffset from = at;
  const GuestOffset end = at + plan.length;
  if (plan.start < at && !(zero && plan.zero_before)) {
    const std::uint64_t length = at - plan.start;
    before = plan.zero_before ? AlignedBuffer::zeroed(length) : AlignedBuffer(length);
    from = plan.start;
    all.push_back(before.as_iovec());
    if (!plan.zero_before) {
      iovec old = before.as_iovec();
      VMM_CO_CHECK(co_await read_parts(plan.start, IoVec(&old, 1)));
    }
  }
  all.insert(all.end(), iov.begin(), iov.end());
  if (end < plan.end && !(zero && plan.zero_after)) {
    const std::uint64_t length = plan.end - end;
    after = plan.zero_after ? AlignedBuffer::zeroed(length) : AlignedBuffer(length);
    all.push_back(after.as_iovec());
    if (!plan.zero_after) {
      iovec old{after.data(), std::min(plan.end.value, size()) - end.value};
      // The disk may end inside its last cluster.
      std::fill(after.data() + old.iov_len, after.data() + length, std::byte{0});
      VMM_CO_CHECK(co_await read_parts(end, IoVec(&old, 1)));
    }
  }
  const std::uint64_t skip = from.value & geometry_.cluster_mask();
  Storage& target = data();
  co_return co_await target.writev(geometry_.start_of(run.first).value + skip, all);
}

// The data is written: from now on the entries say where. Which of this reaches the file when is
// commit()'s affair.
Task<Result<void>> QcowDisk::link(const WritePlan& plan, HostRun run, GuestOffset from,
                                  GuestOffset to) {
  VMM_CO_TRY(TableCache::Ref slice, co_await get_writable_slice(from));
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const GuestOffset start((from.value & ~geometry_.cluster_mask()) +
                            (i << geometry_.cluster_bits));
    const std::uint64_t index = format_.entry_index(start);
    const L2Entry old = load_entry(slice.data(), index, geometry_);
    L2Entry entry{geometry_.start_of(run.first + i).value | kCopied, old.bitmap};
    if (geometry_.extended_l2) {
      if (old.compressed()) entry.bitmap = 0;
      const std::uint32_t bits = geometry_.subcluster_bits();
      const std::uint64_t lowest = std::max(from, start) - start;
      const std::uint64_t end = std::min(to, start + geometry_.cluster_size()) - start;
      for (std::uint64_t sub = lowest >> bits; sub <= (end - 1) >> bits; ++sub) {
        entry.bitmap |= std::uint64_t{1} << sub;
        entry.bitmap &= ~(std::uint64_t{1} << (sub + 32));
      }
    }
    store_entry(slice.data(), index, geometry_, entry);
    if (plan.kind == WritePlan::Kind::kNew) drop_entry(old);
  }
  slice.mark_dirty();
  co_return Result<void>();
}

// Guest data that would land on the image's own tables: the image contradicts itself, and every
// further write could make it worse.
Result<void> QcowDisk::check_overlap(HostOffset host, std::uint64_t length) {
  if (data_file_) return {};
  const HostCluster first = geometry_.cluster_of(host);
  const HostCluster last = geometry_.cluster_of(host + (length - 1));
  const MetadataKind* kind = metadata_.find({first, last.index - first.index + 1});
  if (kind == nullptr) return {};
  std::string reason = fmt::format("a write of guest data to {:#x} would overwrite the {}",
                                   host.value, name_of(*kind));
  corrupt_soon(reason);
  return fail(ErrorKind::kCorrupt, std::move(reason));
}

}  // namespace vmm::disk::qcow
