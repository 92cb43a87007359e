#include "cuda/real_calls.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/PeerToPeerAccess.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "base/failure.h"
#include "cuda/numa_node.h"
#include "cuda/real_torch_library.h"

namespace hopyard {

namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

cudaStream_t raw(StreamHandle stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t raw(EventHandle event) { return reinterpret_cast<cudaEvent_t>(event); }

/// An error that was returned is not told again to whoever asks next for the last one.
void forget_error() { (void)cudaGetLastError(); }

void start_libtorch_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    require(torch_cuda_missing().empty(), torch_cuda_missing());
    // A shard's slots come and go in many sizes: segments that grow hold what fixed ones would leave in pieces.
    allocator::setAllocatorSettings("expandable_segments:True");
    at::Context& context = at::globalContext();
    context.lazyInitDevice(at::kCUDA);
    // Attention's backward pass too then takes kernels that add in a fixed order.
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
    context.setAllowTF32CuDNN(false);  // cuBLAS has it off until a trial asks for it (device/tf32.h)
  });
}

/// Streams that nobody uses now. They are never destroyed: the caching allocator waits for them when it lets memory go
/// that was theirs, however much later.
class KeptStreams {
 public:
  /// Null when there is none.
  StreamHandle take(c10::DeviceIndex card) {
    const std::lock_guard lock(mutex_);
    auto& kept = of_[card];
    if (kept.empty()) return nullptr;
    const StreamHandle stream = kept.back();
    kept.pop_back();
    return stream;
  }
  void keep(c10::DeviceIndex card, StreamHandle stream) {
    const std::lock_guard lock(mutex_);
    of_[card].push_back(stream);
  }

 private:
  std::mutex mutex_;  // guards of_
  std::map<c10::DeviceIndex, std::vector<StreamHandle>> of_;
};

KeptStreams& kept_streams() {
  static KeptStreams kept;
  return kept;
}

/// One for each card, however often it is driven: libtorch keeps workspaces of cuBLAS for each stream that it saw.
c10::cuda::CUDAStream compute_stream_of(c10::DeviceIndex index) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;  // guarded by mutex
  start_libtorch_once();
  const std::lock_guard lock(mutex);
  const auto known = streams.find(index);
  if (known != streams.end()) return known->second;
  try {
    return streams.emplace(index, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, index)).first->second;
  } catch (const c10::AcceleratorError& error) {
    const auto code = static_cast<cudaError_t>(error.get_error_code());
    throw CudaFailure(fault_of(code), text::cat("cuda:", int{index}, ": cannot be used: ", cudaGetErrorString(code)));
  }
}

}  // namespace

CudaFault fault_of(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return CudaFault::out_of_memory;
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorDeviceUninitialized:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorSystemNotReady:
    case cudaErrorMpsRpcFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return CudaFault::lost_card;
    default:
      return CudaFault::other;
  }
}

bool pin_for_cards(void* data, Bytes bytes) {
  if (cudaHostRegister(data, bytes, cudaHostRegisterPortable) == cudaSuccess) return true;
  forget_error();
  return false;
}

void unpin_for_cards(void* data) noexcept {
  if (cudaHostUnregister(data) != cudaSuccess) forget_error();
}

std::string bus_id_of(std::uint32_t index) {
  std::array<char, 32> bus_id{};
  if (cudaDeviceGetPCIBusId(bus_id.data(), bus_id.size(), static_cast<int>(index)) == cudaSuccess) return bus_id.data();
  forget_error();
  return "";
}

cudaError_t card_memory(c10::DeviceIndex index, std::size_t& free, std::size_t& whole) {
  cudaError_t error = cudaSuccess;
  try {
    start_libtorch_once();
    const c10::cuda::CUDAGuard here(index);
    error = cudaMemGetInfo(&free, &whole);
  } catch (const c10::AcceleratorError& refused) {
    error = static_cast<cudaError_t>(refused.get_error_code());
  } catch (const c10::Error&) {
    error = cudaErrorInitializationError;
  }
  if (error != cudaSuccess) forget_error();
  return error;
}

RealCalls::RealCalls(std::uint32_t index, Bytes budget)
    : index_(static_cast<c10::DeviceIndex>(index)), budget_(budget), compute_(compute_stream_of(index_)) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
  card_name_ = properties.name;
  std::size_t free = 0, whole = 0;
  check(card_memory(index_, free, whole), "cudaMemGetInfo");
  require(budget > 0 && budget <= whole, place().str(), ": budget of ", budget, " bytes of ", whole);
  allocator::setMemoryFraction(static_cast<double>(budget) / static_cast<double>(whole), index_);
}

