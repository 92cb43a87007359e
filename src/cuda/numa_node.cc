#include "cuda/numa_node.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <climits>
#include <fstream>
#include <vector>

namespace hopyard {

namespace {

constexpr std::size_t kWordBits = sizeof(unsigned long) * CHAR_BIT, kNodesMax = 1024;  // as many as Linux knows

/// A whole number and nothing else.
std::optional<std::uint32_t> whole_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string first_word(const std::string& file) {
  std::ifstream in(file);
  std::string word;
  in >> word;
  return word;
}

struct NodeRange {
  std::uint32_t first = 0, last = 0;
};

/// "0-1,8": ranges of nodes. Nothing when it is anything else.
std::vector<NodeRange> node_ranges(std::string_view list) {
  std::vector<NodeRange> ranges;
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    const auto dash = range.find('-');
    const auto first = whole_number(range.substr(0, dash));
    const auto last = dash == range.npos ? first : whole_number(range.substr(dash + 1));
    if (!first || !last || *last < *first) return {};
    ranges.push_back({*first, *last});
    list.remove_prefix(std::min(list.size(), range.size() + 1));
  }
  return ranges;
}

}  // namespace

std::optional<std::uint32_t> numa_node_of_card(const std::string& bus_id, const std::string& sysfs) {
  std::string device = bus_id;  // the kernel writes it in small letters
  std::transform(device.begin(), device.end(), device.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto node = whole_number(first_word(sysfs + "/bus/pci/devices/" + device + "/numa_node"));  // -1: unknown
  if (device.empty() || !node) return std::nullopt;
  const auto with_memory = node_ranges(first_word(sysfs + "/devices/system/node/has_memory"));
  const bool several =
      with_memory.size() > 1 || (with_memory.size() == 1 && with_memory[0].first < with_memory[0].last);
  const bool has_some = std::any_of(with_memory.begin(), with_memory.end(),
                                    [&](const auto& range) { return range.first <= *node && *node <= range.last; });
  return several && has_some ? node : std::nullopt;
}

bool prefer_numa_node(void* data, Bytes bytes, std::uint32_t node) noexcept {
  if (node >= kNodesMax) return false;
  std::array<unsigned long, kNodesMax / kWordBits> nodes{};
  nodes[node / kWordBits] = 1ul << node % kWordBits;
  const unsigned long mode = MPOL_PREFERRED, counted = kNodesMax + 1, flags = 0;  // the kernel counts one less
  return ::syscall(SYS_mbind, data, bytes, mode, nodes.data(), counted, flags) == 0;
}

}  // namespace hopyard
