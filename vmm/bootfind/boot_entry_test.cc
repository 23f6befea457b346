// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/boot_entry.h"

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {

TEST_CASE("printable: letters of any language stay as they are", "[bootfind]") {
  CHECK(printable("Débian – 標準 🐧") == "Débian – 標準 🐧");
}

TEST_CASE("printable: nothing is left that a terminal would obey", "[bootfind]") {
  CHECK(printable("a\x1b[2Jb") == "a?[2Jb");
  CHECK(printable("line\nline\ttab\x7f") == "line?line tab?");
  CHECK(printable("\x9b"
                  "31m") == "?31m");  // CSI as one byte
  CHECK(printable("\xc2\x9b"
                  "31m") == "??31m");  // and as UTF-8
  CHECK(printable(std::string("nul\0x", 5)) == "nul?x");
}

TEST_CASE("printable: bytes that are no UTF-8 are replaced one by one", "[bootfind]") {
  CHECK(printable("\xff\xfe") == "??");
  CHECK(printable("\xe2\x82") == "??");  // cut off
  CHECK(printable("\xc0\xaf") == "??");  // a long spelling of "/"
  CHECK(printable("\xe0\x80\xaf") == "???");
}

}  // namespace vmm::bootfind
