// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "devices/virtio/blk.h"
#include "devices/virtio/transport_base.h"
#include "disk/bay.h"
#include "disk/grow.h"
#include "disk/snapshots.h"
#include "disk/statistics.h"
#include "vmm/confine_io.h"
#include "vmm/core/log.h"
#include "vmm/luggage.h"
#include "vmm/machine_stat.h"
#include "vmm/partition_table.h"
#include "vmm/root_device.h"
#include "vmm/virtio_slots.h"

namespace vmm {
namespace {

constexpr auto kMaintenanceTimeout = std::chrono::seconds(8);
constexpr const char* kNoDisk = "there is no disk in it";
constexpr auto kStatTimeout = std::chrono::milliseconds(500);

Task<Result<DiskPartitions>> look_for_partitions(disk::Disk& disk) {
  std::vector<std::byte> start(
      static_cast<std::size_t>(std::min<std::uint64_t>(kPartitionTableBytes, disk.size())));
  const iovec whole{start.data(), start.size()};
  VMM_CO_CHECK(co_await disk.readv(0, IoVec(&whole, 1)));
  DiskPartitions found;
  found.partitioned = has_partition_table(start);
  found.numbers = partition_numbers(start);
  co_return found;
}

Task<std::string> statistics_of(disk::Disk& disk) {
  co_return disk::describe_statistics(disk);
}

Task<Result<void>> no_disk() {
  co_return fail(ErrorKind::kNotFound, kNoDisk);
}

Task<void> destroy(std::unique_ptr<disk::Disk> disk) {
  disk.reset();
  co_return;
}

}  // namespace

Result<std::unique_ptr<MachineDisk>> MachineDisk::open(disk::DiskOptions options,
                                                       std::size_t index) {
  VMM_TRY(std::unique_ptr<IoThread> thread, IoThread::start(fmt::format("vmm-disk{}", index)));
  std::unique_ptr<MachineDisk> self(new MachineDisk(std::move(options), std::move(thread)));
  IoThread& io = *self->thread_;
  VMM_TRY(self->disk_,
          io.call([&] { return disk::open_disk(io.loop(), disk::DiskOptions(self->options_)); }));
  self->set_image({self->options_.path, self->disk_->format(), self->disk_->read_only(),
                   file_id(self->options_.path), nullptr});
  log::info("{}: {}, {} MiB{}", self->options_.path, self->disk_->format(),
            self->disk_->size() >> 20, self->disk_->read_only() ? ", read-only" : "");
  return self;
}

Result<std::unique_ptr<MachineDisk>> MachineDisk::make_bay(std::size_t index,
                                                           std::uint16_t nr_queues) {
  VMM_TRY(std::unique_ptr<IoThread> thread, IoThread::start(fmt::format("vmm-disk{}", index)));
  disk::DiskOptions options;
  options.nr_queues = nr_queues;
  options.serial = fmt::format("bay{}", index);
  options.write_errors = disk::WriteErrors::kWaitNoSpace;
  std::unique_ptr<MachineDisk> self(new MachineDisk(std::move(options), std::move(thread)));
  self->bay_ = std::make_unique<disk::Bay>();
  return self;
}

MachineDisk::MachineDisk(disk::DiskOptions options, std::unique_ptr<IoThread> thread)
    : options_(std::move(options)), thread_(std::move(thread)), work_(thread_->loop()) {
}

MachineDisk::~MachineDisk() {
  thread_->call([this] { return work_.close(); });
  transport_.reset();
  blk_.reset();
  if (!disk_) return;
  // What a disk leaves to do belongs to its loop's thread.
  thread_->call([this] { return destroy(std::move(disk_)); });
}

Result<DiskPartitions> MachineDisk::partitions() {
  Result<DiskPartitions> found = thread_->call([this] { return look_for_partitions(*disk_); });
  if (found) {
    found->path = options_.path;
    return found;
  }
  return Unexpected(std::move(found).error().with_context(options_.path));
}

Result<void> MachineDisk::attach(const GuestMemory& memory, VirtioSlots& slots,
                                 const std::string& retry_hint, std::function<void()> on_waiting) {
  virtio::BlkOptions options;
  options.name = bay_ ? options_.serial : options_.path;
  // The file's name, so that /dev/disk/by-id tells disks apart.
  options.id = options_.serial;
  if (options.id.empty()) options.id = options_.path.substr(options_.path.rfind('/') + 1);
  options.nr_queues = options_.nr_queues;
  options.limits = {options_.max_operations, options_.max_bytes};
  options.write_errors = options_.write_errors;
  options.retry_hint = retry_hint;
  options.on_waiting = std::move(on_waiting);
  VMM_TRY(UniqueFd timer, Throttle::make_timer());
  disk::Disk& disk = bay_ ? static_cast<disk::Disk&>(*bay_) : *disk_;
  blk_ = std::make_unique<virtio::Blk>(std::move(options), disk, thread_->loop(), memory,
                                       std::move(timer));
  VMM_TRY(transport_, slots.attach(*blk_));
  return {};
}

Result<void> MachineDisk::confine(const sandbox::SandboxConfig& config) {
  return confine_io(*thread_, config);
}

DiskStat MachineDisk::stat() {
  DiskStat stat;
  const Image image = this->image();
  stat.file = image.path;
  stat.file_id = image.id;
  stat.format = image.format;
  stat.read_only = image.read_only;
  if (blk_) {
    stat.requests = blk_->stats();
    stat.waiting = blk_->waiting();
    stat.size = blk_->size();
    stat.limits = blk_->rate_limits();
  }
  // Shared, since the work may come after this has given up. What is posted before the disk's end
  // runs before it.
  using Caches = std::vector<disk::CacheStatistics>;
  auto promise = std::make_shared<std::promise<Caches>>();
  std::future<Caches> caches = promise->get_future();
  thread_->loop().post(
      [promise, this] { promise->set_value(disk_ ? disk::cache_statistics(*disk_) : Caches()); });
  if (caches.wait_for(kStatTimeout) == std::future_status::ready) stat.caches = caches.get();
  return stat;
}

MachineDisk::Image MachineDisk::image() const {
  std::lock_guard lock(image_mutex_);
  return image_;
}

void MachineDisk::set_image(Image image) {
  std::lock_guard lock(image_mutex_);
  image.nr = image_.nr + 1;
  image_ = std::move(image);
}

std::string MachineDisk::path() const {
  return image().path;
}

bool MachineDisk::is_empty() const {
  return is_bay() && path().empty();
}

// `done`: what the log says then. `nr`: of the image that it was asked for; by now there may be
// another one in its place.
Task<void> MachineDisk::maintain_now(Work work, std::string done, std::uint64_t nr,
                                     Promise promise) {
  auto checked = [this, &work, nr] { return disk_ && image().nr == nr ? work() : no_disk(); };
  const std::string name = path();
  Result<void> result = co_await blk_->maintain(std::move(checked));
  if (result) {
    log::info("{}: {}", name, done);
  } else {
    result = Unexpected(std::move(result).error().with_context(name.empty() ? "bay" : name));
  }
  promise->set_value(std::move(result));
}

// Starts a coroutine on the disk's thread and waits for what it promises.
Result<void> MachineDisk::run(std::function<Task<void>(Promise)> start) {
  auto promise = std::make_shared<std::promise<Result<void>>>();
  std::future<Result<void>> result = promise->get_future();
  thread_->loop().post([this, start = std::move(start), promise] { spawn(work_, start(promise)); });
  if (result.wait_for(kMaintenanceTimeout) == std::future_status::ready) return result.get();
  return fail(ErrorKind::kBusy,
              fmt::format("{}: not done yet; it is when the disk has the time", path()));
}

Result<void> MachineDisk::maintain(Work work, std::string done) {
  return run([this, work = std::move(work), done = std::move(done), nr = image().nr](
                 Promise promise) { return maintain_now(work, done, nr, std::move(promise)); });
}

Task<Result<void>> MachineDisk::put(std::unique_ptr<disk::Disk>& disk, Image image,
                                    RateLimits limits) {
  if (disk_) co_return fail(ErrorKind::kBusy, "the place is taken");
  disk_ = std::move(disk);
  bay_->put(disk_.get());
  blk_->disk_replaced();
  image.format = disk_->format();
  image.read_only = disk_->read_only();
  blk_->set_rate_limits(limits);
  set_image(std::move(image));
  co_return Result<void>();
}

Task<Result<void>> MachineDisk::open_and_put(disk::DiskOptions options, Image image) {
  const RateLimits limits{options.max_operations, options.max_bytes};
  VMM_CO_TRY(std::unique_ptr<disk::Disk> disk,
             co_await disk::open_disk(thread_->loop(), std::move(options)));
  auto work = [this, &disk, &image, limits] { return put(disk, std::move(image), limits); };
  Result<void> done = co_await blk_->maintain(std::move(work));
  if (!done && disk) (void)co_await disk->close();
  co_return done;
}

Task<void> MachineDisk::insert_now(disk::DiskOptions options, Image image, Promise promise) {
  const std::string name = image.path;
  Result<void> done = co_await open_and_put(std::move(options), std::move(image));
  if (done) log::info("{}: attached", name);
  promise->set_value(std::move(done));
}

Result<void> MachineDisk::insert(disk::DiskOptions options, FileId id,
                                 std::shared_ptr<AttachedDisk> kept) {
  Image image;
  image.path = options.path;
  image.id = id;
  image.kept = std::move(kept);
  return run([this, options = std::move(options), image = std::move(image)](Promise promise) {
    return insert_now(options, image, std::move(promise));
  });
}

std::shared_ptr<AttachedDisk> MachineDisk::take_kept() {
  std::lock_guard lock(image_mutex_);
  return std::exchange(image_.kept, nullptr);
}

// No request is under way, and from here on each is beyond the end.
Task<Result<void>> MachineDisk::take_out() {
  Result<void> closed = co_await disk_->close();
  bay_->put(nullptr);
  blk_->disk_replaced();
  disk_.reset();
  set_image({});
  co_return closed;
}

Result<void> MachineDisk::eject() {
  if (!is_bay()) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("{}: has been there from the start, and stays", path()));
  }
  if (is_empty()) return fail(ErrorKind::kNotFound, "there is no disk in it");
  return maintain([this] { return take_out(); }, "detached");
}

