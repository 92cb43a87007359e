// A card that exists only as queues of operations on host memory. What nothing orders happens in an order drawn from a
// seed, so that a missing wait shows as wrong bytes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda/cuda_calls.h"

namespace hopyard::fakes {

struct FakeCudaSpec {
  std::uint64_t seed = 0;
  Bytes memory = 64 * MiB;  ///< what allocate() gives out at most
  /// Work of the compute stream happens when it is asked for, as tensors of the host are computed on; all it waits for
  /// happens before. Otherwise it is a queue like any other.
  bool eager_compute = false;
  double delay_s_max = 0;  ///< slept now and then by who calls
  bool refuse_pins = false;
  bool reaches_others = false;
};

/// Streams are queues of copies, records and waits. Nothing happens before somebody synchronises with an event: then
/// all that must come before it does, and with it, now and then, what else may. So a copy reads its source as late as
/// it may, and sometimes early.
///
/// Until a copy to the host happened, its target holds poison (NaN as float32). So does memory of allocate() when it is
/// made, and once it was let go: in the order of its pool's stream, as the caching allocator reuses it.
///
/// A graph is computed when it is asked for, so it takes `eager_compute`.
///
/// Tensors are the host's. They, and whatever is queued, may outlive the card; what is queued then never happens.
class FakeCuda final : public CudaCalls {
 public:
  explicit FakeCuda(const FakeCudaSpec& spec);
  ~FakeCuda() override;

  std::string card_name() const override { return "fake card"; }
  at::Device place() const override { return at::kCPU; }
  StreamHandle make_stream() override;
  void destroy_stream(StreamHandle stream) noexcept override;
  EventHandle make_event(bool timing) override;
  void destroy_event(EventHandle event) noexcept override;
  void copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) override;
  bool reaches(const CudaCalls& other) override;
  void record(EventHandle event, StreamHandle stream) override;
  void wait(StreamHandle stream, EventHandle event) override;
  void synchronize(EventHandle event) override;
  bool happened(EventHandle event) override;  ///< as if somebody synchronised, but not always, nor for as long
  /// By a clock of the card's own: a copy of b bytes takes b / kBytesPerSecond, all else nothing. As the runtime, it
  /// fails for an event that has not happened.
  double elapsed_s(EventHandle begin, EventHandle end) override;
  bool pin(void* data, Bytes bytes) override;
  void unpin(void* data) noexcept override;
  StreamHandle compute_stream() override;
  void enter_compute() override;
  at::Tensor allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) override;
  CudaMemory memory() const override;
  void reset_peak() override;
  /// Kept: operations of libtorch's that this thread asks for, and masks (dropout_mask_from).
  void begin_graph() override;
  GraphHandle end_graph(bool keeps) override;
  void ask_graph(GraphHandle graph) override;
  void destroy_graph(GraphHandle graph) noexcept override;
  at::Generator make_generator() override;

  /// A kernel. It must neither call the card nor hold a tensor of its. It waits, and its stream with it, until `ready`,
  /// if there is one, says true; which is asked now and then, once the kernel's turn has come.
  void launch(StreamHandle stream, std::function<void()> kernel, std::function<bool()> ready = {});
  /// The call after `calls` more that may fail does. After a lost card all do, and nothing queued happens.
  void fail_after(std::uint64_t calls, CudaFault fault);
  std::uint64_t calls() const;  ///< that could have failed
  std::uint64_t graphs_asked() const;
  Bytes from_cards() const;  ///< asked for from other cards' memory
  /// What on a real card might have moved the wrong bytes, and here cannot: memory unpinned while a copy of it was
  /// queued; a copy on a stream beside the compute stream that the compute thread asked for before it had waited for
  /// what it computed, which here is done at once. Empty: nothing.
  std::string misuse() const;
  /// Whether all that was made was given back, but for tensors.
  bool all_given_back() const;

  static constexpr double kBytesPerSecond = 1e9;

 private:
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace hopyard::fakes
