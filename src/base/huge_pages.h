// Memory straight from the kernel, in huge pages where it grants them.
#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace hopyard {

/// Zeroed memory, aligned to 4 KiB, and to 2 MiB when it is at least as long. Huge pages are few segments for the disk:
/// direct I/O of 4 MiB into small pages ran at a third of the bandwidth. std::bad_alloc when there is none.
std::byte* map_memory(Bytes bytes);
/// As map_memory(), but at 2 MiB whatever its length, and not counted by the kernel as committed; null when there is
/// none. For memory that is brought in at once.
std::byte* map_uncommitted_memory(Bytes bytes);
void unmap_memory(std::byte* data, Bytes bytes);

}  // namespace hopyard
