// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/ext_file_system.h"

#include <ext2fs/ext2fs.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/bootfind/source.h"
#include "vmm/core/byte_order.h"

// Its header does not say so itself.
extern "C" {
#include <et/com_err.h>
}

namespace vmm::bootfind {
namespace {

constexpr std::uint64_t kSuperblock = 1024;
constexpr std::uint32_t kMaxLogBlockSize = 6;  // 64 KiB

std::string text_of(errcode_t code) {
  return error_message(code);
}

// What libext2fs reads through: an io_manager whose channel is a Source. open() gets nothing but a
// name, so the source waits in this variable for the length of ext2fs_open2().
thread_local Source* source_to_open = nullptr;

struct Channel {
  struct_io_channel base{};
  std::string name = "image";
  Source* source = nullptr;
};

Channel* channel_of(io_channel channel) {
  return static_cast<Channel*>(channel->private_data);
}

errcode_t channel_open(const char*, int, io_channel* out);

errcode_t channel_close(io_channel channel) {
  if (--channel->refcount == 0) delete channel_of(channel);
  return 0;
}

errcode_t channel_set_blksize(io_channel channel, int size) {
  channel->block_size = size;
  return 0;
}

// `count` blocks, or -count bytes.
errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void* data) {
  const auto block_size = static_cast<std::uint64_t>(channel->block_size);
  const std::uint64_t length = count < 0
                                   ? static_cast<std::uint64_t>(-static_cast<std::int64_t>(count))
                                   : static_cast<std::uint64_t>(count) * block_size;
  std::uint64_t offset;
  if (__builtin_mul_overflow(block, block_size, &offset)) return EXT2_ET_SHORT_READ;
  auto* to = static_cast<std::byte*>(data);
  if (channel_of(channel)->source->read(offset, std::span(to, length))) return 0;
  std::memset(to, 0, length);
  return EXT2_ET_SHORT_READ;
}

errcode_t channel_read(io_channel channel, unsigned long block, int count, void* data) {
  return channel_read64(channel, block, count, data);
}

errcode_t channel_write64(io_channel, unsigned long long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}
errcode_t channel_write(io_channel, unsigned long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}
errcode_t channel_flush(io_channel) {
  return 0;
}
errcode_t channel_set_option(io_channel, const char*, const char*) {
  return EXT2_ET_INVALID_ARGUMENT;
}

io_manager source_manager() {
  static struct_io_manager manager = [] {
    struct_io_manager made{};
    made.magic = EXT2_ET_MAGIC_IO_MANAGER;
    made.name = "image";
    made.open = channel_open;
    made.close = channel_close;
    made.set_blksize = channel_set_blksize;
    made.read_blk = channel_read;
    made.write_blk = channel_write;
    made.flush = channel_flush;
    made.set_option = channel_set_option;
    made.read_blk64 = channel_read64;
    made.write_blk64 = channel_write64;
    return made;
  }();
  return &manager;
}

errcode_t channel_open(const char*, int, io_channel* out) {
  auto* channel = new Channel;
  channel->source = source_to_open;
  channel->base.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel->base.manager = source_manager();
  channel->base.name = channel->name.data();
  channel->base.block_size = 1024;
  channel->base.refcount = 1;
  channel->base.private_data = channel;
  *out = &channel->base;
  return 0;
}

struct FileCloser {
  void operator()(ext2_file_t file) const { ext2fs_file_close(file); }
};

class ExtFile : public File {
 public:
  ExtFile(ext2_file_t file, std::uint64_t size) : file_(file), size_(size) {}

  std::uint64_t size() const override { return size_; }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    if (!lies_inside(offset, to.size(), size_)) {
      return fail(ErrorKind::kOutOfRange, "a read beyond the end of a file");
    }
    errcode_t code = ext2fs_file_llseek(file_.get(), offset, EXT2_SEEK_SET, nullptr);
    while (code == 0 && !to.empty()) {
      unsigned got = 0;
      code =
          ext2fs_file_read(file_.get(), to.data(),
                           static_cast<unsigned>(std::min<std::size_t>(to.size(), 1 << 20)), &got);
      if (code == 0 && got == 0) code = EXT2_ET_SHORT_READ;
      to = to.subspan(got);
    }
    if (code != 0) return fail(ErrorKind::kInvalid, text_of(code));
    return {};
  }

 private:
  std::unique_ptr<ext2_file, FileCloser> file_;
  const std::uint64_t size_;
};

struct Names {
  std::vector<std::string> names;
};

int collect_name(ext2_ino_t, int, struct ext2_dir_entry* entry, int, int, char*, void* data) {
  auto& names = static_cast<Names*>(data)->names;
  const std::string name(entry->name, static_cast<std::size_t>(ext2fs_dirent_name_len(entry)));
  if (name != "." && name != "..") names.push_back(name);
  return names.size() >= FileSystem::kMaxNames ? DIRENT_ABORT : 0;
}

