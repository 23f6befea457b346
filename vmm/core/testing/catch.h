// SPDX-License-Identifier: Apache-2.0
// The one place that knows which Catch2 is installed: v2 is one header, v3 several.
// Tests stay in the subset that both understand.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#else
#include <catch2/catch.hpp>
#endif
