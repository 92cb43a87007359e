// What top -H, perf and gdb call a thread.
#pragma once

#include <pthread.h>

#include <string>

namespace hopyard {

/// Names the calling thread. The system keeps the first 15 characters.
inline void name_thread(const std::string& name) { ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str()); }

}  // namespace hopyard
