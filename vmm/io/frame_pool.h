// SPDX-License-Identifier: Apache-2.0
// FramePool: coroutine frames, recycled per thread. A request makes a handful of frames of the same
// few sizes; taking them from a free list keeps malloc out of the I/O path. Under AddressSanitizer
// every frame is a fresh allocation, so that use after free is seen.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace vmm {

#if defined(__SANITIZE_ADDRESS__)
#define VMM_FRAME_POOL_OFF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VMM_FRAME_POOL_OFF 1
#endif
#endif

class FramePool {
 public:
  static void* allocate(std::size_t size) {
#ifndef VMM_FRAME_POOL_OFF
    if (size <= kLargest) {
      List& list = lists()[size_class(size)];
      if (list.head != nullptr) {
        Node* node = list.head;
        list.head = node->next;
        --list.nr_free;
        return node;
      }
      return ::operator new((size_class(size) + 1) * kStep);
    }
#endif
    return ::operator new(size);
  }

  static void release(void* frame, [[maybe_unused]] std::size_t size) noexcept {
#ifndef VMM_FRAME_POOL_OFF
    if (size <= kLargest) {
      List& list = lists()[size_class(size)];
      if (list.nr_free < kKeep) {
        list.head = new (frame) Node{list.head};
        ++list.nr_free;
        return;
      }
    }
#endif
    ::operator delete(frame);
  }

 private:
  static constexpr std::size_t kStep = 64;       // bytes between size classes
  static constexpr std::size_t kLargest = 2048;  // bytes; larger frames go to malloc
  static constexpr std::size_t kKeep = 256;      // free frames kept per class and thread

  struct Node {
    Node* next;
  };
  struct List {
    Node* head = nullptr;
    std::size_t nr_free = 0;
  };
  struct Lists : std::array<List, kLargest / kStep> {
    ~Lists() {
      for (List& list : *this) {
        while (list.head != nullptr) {
          Node* node = list.head;
          list.head = node->next;
          ::operator delete(node);
        }
        list.nr_free = kKeep;  // frames released after this thread's end are not kept
      }
    }
  };

  static std::size_t size_class(std::size_t size) {
    return (size - 1) / kStep;
  }
  static Lists& lists() {
    thread_local Lists lists;
    return lists;
  }
};

}  // namespace vmm
