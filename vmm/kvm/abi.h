// SPDX-License-Identifier: Apache-2.0
// <linux/kvm.h> as C++ must see it: include this one, never that one.
//
// Linux 6.1 to 6.6 declare flexible arrays behind an empty struct, which takes no space in C but
// one byte in C++: offsets move, and with them the ioctl numbers.
#pragma once

#include <linux/stddef.h>

#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(type, name) type name[0]
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"  // arrays of size 0
#include <linux/kvm.h>
#pragma GCC diagnostic pop

static_assert(sizeof(kvm_irq_routing) == 8);
static_assert(sizeof(kvm_msrs) == 8);
static_assert(sizeof(kvm_cpuid2) == 8);
