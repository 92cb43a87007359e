// The cards of this machine, through the CUDA runtime.
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "base/failure.h"
#include "cuda/card_watch.h"
#include "cuda/cuda_device.h"
#include "cuda/cuda_devices.h"
#include "cuda/link_speed.h"
#include "cuda/memory_limit.h"
#include "cuda/numa_node.h"
#include "cuda/pinned_slab.h"
#include "cuda/real_calls.h"
#include "cuda/real_kernels.h"
#include "cuda/real_torch_library.h"

namespace hopyard {

namespace {

/// Beside what libtorch's allocator holds: kernels that are loaded when they are first asked for, and fragments.
constexpr Bytes kReserve = GiB;
/// What kernels are compiled for (cmake/Dependencies.cmake).
constexpr int kMajorLeast = 8;
/// Long enough that starting a copy does not show.
constexpr Bytes kLinkBlock = 256 * MiB;

std::string version(int number) { return text::cat(number / 1000, ".", number % 1000 / 10); }

std::string why_no_count(cudaError_t error, const CudaCards& found) {
  if (error == cudaErrorInsufficientDriver)
    return text::cat("the NVIDIA driver here is for CUDA ", found.driver, ", and this program needs one for CUDA ",
                     found.runtime, " or later: update the driver");
  if (error == cudaErrorNoDevice)
    return "the NVIDIA driver lists no GPU: see CUDA_VISIBLE_DEVICES, and whether nvidia-smi lists one";
  return text::cat("the NVIDIA driver does not answer: ", cudaGetErrorString(error));
}

/// "; python (process 41) holds 5 GiB of it", as far as the driver tells.
std::string held_by(const std::string& bus_id) {
  std::string why_not, held;
  const auto watch = CardWatch::open(why_not);
  if (watch == nullptr) return "";
  for (const auto& holder : watch->holders(bus_id))
    held += text::cat("; ", holder.name.empty() ? "somebody" : holder.name, " (process ", holder.process, ") holds ",
                      holder.memory ? text::format_bytes(*holder.memory) : "some", " of it");
  return held;
}

/// What is known of it without using it.
CudaCard properties_of(int index) {
  CudaCard card;
  card.index = static_cast<std::uint32_t>(index);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) == cudaSuccess) {
    card.name = properties.name;
    card.major = properties.major;
    card.minor = properties.minor;
    card.memory = properties.totalGlobalMem;
  }
  card.bus_id = bus_id_of(card.index);
  return card;
}

CudaCard describe_card(int index) {
  CudaCard card = properties_of(index);
  std::size_t free = 0, whole = 0;
  if (const cudaError_t error = card_memory(static_cast<c10::DeviceIndex>(index), free, whole); error == cudaSuccess) {
    card.free = free;
    card.memory = whole;
  } else {
    card.why_unusable = cudaGetErrorString(error) + held_by(card.bus_id);
  }
  return card;
}

CudaCards count_cards(int& count) {
  CudaCards found;
  count = 0;
  int driver = 0, runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  found.runtime = version(runtime);
  if (driver > 0) found.driver = version(driver);
  found.why_none = torch_cuda_missing();
  if (!found.why_none.empty()) return found;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    count = 0;
  }
  if (count == 0) found.why_none = why_no_count(error == cudaSuccess ? cudaErrorNoDevice : error, found);
  return found;
}

std::string named(const CudaCard& card) { return text::cat("cuda:", card.index, " (", card.name, "): "); }

/// What `work` returns; what the card fails at, as a sentence for the user.
template <class Work>
auto told(const CudaCard& card, Work work) {
  try {
    return work();
  } catch (const CudaFailure& failure) {
    fail(ExitCode::capacity, failure.what(), "; nvidia-smi shows the state of the card");
  } catch (const c10::OutOfMemoryError&) {
    fail(ExitCode::capacity, named(card), "its memory went to somebody else meanwhile; nvidia-smi shows to whom");
  }
}

