// The members of a visit, each on a thread.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "pipeline/step_exchange.h"

namespace hopyard {

/// Calls work(member) for each on a thread of its own, and gives what each threw: empty, or what it says.
inline std::vector<std::string> each_member(std::uint32_t members, const std::function<void(std::uint32_t)>& work) {
  std::vector<std::string> broken(members);
  std::vector<std::jthread> threads;
  for (std::uint32_t member = 0; member < members; ++member)
    threads.emplace_back([&, member] {
      try {
        work(member);
      } catch (const ExchangeBroken& error) {
        broken[member] = error.what();
      }
    });
  threads.clear();
  return broken;
}

}  // namespace hopyard
