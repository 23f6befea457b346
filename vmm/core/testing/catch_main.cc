// SPDX-License-Identifier: Apache-2.0
// Catch2 v2's main, compiled once: it is by far the slowest part of its header.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
