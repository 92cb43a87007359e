#include "base/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace hopyard {

namespace {

constexpr Bytes kHugePage = 2 * MiB, kPage = 4 * KiB;

}  // namespace

std::byte* map_memory(Bytes bytes) {
  const Bytes slack = bytes >= kHugePage ? kHugePage : 0;
  void* mapped = ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();  // the machine's lack, and no trial's
  auto* data = static_cast<std::byte*>(mapped);
  if (slack == 0) return data;
  const Bytes before = (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
  const Bytes end = align_up(bytes, kPage);
  if (before > 0) ::munmap(data, before);
  if (before + end < bytes + slack) ::munmap(data + before + end, bytes + slack - before - end);
  ::madvise(data + before, bytes, MADV_HUGEPAGE);  // a wish; nothing breaks where it is not granted
  return data + before;
}

void unmap_memory(std::byte* data, Bytes bytes) { ::munmap(data, bytes); }

}  // namespace hopyard
