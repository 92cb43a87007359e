#include "spill/buffer_window.h"

#include <iterator>
#include <utility>

#include "base/failure.h"

namespace hopyard {

HostBuffer BufferWindow::take(Bytes bytes) {
  const Bytes size = HostBuffer::rounded(bytes);
  require(size <= available_, "a buffer of ", size, " bytes was asked of a window with ", available_, " available");
  if (auto spare = spare_.extract(size)) {
    available_ -= size;
    return std::move(spare.mapped());
  }
  while (free_.bytes() < size) {
    const auto largest = std::prev(spare_.end());
    free_.merge(largest->second.release());
    spare_.erase(largest);
  }
  HostBuffer buffer(free_.split(size), size);
  available_ -= size;
  return buffer;
}

void BufferWindow::give_back(HostBuffer buffer) {
  const Bytes size = buffer.size();
  available_ += size;
  spare_.emplace(size, std::move(buffer));
}

void BufferWindow::close() {
  require(available_ == bytes_, "a window of ", bytes_, " bytes is closed while only ", available_, " are back");
  spare_.clear();
  free_ = HostReservation();
  bytes_ = available_ = 0;
}

}  // namespace hopyard
