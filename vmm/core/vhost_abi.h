// SPDX-License-Identifier: Apache-2.0
// linux/vhost.h, without the helpers in what it includes, which are C only.
#pragma once

#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost.h>
#undef VIRTIO_RING_NO_LEGACY