RealCalls::~RealCalls() {
  begun_.reset();
  try {
    allocator::emptyCache();
  } catch (const c10::Error&) {
    forget_error();  // a lost card has nothing to give back
  }
}

void RealCalls::check(cudaError_t error, const char* call) const {
  if (error == cudaSuccess) return;
  forget_error();
  throw CudaFailure(fault_of(error),
                    text::cat(place().str(), " (", card_name_, "): ", call, ": ", cudaGetErrorString(error)));
}

template <class Work>
auto RealCalls::through_libtorch(const char* what, Work work) const {
  try {
    return work();
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::AcceleratorError& error) {
    check(static_cast<cudaError_t>(error.get_error_code()), what);
    throw;
  } catch (const c10::Error& error) {
    throw CudaFailure(CudaFault::other,
                      text::cat(place().str(), " (", card_name_, "): ", what, ": ", error.what_without_backtrace()));
  }
}

c10::cuda::CUDAGuard RealCalls::on_card() const {
  try {
    return c10::cuda::CUDAGuard(index_);
  } catch (const c10::AcceleratorError& error) {
    const auto code = static_cast<cudaError_t>(error.get_error_code());
    check(code == cudaSuccess ? cudaErrorUnknown : code, "cudaSetDevice");
    throw;
  }
}

std::optional<std::uint32_t> RealCalls::numa_node() const {
  return numa_node_of_card(bus_id_of(static_cast<std::uint32_t>(index_)));
}

StreamHandle RealCalls::make_stream() {
  if (const StreamHandle kept = kept_streams().take(index_)) return kept;
  const auto here = on_card();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return reinterpret_cast<StreamHandle>(stream);
}

void RealCalls::destroy_stream(StreamHandle stream) noexcept { kept_streams().keep(index_, stream); }

EventHandle RealCalls::make_event(bool timing) {
  const auto here = on_card();
  cudaEvent_t event = nullptr;
  // Whoever waits for it sleeps: there are more threads than cores.
  const unsigned flags = cudaEventBlockingSync | (timing ? cudaEventDefault : cudaEventDisableTiming);
  check(cudaEventCreateWithFlags(&event, flags), "cudaEventCreateWithFlags");
  return reinterpret_cast<EventHandle>(event);
}

void RealCalls::destroy_event(EventHandle event) noexcept {
  if (cudaEventDestroy(raw(event)) != cudaSuccess) forget_error();
}

void RealCalls::copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) {
  const auto kind = direction == CopyDirection::to_card   ? cudaMemcpyHostToDevice
                    : direction == CopyDirection::to_host ? cudaMemcpyDeviceToHost
                                                          : cudaMemcpyDeviceToDevice;
  const auto here = on_card();
  check(cudaMemcpyAsync(to, from, bytes, kind, raw(stream)), "cudaMemcpyAsync");
}

bool RealCalls::reaches(const CudaCalls& other) {
  const auto* const card = dynamic_cast<const RealCalls*>(&other);
  if (card == nullptr) return false;
  // It asks the driver once for each pair, and opens the allocator's memory there to this card.
  return through_libtorch("get_p2p_access", [&] { return c10::cuda::get_p2p_access(index_, card->index_); });
}

void RealCalls::record(EventHandle event, StreamHandle stream) {
  const auto here = on_card();
  check(cudaEventRecord(raw(event), raw(stream)), "cudaEventRecord");
}

void RealCalls::wait(StreamHandle stream, EventHandle event) {
  const auto here = on_card();
  check(cudaStreamWaitEvent(raw(stream), raw(event), 0), "cudaStreamWaitEvent");
}

void RealCalls::synchronize(EventHandle event) { check(cudaEventSynchronize(raw(event)), "cudaEventSynchronize"); }

bool RealCalls::happened(EventHandle event) {
  const cudaError_t error = cudaEventQuery(raw(event));
  if (error == cudaErrorNotReady) {
    forget_error();
    return false;
  }
  check(error, "cudaEventQuery");
  return true;
}

double RealCalls::elapsed_s(EventHandle begin, EventHandle end) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, raw(begin), raw(end)), "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

bool RealCalls::pin(void* data, Bytes bytes) {
  const auto here = on_card();
  return pin_for_cards(data, bytes);
}

StreamHandle RealCalls::compute_stream() { return reinterpret_cast<StreamHandle>(compute_.stream()); }

