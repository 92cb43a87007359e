// The calls that drive a card, of the CUDA runtime and of libtorch.
#pragma once

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>

#include "cuda/cuda_calls.h"

namespace hopyard {

/// What broke the card's context, or took the card away, is a lost card; what the runtime lacked memory for is
/// out_of_memory.
CudaFault fault_of(cudaError_t error);

/// Page-locks memory of the host for every card. False when the system refuses.
bool pin_for_cards(void* data, Bytes bytes);
void unpin_for_cards(void* data) noexcept;

/// "0000:3B:00.0"; empty where the runtime does not say.
std::string bus_id_of(std::uint32_t index);

/// Free and whole memory of a card, which asking makes a context on.
cudaError_t card_memory(c10::DeviceIndex index, std::size_t& free, std::size_t& whole);

/// `budget`: what libtorch's caching allocator may hold of the card; it stays so bounded in this process. Makes
/// libtorch compute the same bits each time, and float32 as float32, on all devices. Requires torch_cuda_missing() to
/// be empty. Throws CudaFailure.
class RealCalls final : public CudaCalls {
 public:
  RealCalls(std::uint32_t index, Bytes budget);
  ~RealCalls() override;  ///< gives back what the caching allocator keeps unused
  std::string card_name() const override { return card_name_; }
  at::Device place() const override { return {at::kCUDA, index_}; }
  std::optional<std::uint32_t> numa_node() const override;

  StreamHandle make_stream() override;
  void destroy_stream(StreamHandle stream) noexcept override;
  EventHandle make_event(bool timing) override;
  void destroy_event(EventHandle event) noexcept override;

  void copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) override;
  bool reaches(const CudaCalls& other) override;
  void record(EventHandle event, StreamHandle stream) override;
  void wait(StreamHandle stream, EventHandle event) override;
  void synchronize(EventHandle event) override;
  bool happened(EventHandle event) override;
  double elapsed_s(EventHandle begin, EventHandle end) override;

  bool pin(void* data, Bytes bytes) override;
  void unpin(void* data) noexcept override { unpin_for_cards(data); }

  StreamHandle compute_stream() override;
  void enter_compute() override;
  at::Tensor allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) override;
  CudaMemory memory() const override;
  void reset_peak() override;
  void begin_graph() override;
  GraphHandle end_graph(bool keeps) override;
  void ask_graph(GraphHandle graph) override;
  void destroy_graph(GraphHandle graph) noexcept override;
  at::Generator make_generator() override;

 private:
  struct Graph;
  void check(cudaError_t error, const char* call) const;
  /// While it lives, the card is current for the calling thread.
  c10::cuda::CUDAGuard on_card() const;
  /// What `work` returns; libtorch's errors of the card as ours.
  template <class Work>
  auto through_libtorch(const char* what, Work work) const;

  const c10::DeviceIndex index_;
  const Bytes budget_;
  std::string card_name_;
  c10::cuda::CUDAStream compute_;
  std::unique_ptr<Graph> begun_;  ///< of the compute thread
};

}  // namespace hopyard
