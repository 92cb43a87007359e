#include "cuda/pinned_block.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace hopyard {

namespace {

constexpr Bytes kPageBytes = 4 * KiB;

std::byte* pages(Bytes bytes) {
  void* const data = std::aligned_alloc(kPageBytes, align_up(bytes, kPageBytes));
  if (data == nullptr) throw std::bad_alloc();
  std::memset(data, 1, bytes);
  return static_cast<std::byte*>(data);
}

}  // namespace

PinnedBlock::PinnedBlock(CudaCalls& calls, Bytes bytes)
    : calls_(calls), data_(pages(bytes)), pinned_(calls.pin(data_, bytes)) {}

PinnedBlock::~PinnedBlock() {
  if (pinned_) calls_.unpin(data_);
  std::free(data_);
}

}  // namespace hopyard
