#include "cuda/pinned_slab.h"

#include <sys/mman.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "base/failure.h"
#include "base/huge_pages.h"
#include "base/log.h"
#include "cuda/numa_node.h"

namespace hopyard {

namespace {

constexpr Bytes kPage = 4 * KiB, kHugePage = 2 * MiB;
constexpr int kHalvingsMax = 3;
constexpr Bytes kLeftOfLimit = 8;  ///< an eighth of a limit is for what is not pinned
constexpr unsigned kPopulatorsMax = 16;

/// Pinning brings pages in one after the other; several threads zero them sooner. A wish as well.
void populate([[maybe_unused]] std::byte* data, [[maybe_unused]] Bytes bytes) {
#ifdef MADV_POPULATE_WRITE
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kPopulatorsMax);
  const Bytes share = align_up((bytes + threads - 1) / threads, kHugePage);
  std::vector<std::jthread> populating;
  for (Bytes at = 0; at < bytes; at += share)
    populating.emplace_back([=] { ::madvise(data + at, std::min(share, bytes - at), MADV_POPULATE_WRITE); });
#endif
}

}  // namespace

std::unique_ptr<PinnedSlab> PinnedSlab::make(Bytes bytes, Pinning pinning, std::optional<Bytes> limit,
                                             std::optional<std::uint32_t> node) {
  const Bytes wanted = align_up(bytes, kPage);
  Bytes granted = wanted;
  if (limit) granted = std::min(granted, (*limit - *limit / kLeftOfLimit) / kPage * kPage);
  for (int halvings = 0; granted > 0 && halvings <= kHalvingsMax; ++halvings, granted = granted / 2 / kPage * kPage) {
    std::byte* const data = map_uncommitted_memory(granted);
    if (data == nullptr) continue;
    if (node) prefer_numa_node(data, granted, *node);
    populate(data, granted);
    if (!pinning.pin(data, granted)) {
      unmap_memory(data, granted);
      continue;
    }
    if (granted < wanted)
      HOPYARD_WARN << text::format_bytes(granted) << " of " << text::format_bytes(wanted)
                   << " of host memory could be pinned"
                   << (limit ? text::cat(" (this process may have ", text::format_bytes(*limit), ")") : std::string())
                   << "; copies of the rest are slower";
    return std::unique_ptr<PinnedSlab>(new PinnedSlab(data, granted, std::move(pinning)));
  }
  HOPYARD_WARN << "host memory could not be pinned: copies to and from cards are slower";
  return nullptr;
}

PinnedSlab::PinnedSlab(std::byte* data, Bytes bytes, Pinning pinning)
    : data_(data), bytes_(bytes), pinning_(std::move(pinning)), free_{{0, bytes}} {}

PinnedSlab::~PinnedSlab() {
  pinning_.unpin(data_);
  unmap_memory(data_, bytes_);
}

std::byte* PinnedSlab::map(Bytes bytes) {
  require(bytes > 0 && bytes % kPage == 0, bytes, " bytes are not whole pages");
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(free_.begin(), free_.end(), [&](const auto& part) { return part.second >= bytes; });
  if (found == free_.end()) return nullptr;
  const auto [at, length] = *found;
  free_.erase(found);
  if (length > bytes) free_.emplace(at + bytes, length - bytes);
  return data_ + at;
}

void PinnedSlab::unmap(std::byte* data, Bytes bytes) {
  require(data >= data_ && data + bytes <= data_ + bytes_, "bytes that are not of this slab");
  Bytes at = static_cast<Bytes>(data - data_);
  const std::lock_guard lock(mutex_);
  auto next = free_.lower_bound(at);
  require(next == free_.end() || at + bytes <= next->first, "bytes came back twice");
  if (next != free_.end() && next->first == at + bytes) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    require(before->first + before->second <= at, "bytes came back twice");
    if (before->first + before->second == at) {
      before->second += bytes;
      return;
    }
  }
  free_.emplace(at, bytes);
}

Bytes PinnedSlab::free() const {
  const std::lock_guard lock(mutex_);
  Bytes sum = 0;
  for (const auto& [at, length] : free_) sum += length;
  return sum;
}

}  // namespace hopyard