/// What is free there, or a Failure that says why it cannot be used.
CudaCard usable_card(std::uint32_t index) {
  CudaCard card = describe_card(static_cast<int>(index));
  if (!card.why_unusable.empty())
    fail(ExitCode::capacity, named(card), "cannot be used: ", card.why_unusable,
         "; nvidia-smi shows the state of the card");
  if (card.major < kMajorLeast)
    fail(ExitCode::usage, named(card), "is of compute capability ", card.major, ".", card.minor,
         ", and this program has kernels for ", kMajorLeast, ".0 and later: use another card");
  return card;
}

Bytes budget_on(const CudaCard& card, Bytes wanted) {
  if (wanted > card.free)
    fail(ExitCode::capacity, named(card), "resources.devices asks for ", text::format_bytes(wanted), " (", wanted,
         " bytes) of memory, and ", text::format_bytes(card.free), " (", card.free, " bytes) of ",
         text::format_bytes(card.memory), " are free there", held_by(card.bus_id));
  if (wanted > 0) return wanted;
  if (card.free <= 2 * kReserve)
    fail(ExitCode::capacity, named(card), "only ", text::format_bytes(card.free), " of ",
         text::format_bytes(card.memory), " are free there: name the memory to use in resources.devices, or free some");
  return card.free - kReserve;
}

}  // namespace

std::vector<std::string> cuda_card_names() {
  int count = 0;
  (void)count_cards(count);
  std::vector<std::string> names;
  for (int index = 0; index < count; ++index) names.push_back(properties_of(index).name);
  return names;
}

CudaCards cuda_cards() {
  int count = 0;
  CudaCards found = count_cards(count);
  for (int index = 0; index < count; ++index) found.cards.push_back(describe_card(index));
  return found;
}

LinkSpeed measure_cuda_link(std::uint32_t index) {
  const CudaCard card = usable_card(index);
  const Bytes block = std::min(kLinkBlock, card.free / 8 / MiB * MiB);
  if (block == 0) fail(ExitCode::capacity, named(card), "no memory is free there");
  return told(card, [&] {
    RealCalls calls(index, std::min(card.memory, 4 * block));
    return measure_link(calls, block);
  });
}

std::uint32_t cuda_card_count() {
  int count = 0;
  count_cards(count);
  return static_cast<std::uint32_t>(count);
}

DeviceSpec resolve_cuda_device(const DeviceSpec& spec, std::uint32_t first_card) {
  int count = 0;
  const CudaCards found = count_cards(count);
  if (count == 0) fail(ExitCode::usage, "resources.devices: type cuda: ", found.why_none);
  const auto cards = static_cast<std::uint32_t>(count);
  if (first_card + spec.count > cards)
    fail(ExitCode::usage, "resources.devices: there is no cuda:", std::max(first_card, cards), ": this machine has ",
         cards, cards == 1 ? " GPU" : " GPUs");
  DeviceSpec resolved = spec;
  resolved.first_card = first_card;
  for (std::uint32_t index = first_card; index < first_card + spec.count; ++index) {
    const Bytes budget = budget_on(usable_card(index), spec.memory);
    const double link = measure_cuda_link(index).each_way();
    const bool first = index == first_card;
    resolved.memory = first ? budget : std::min(resolved.memory, budget);
    resolved.overhead = cuda_overhead(resolved.memory);
    resolved.link_bytes_per_s = first ? link : std::min(resolved.link_bytes_per_s, link);
  }
  return resolved;
}

std::string cuda_bus_id(std::uint32_t index) { return bus_id_of(index); }

std::unique_ptr<Device> make_cuda_device(const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace) {
  register_cuda_kernels();
  return told(describe_card(static_cast<int>(index)), [&] {
    return make_cuda_device_over(std::make_unique<RealCalls>(index, spec.memory), spec, index, trace);
  });
}

std::unique_ptr<HostMemory> make_pinned_memory(Bytes bytes, std::uint32_t first_card) {
  std::optional<Bytes> limit = cgroup_memory_limit();
  if (const auto free = available_memory()) limit = std::min(limit.value_or(*free), *free);
  return PinnedSlab::make(bytes, {pin_for_cards, unpin_for_cards}, limit, numa_node_of_card(bus_id_of(first_card)));
}

}  // namespace hopyard
