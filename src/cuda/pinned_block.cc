#include "cuda/pinned_block.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "cuda/numa_node.h"

namespace hopyard {

namespace {

std::byte* pages(Bytes bytes, std::optional<std::uint32_t> node) {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  if (node) prefer_numa_node(data, bytes, *node);
  std::memset(data, 1, bytes);
  return static_cast<std::byte*>(data);
}

}  // namespace

PinnedBlock::PinnedBlock(CudaCalls& calls, Bytes bytes)
    : calls_(calls), bytes_(bytes), data_(pages(bytes, calls.numa_node())), pinned_(calls.pin(data_, bytes)) {}

PinnedBlock::~PinnedBlock() {
  if (pinned_) calls_.unpin(data_);
  ::munmap(data_, bytes_);
}

}  // namespace hopyard