Result<void> MachineDisk::grow(std::uint64_t size) {
  return maintain([this, size] { return disk::grow(*disk_, size); },
                  fmt::format("has {} bytes now", size));
}

Result<void> MachineDisk::check_snapshots() const {
  if (!options_.temporary) return {};
  return fail(ErrorKind::kUnsupported,
              fmt::format("{}: what the guest writes to it is dropped at the end (snapshot), and "
                          "is in no image that could keep it",
                          options_.path));
}

Result<void> MachineDisk::create_snapshot(std::string name) {
  VMM_CHECK(check_snapshots());
  return maintain([this, name] { return disk::create_snapshot(*disk_, name); },
                  fmt::format("has the snapshot '{}' now", name));
}

Result<void> MachineDisk::delete_snapshot(std::string id_or_name) {
  VMM_CHECK(check_snapshots());
  return maintain([this, id_or_name] { return disk::delete_snapshot(*disk_, id_or_name); },
                  fmt::format("has the snapshot '{}' no more", id_or_name));
}

Result<std::vector<disk::qcow::Snapshot>> MachineDisk::snapshots() {
  VMM_CHECK(check_snapshots());
  using All = Result<std::vector<disk::qcow::Snapshot>>;
  auto promise = std::make_shared<std::promise<All>>();
  std::future<All> all = promise->get_future();
  thread_->loop().post([promise, this] {
    promise->set_value(disk_ ? disk::snapshots_of(*disk_)
                             : All(fail(ErrorKind::kNotFound, kNoDisk)));
  });
  if (all.wait_for(kMaintenanceTimeout) != std::future_status::ready) {
    return fail(ErrorKind::kBusy, fmt::format("{}: the disk's thread is busy", path()));
  }
  All found = all.get();
  if (found) return found;
  return Unexpected(std::move(found).error().with_context(path()));
}

void MachineDisk::set_rate_limits(RateLimits limits) {
  blk_->set_rate_limits(limits);
}

RateLimits MachineDisk::rate_limits() const {
  return blk_->rate_limits();
}

void MachineDisk::retry_writes() {
  blk_->retry();
}

bool MachineDisk::waiting() const {
  return blk_->waiting();
}

bool MachineDisk::was_read() const {
  return blk_->stats().reads != 0;
}

Result<void> MachineDisk::close() {
  thread_->call([this] { return work_.close(); });
  if (transport_) transport_->stop();
  if (!disk_) return {};
  Result<void> closed = thread_->call([this] { return disk_->close(); });
  const std::string counted = thread_->call([this] { return statistics_of(*disk_); });
  if (!counted.empty()) log::info("{}: {}", path(), counted);
  if (closed) return closed;
  return Unexpected(std::move(closed).error().with_context(path()));
}

}  // namespace vmm