struct FsCloser {
  void operator()(ext2_filsys fs) const { ext2fs_free(fs); }
};
using FsHandle = std::unique_ptr<struct_ext2_filsys, FsCloser>;

const char* type_of(const ext2_super_block& super) {
  if ((super.s_feature_incompat & (EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |
                                   EXT4_FEATURE_INCOMPAT_FLEX_BG)) != 0) {
    return "ext4";
  }
  return (super.s_feature_compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL) != 0 ? "ext3" : "ext2";
}

std::string uuid_text(const __u8* raw) {
  std::string text;
  for (int i = 0; i < 16; ++i) {
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", raw[i]);
  }
  return text;
}

class ExtFileSystem : public FileSystem {
 public:
  explicit ExtFileSystem(FsHandle fs)
      : fs_(std::move(fs)), type_(type_of(*fs_->super)), uuid_(uuid_text(fs_->super->s_uuid)) {}

  const char* type() const override { return type_; }
  const std::string& uuid() const override { return uuid_; }

  Result<std::unique_ptr<File>> open(const std::string& path) override {
    VMM_TRY(ext2_ino_t number, find(path));
    ext2_inode inode{};
    if (errcode_t code = ext2fs_read_inode(fs_.get(), number, &inode)) return complain(path, code);
    if (!LINUX_S_ISREG(inode.i_mode)) {
      return fail(ErrorKind::kNotFound, path + ": not a regular file");
    }
    ext2_file_t file = nullptr;
    if (errcode_t code = ext2fs_file_open2(fs_.get(), number, &inode, 0, &file)) {
      return complain(path, code);
    }
    return std::unique_ptr<File>(std::make_unique<ExtFile>(file, EXT2_I_SIZE(&inode)));
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    VMM_TRY(ext2_ino_t number, find(path));
    if (errcode_t code = ext2fs_check_directory(fs_.get(), number)) return complain(path, code);
    Names names;
    if (errcode_t code = ext2fs_dir_iterate2(fs_.get(), number, 0, nullptr, collect_name, &names)) {
      return complain(path, code);
    }
    return std::move(names.names);
  }

  bool has_directory(const std::string& path) override {
    Result<ext2_ino_t> number = find(path);
    return number && ext2fs_check_directory(fs_.get(), *number) == 0;
  }

 private:
  Result<ext2_ino_t> find(const std::string& path) {
    if (path.size() > kMaxPath) return fail(ErrorKind::kInvalid, "a path is too long");
    ext2_ino_t number = 0;
    if (errcode_t code =
            ext2fs_namei_follow(fs_.get(), EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &number)) {
      return complain(path, code);
    }
    return number;
  }

  static Unexpected<Error> complain(const std::string& path, errcode_t code) {
    const ErrorKind kind =
        code == EXT2_ET_FILE_NOT_FOUND ? ErrorKind::kNotFound : ErrorKind::kInvalid;
    return fail(kind, path + ": " + text_of(code));
  }

  FsHandle fs_;
  const char* type_;
  const std::string uuid_;
};

// libext2fs sizes its tables by these numbers before it reads on, so they are held against the
// partition first.
Result<void> check_superblock(Source& source) {
  std::array<std::byte, 1024> super;
  VMM_CHECK(source.read(kSuperblock, super));
  const auto log_block_size = load_le<std::uint32_t>(super.data() + 24);
  if (log_block_size > kMaxLogBlockSize) {
    return fail(ErrorKind::kInvalid, "the superblock's block size is out of range");
  }
  const bool wide = (load_le<std::uint32_t>(super.data() + 96) & EXT4_FEATURE_INCOMPAT_64BIT) != 0;
  const std::uint64_t high = wide ? load_le<std::uint32_t>(super.data() + 336) : 0;
  const std::uint64_t nr_blocks = (high << 32) | load_le<std::uint32_t>(super.data() + 4);
  if (nr_blocks > source.size() >> (10 + log_block_size)) {
    return fail(ErrorKind::kInvalid, "the file system is larger than its partition");
  }
  return {};
}

}  // namespace

bool is_ext(Source& source) {
  std::byte magic[2];
  return source.read(kSuperblock + 56, magic) && load_le<std::uint16_t>(magic) == EXT2_SUPER_MAGIC;
}

Result<std::unique_ptr<FileSystem>> open_ext(Source& source) {
  VMM_CHECK(check_superblock(source));
  initialize_ext2_error_table();
  source_to_open = &source;
  ext2_filsys fs = nullptr;
  const errcode_t code = ext2fs_open2(
      "image", nullptr, EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES | EXT2_FLAG_SKIP_MMP, 0, 0,
      source_manager(), &fs);
  source_to_open = nullptr;
  if (code != 0) return fail(ErrorKind::kInvalid, "ext2/3/4: " + text_of(code));
  return std::unique_ptr<FileSystem>(std::make_unique<ExtFileSystem>(FsHandle(fs)));
}

}  // namespace vmm::bootfind
