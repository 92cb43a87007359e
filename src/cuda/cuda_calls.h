// The few calls of the CUDA runtime, and of libtorch's CUDA side, that driving one card takes. Everything else in this
// folder is written over them, so that it runs over a fake as well.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/failure.h"

namespace hopyard {

/// cudaStream_t, cudaEvent_t. A null stream is none, not the legacy default stream.
using StreamHandle = struct CudaStream*;
using EventHandle = struct CudaEvent*;
using GraphHandle = struct CudaGraph*;  ///< cudaGraphExec_t, with the memory that it works in

enum class CopyDirection : std::uint8_t { to_card, to_host, from_card /* another one */ };

enum class CudaFault : std::uint8_t {
  lost_card,      ///< it fell off the bus, or the context is broken: no call succeeds any more
  out_of_memory,  ///< of the runtime's own; tensors say c10::OutOfMemoryError
  other,
};

/// What a person does about it; empty where nobody knows.
constexpr const char* advice_on(CudaFault fault) {
  switch (fault) {
    case CudaFault::lost_card:
      return "; the card is lost to this process, and the kernel's log may say why (an Xid)";
    case CudaFault::out_of_memory:
      return "; CUDA itself lacks memory there: grant less of the card in resources.devices";
    case CudaFault::other:
      return "";
  }
  return "";
}

/// A call that failed. `what()` names the card, the call and the runtime's own words. It ends a run, which can be gone
/// on with.
class CudaFailure : public Failure {
 public:
  CudaFailure(CudaFault fault, const std::string& sentence)
      : Failure(ExitCode::interrupted,
                sentence + advice_on(fault) +
                    "; the run stops and keeps what was committed: give the same command again to go on"),
        fault_(fault) {}
  CudaFault fault() const { return fault_; }

 private:
  CudaFault fault_;
};

/// What libtorch's caching allocator of the card has given out.
struct CudaMemory {
  Bytes used = 0, peak = 0;  ///< peak: since reset_peak()
  Bytes free = 0;            ///< what it could still give out within the card's budget
};

/// One card. All functions may be called from any thread and, unless noted, leave the caller's current card and stream
/// as they were. What fails throws CudaFailure, also for work that was asked for earlier and failed meanwhile; destroy
/// and unpin throw nothing. Whatever is asked of one stream happens in that order; nothing else is ordered but by
/// events. No call but synchronize() waits for the card.
class CudaCalls {
 public:
  virtual ~CudaCalls() = default;

  /// "NVIDIA H200"
  virtual std::string card_name() const = 0;
  /// Where tensors on the card are, for libtorch.
  virtual at::Device place() const = 0;
  /// Of host memory, where copies to and from the card are fastest; nothing where all is equal or nobody knows.
  virtual std::optional<std::uint32_t> numa_node() const { return std::nullopt; }

  /// A stream that does not wait for the legacy default stream. It is one that allocate() knows.
  virtual StreamHandle make_stream() = 0;
  /// Of which nothing is asked any more. Memory that was allocated in its pool may outlive it.
  virtual void destroy_stream(StreamHandle stream) noexcept = 0;
  /// `timing`: elapsed_s() may be asked of it.
  virtual EventHandle make_event(bool timing) = 0;
  virtual void destroy_event(EventHandle event) noexcept = 0;

  /// Asks for the copy and returns. Both memories must stay, and neither be touched but for reading the source, until
  /// an event recorded behind it has happened. Host memory that is not pinned is copied more slowly, and a copy of it
  /// may make the caller wait.
  virtual void copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) = 0;
  /// Copies from the other card's memory may be asked of this one's streams.
  virtual bool reaches(const CudaCalls& other) = 0;
  /// The event happens once all that was asked of the stream before has; what it stood for earlier is forgotten.
  virtual void record(EventHandle event, StreamHandle stream) = 0;
  /// What is asked of the stream from now on waits for the event as recorded now; for one never recorded it does not.
  virtual void wait(StreamHandle stream, EventHandle event) = 0;
  /// Blocks the calling thread, without spinning, until the event has happened; at once for one never recorded.
  virtual void synchronize(EventHandle event) = 0;
  /// Whether it has; true for one never recorded. Does not wait.
  virtual bool happened(EventHandle event) = 0;
  /// Between two events made with timing, both of which have happened.
  virtual double elapsed_s(EventHandle begin, EventHandle end) = 0;

  /// Page-locks host memory that others own. False when the system refuses.
  virtual bool pin(void* data, Bytes bytes) = 0;
  virtual void unpin(void* data) noexcept = 0;

  /// The stream that libtorch computes on in threads that called enter_compute().
  virtual StreamHandle compute_stream() = 0;
  /// Makes the card and its compute stream current for the calling thread, for as long as the thread lives.
  virtual void enter_compute() = 0;
  /// Memory from the caching allocator, contents undefined, which goes back when the tensor is let go. `pool` is the
  /// compute stream or one from make_stream(): what is let go there may at once be given out again for that stream,
  /// never for another. Throws c10::OutOfMemoryError.
  virtual at::Tensor allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) = 0;
  virtual CudaMemory memory() const = 0;
  virtual void reset_peak() = 0;
  /// From now on what is asked of the compute stream is kept instead of done, by this thread and by libtorch's threads
  /// for it, until end_graph() of the same thread; memory that they take of its pool is the graph's. One at a time.
  virtual void begin_graph() = 0;
  /// What was kept; `keeps` false: it is forgotten, and the handle null. Throws when something was asked for that
  /// cannot be kept; the stream is as before in any case.
  virtual GraphHandle end_graph(bool keeps) = 0;
  /// Asks the compute stream for all of it.
  virtual void ask_graph(GraphHandle graph) = 0;
  /// What was asked for is still done.
  virtual void destroy_graph(GraphHandle graph) noexcept = 0;
  /// A generator of the card's own, for its compute thread.
  virtual at::Generator make_generator() = 0;
};

}  // namespace hopyard