void RealCalls::enter_compute() {
  through_libtorch("entering the card", [&] {
    c10::cuda::set_device(index_);
    c10::cuda::setCurrentCUDAStream(compute_);
  });
}

at::Tensor RealCalls::allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) {
  return through_libtorch("allocating memory", [&] {
    const c10::cuda::CUDAStream stream =
        pool == compute_stream() ? compute_ : c10::cuda::getStreamFromExternal(raw(pool), index_);
    const c10::cuda::CUDAStreamGuard in_pool(stream);
    return at::empty(sizes, at::TensorOptions(place()).dtype(type));
  });
}

CudaMemory RealCalls::memory() const {
  return through_libtorch("asking the allocator", [&] {
    const auto stats = allocator::getDeviceStats(index_);
    const auto& bytes = stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    const auto used = static_cast<Bytes>(std::max<std::int64_t>(0, bytes.current));
    return CudaMemory{used, static_cast<Bytes>(std::max<std::int64_t>(0, bytes.peak)),
                      budget_ - std::min(budget_, used)};
  });
}

void RealCalls::reset_peak() {
  through_libtorch("asking the allocator", [&] { allocator::resetPeakStats(index_); });
}

/// The allocator sets the memory aside that work takes while it is kept, as for libtorch's own CUDAGraph, whose library
/// this program is not linked to.
struct RealCalls::Graph {
  explicit Graph(c10::DeviceIndex card, cudaStream_t kept) : card(card) {
    static std::atomic<std::uint64_t> made{0};
    constexpr std::uint64_t kFirst = std::uint64_t{1} << 48;  // libtorch counts its own from 1
    pool.first = kFirst + made++;
    // Before the stream begins to keep its work: a free() in between would record an event there.
    allocator::beginAllocateToPool(card, pool, [kept](cudaStream_t stream) { return stream == kept; });
    allocating = true;
  }
  ~Graph() {
    try {
      const c10::cuda::CUDAGuard here(card);  // whoever lets go may never have chosen one
      end_allocating();
      if (executable != nullptr && cudaGraphExecDestroy(executable) != cudaSuccess) forget_error();
      allocator::releasePool(card, pool);
    } catch (const c10::Error&) {
      forget_error();  // a lost card has nothing to give back
    }
  }
  Graph(const Graph&) = delete;
  void end_allocating() {
    if (std::exchange(allocating, false)) allocator::endAllocateToPool(card, pool);
  }

  const c10::DeviceIndex card;
  c10::MempoolId_t pool{0, 0};
  cudaGraphExec_t executable = nullptr;
  bool allocating = false;
};

void RealCalls::begin_graph() {
  require(begun_ == nullptr, place().str(), ": two graphs at a time");
  through_libtorch("beginning a graph", [&] {
    auto graph = std::make_unique<Graph>(index_, compute_.stream());
    // Relaxed: other threads go on loading and storing, and the allocator may ask for memory.
    check(cudaStreamBeginCapture(compute_.stream(), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    begun_ = std::move(graph);
  });
}

GraphHandle RealCalls::end_graph(bool keeps) {
  auto graph = std::exchange(begun_, nullptr);
  cudaGraph_t kept = nullptr;
  cudaError_t error = cudaStreamEndCapture(compute_.stream(), &kept);
  const char* call = "cudaStreamEndCapture";
  through_libtorch("ending a graph", [&] { graph->end_allocating(); });
  if (error == cudaSuccess && keeps) {
    error = cudaGraphInstantiate(&graph->executable, kept, 0);
    call = "cudaGraphInstantiate";
    if (error == cudaSuccess) {  // memory that it wants of the driver is asked for here, not at its first launch
      error = cudaGraphUpload(graph->executable, compute_.stream());
      call = "cudaGraphUpload";
    }
  }
  if (kept != nullptr && cudaGraphDestroy(kept) != cudaSuccess) forget_error();
  check(error, call);
  return keeps ? reinterpret_cast<GraphHandle>(graph.release()) : nullptr;
}

void RealCalls::ask_graph(GraphHandle graph) {
  check(cudaGraphLaunch(reinterpret_cast<Graph*>(graph)->executable, compute_.stream()), "cudaGraphLaunch");
}

void RealCalls::destroy_graph(GraphHandle graph) noexcept { delete reinterpret_cast<Graph*>(graph); }

at::Generator RealCalls::make_generator() {
  return through_libtorch("making a generator", [&] { return at::detail::getCUDAHooks().getNewGenerator(index_); });
}

}  // namespace hopyard
