#include "cuda/memory_limit.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace hopyard {

namespace {

/// Version 1 says "no limit" with the largest number of whole pages that it knows.
constexpr Bytes kNoLimit = Bytes{1} << 62;

std::optional<Bytes> limit_in(const std::string& file) {
  std::ifstream in(file);
  std::string word;
  if (!(in >> word)) return std::nullopt;
  Bytes limit = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), limit);
  if (error != std::errc() || end != word.data() + word.size() || limit >= kNoLimit) return std::nullopt;
  return limit;
}

/// Of the group at `path` below `root`, and of all above it.
void take_limits(const std::string& root, std::string path, const char* file, std::optional<Bytes>& least) {
  while (true) {
    while (path.ends_with('/')) path.pop_back();
    if (const auto limit = limit_in(root + path + "/" + file)) least = least ? std::min(*least, *limit) : limit;
    if (path.empty()) return;
    path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

std::optional<Bytes> available_memory(const std::string& meminfo) {
  std::ifstream in(meminfo);
  std::string word;
  for (Bytes kilobytes = 0; in >> word;)
    if (word == "MemAvailable:" && in >> kilobytes) return kilobytes * KiB;
  return std::nullopt;
}

std::optional<Bytes> cgroup_memory_limit(const std::string& root, const std::string& own) {
  std::string unified, memory;  // in a container the group may be shown as its own root
  std::ifstream in(own);
  for (std::string line; std::getline(in, line);) {  // "0::/path" or "5:cpu,memory:/path"
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers == ",,") unified = line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) memory = line.substr(second + 1);
  }
  std::optional<Bytes> least;
  take_limits(root, unified, "memory.max", least);
  take_limits(root + "/memory", memory, "memory.limit_in_bytes", least);
  return least;
}

}  // namespace hopyard
