// SPDX-License-Identifier: Apache-2.0
// The value of --disk.
#pragma once

#include <string>
#include <string_view>

#include "disk/open_disk.h"
#include "vmm/core/result.h"

namespace vmm::cli {

// Takes what stands before the first single comma; two commas are one that belongs to the text.
std::string take_part(std::string_view& rest);

// "file[,option]...". A comma ends the file name or an option; two commas are one that belongs to
// it. The options:
//   ro, rw                         whether the guest may write
//   nofollow                       no symbolic link, nor one among the files that the image names
//   format=raw|qcow|qcow2          not found out by looking
//   snapshot                       writes are dropped at the end
//   cache=writeback|none|writethrough|unsafe, direct
//   discard=unmap|ignore           whether guest discards give space back
//   detect-zeroes=off|on|unmap     whether writes of zeros are stored
//   backing=auto|on|off            whether files that the image names are opened
//   l2-cache-size=, l2-cache-entry-size=, refcount-cache-size=   bytes, or with K, M, G
//   serial=                        at most 20 bytes
//   werror=enospc|report|stop      whether a change that the host failed waits to be retried
//   iops=, bw=                     requests and bytes (or with K, M, G) per second; 0: no limit
Result<disk::DiskOptions> parse_disk_option(std::string_view text);

}  // namespace vmm::cli
