// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/last_words.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

namespace vmm::disk {
namespace {

char text[1024];
volatile std::size_t text_length = 0;
unsigned time_limit = 0;

void say(const char* bytes, std::size_t length) {
  while (length > 0) {
    const ssize_t written = write(STDERR_FILENO, bytes, length);
    if (written <= 0) return;
    bytes += written;
    length -= static_cast<std::size_t>(written);
  }
}

void on_signal(int signal) {
  const char* why = signal == SIGALRM ? "\nit hangs: " : "\nit died: ";
  say(why, std::strlen(why));
  say(text, text_length);
  say("\n", 1);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void set_last_words(const std::string& words) {
  const std::size_t length = std::min(words.size(), sizeof text);
  std::memcpy(text, words.data(), length);
  text_length = length;
  if (time_limit != 0) alarm(time_limit);
}

void arm_last_words(unsigned limit) {
  time_limit = limit;
  for (int signal : {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    std::signal(signal, on_signal);
  }
}

}  // namespace vmm::disk
