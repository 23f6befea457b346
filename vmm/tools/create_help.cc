// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/create_image.h"
#include "vmm/tools/option_list.h"

namespace vmm::tools {

namespace {

constexpr const char* kHelp = R"(Supported options:
  backing_file=<str>       File name of a base image
  backing_fmt=<str>        Format of the base image
  cluster_size=<size>      Bytes of a cluster, 512 to 2M (default: 64k)
  compat=<str>             0.10 (version 2) or 1.1 (version 3, the default)
  compression_type=<str>   zlib (default) or zstd
  data_file=<str>          File that holds the guest's data
  data_file_raw=<on/off>   Keep that file valid as a raw image
  extended_l2=<on/off>     32 subclusters for each cluster
  lazy_refcounts=<on/off>  Postpone refcount updates
  preallocation=<str>      off, metadata, falloc, full
  refcount_bits=<num>      Width of a refcount: 1, 2, 4 ... 64 (default: 16)
  size=<size>              Virtual disk size
)";
constexpr const char* kQcow1Help = R"(Supported options:
  backing_file=<str>       File name of a base image
  backing_fmt=<str>        Format of the base image
  size=<size>              Virtual disk size
)";
constexpr const char* kRawHelp = R"(Supported options:
  preallocation=<str>      off, falloc, full
  size=<size>              Virtual disk size
)";

}  // namespace

std::string create_options_help(const std::string& format) {
  if (format == "qcow2") return kHelp;
  return format == "qcow" ? kQcow1Help : kRawHelp;
}

// "cluster_size=4k,help" asks too; ",,help" is the end of a value.
bool names_help(const std::string& options) {
  const Result<OptionList> list = parse_option_list(options);
  if (!list) return false;
  for (const auto& [name, value] : *list) {
    if ((name == "help" || name == "?") && value == "on") return true;
  }
  return false;
}

}  // namespace vmm::tools
