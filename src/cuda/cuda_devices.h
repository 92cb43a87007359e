// The CUDA cards of this machine, as devices. A build without the CUDA toolkit has this header too, and says that it
// knows no card.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/link_speed.h"
#include "device/device.h"
#include "device/host_memory.h"

namespace hopyard {

/// A card as the driver describes it. Bytes and bytes/s.
struct CudaCard {
  std::uint32_t index = 0;
  std::string name;            ///< "NVIDIA H200"
  int major = 0, minor = 0;    ///< compute capability
  Bytes memory = 0, free = 0;  ///< now
  std::string bus_id;          ///< "0000:3b:00.0"
  std::string why_unusable;    ///< empty when it answers; names who holds it, if that is why and the driver tells
};

/// What of CUDA is here: the cards, or a sentence on why there are none (no driver, one too old, a build without CUDA).
struct CudaCards {
  std::vector<CudaCard> cards;
  std::string why_none;
  std::string driver, runtime;  ///< "13.0"; empty without a driver
};
CudaCards cuda_cards();
/// Their names alone. Nothing is made on them, as cuda_cards() makes a context on each.
std::vector<std::string> cuda_card_names();
/// Where card `index` is on the bus, "0000:3b:00.0"; empty where the driver does not tell.
std::string cuda_bus_id(std::uint32_t index);

/// Those that the driver shows to this process; none where there is no CUDA.
std::uint32_t cuda_card_count();

/// Where the cards of a worker begin that wants so many of those it sees. Of several workers on one machine each takes
/// its own, by LOCAL_RANK; who sees no more than it wants (CUDA_VISIBLE_DEVICES) begins at 0.
constexpr std::uint32_t first_card_of(std::uint32_t local_rank, std::uint32_t wanted, std::uint32_t seen) {
  return seen <= wanted ? 0 : local_rank * wanted;
}

/// Copies a few blocks both ways: 0.1 s. Throws Failure(capacity) when the card cannot be used.
LinkSpeed measure_cuda_link(std::uint32_t index);

/// What `resources.devices` asks for and the machine has not: throws Failure(usage) for no such card or a build without
/// CUDA, Failure(capacity) when less than the budget is free there. Otherwise the spec with its memory (0: what is free
/// but for a reserve), the measured rate of the link and its first card filled in.
DeviceSpec resolve_cuda_device(const DeviceSpec& spec, std::uint32_t first_card);

/// Of a budget, what DeviceSpec::overhead should be: what cuBLAS works in (32 MiB for each way into it, seen on an
/// H200) and what the allocator's two pools cannot give to each other.
constexpr Bytes cuda_overhead(Bytes budget) {
  const Bytes wanted = 192 * MiB + budget / 32;
  return wanted < budget / 2 ? wanted : budget / 2;
}

/// Drives card `index`. libtorch's caching allocator of that card is held to the budget; one of them for a card.
/// `trace` may be null and must outlive it.
std::unique_ptr<Device> make_cuda_device(const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace);

/// Host memory of so many bytes, pinned as one piece, near that card where the machine has several NUMA nodes and lets
/// us choose. As much of it as the system grants; null and a warning when it refuses, and without CUDA.
std::unique_ptr<HostMemory> make_pinned_memory(Bytes bytes, std::uint32_t first_card);

}  // namespace hopyard
