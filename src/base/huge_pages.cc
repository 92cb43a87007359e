#include "base/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace hopyard {

namespace {

constexpr Bytes kHugePage = 2 * MiB, kPage = 4 * KiB;

/// Null when there is none. `slack`: kHugePage, to begin at one, or nothing.
std::byte* map_with(Bytes bytes, Bytes slack, int flags) {
  void* const mapped =
      ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const data = static_cast<std::byte*>(mapped);
  if (slack == 0) return data;
  const Bytes before = (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
  const Bytes end = align_up(bytes, kPage);
  if (before > 0) ::munmap(data, before);
  if (before + end < bytes + slack) ::munmap(data + before + end, bytes + slack - before - end);
  ::madvise(data + before, bytes, MADV_HUGEPAGE);  // a wish; nothing breaks where it is not granted
  return data + before;
}

}  // namespace

std::byte* map_memory(Bytes bytes) {
  std::byte* const data = map_with(bytes, bytes >= kHugePage ? kHugePage : 0, 0);
  if (data == nullptr) throw std::bad_alloc();  // the machine's lack, and no trial's
  return data;
}

std::byte* map_uncommitted_memory(Bytes bytes) { return map_with(bytes, kHugePage, MAP_NORESERVE); }

void unmap_memory(std::byte* data, Bytes bytes) { ::munmap(data, bytes); }

}  // namespace hopyard
