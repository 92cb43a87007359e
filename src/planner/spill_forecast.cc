#include "planner/spill_forecast.h"

#include <algorithm>

namespace hopyard {

namespace {

constexpr int kSettlingRounds = 2;

/// Tasks from `now` until the blob is needed again, going round.
std::size_t next_use(const std::vector<BlobUse>& tasks, std::size_t now, std::uint32_t blob) {
  for (std::size_t ahead = 1; ahead <= tasks.size(); ++ahead) {
    const auto& needed = tasks[(now + ahead) % tasks.size()].needed;
    if (std::binary_search(needed.begin(), needed.end(), blob)) return ahead;
  }
  return tasks.size() + 1;
}

}  // namespace

Bytes spilled_per_round(const std::vector<BlobUse>& tasks, const std::vector<Bytes>& bytes, Bytes window) {
  std::vector<bool> present(bytes.size(), false), dirty(bytes.size(), false);
  Bytes used = 0, written = 0;
  const auto make_room = [&](std::size_t now, Bytes wanted) {
    const auto& keep = tasks[now].needed;
    while (used + wanted > window) {
      std::uint32_t victim = static_cast<std::uint32_t>(bytes.size());
      std::size_t latest = 0;
      for (std::uint32_t blob = 0; blob < bytes.size(); ++blob) {
        if (!present[blob] || std::binary_search(keep.begin(), keep.end(), blob)) continue;
        const std::size_t use = next_use(tasks, now, blob);
        if (use > latest) latest = use, victim = blob;
      }
      if (victim == bytes.size()) return;
      written += dirty[victim] ? bytes[victim] : 0;
      used -= bytes[victim];
      present[victim] = dirty[victim] = false;
    }
  };
  for (int round = 0; round <= kSettlingRounds; ++round) {
    if (round == kSettlingRounds) written = 0;
    for (std::size_t now = 0; now < tasks.size(); ++now) {
      for (const auto blob : tasks[now].needed) {
        if (present[blob] || bytes[blob] == 0) continue;
        make_room(now, bytes[blob]);
        present[blob] = true;
        used += bytes[blob];
      }
      for (const auto blob : tasks[now].changed) dirty[blob] = true;
    }
  }
  return written;
}

}  // namespace hopyard
