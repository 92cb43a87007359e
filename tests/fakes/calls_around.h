// Calls of CUDA that pass everything on, for those that pass on all but something.
#pragma once

#include "cuda/cuda_calls.h"

namespace hopyard::fakes {

/// Around other calls, which must outlive it.
class CallsAround : public CudaCalls {
 public:
  explicit CallsAround(CudaCalls& inner) : inner_(inner) {}

  EventHandle make_event(bool timing) override { return inner_.make_event(timing); }
  void record(EventHandle event, StreamHandle stream) override { inner_.record(event, stream); }
  void synchronize(EventHandle event) override { inner_.synchronize(event); }
  bool happened(EventHandle event) override { return inner_.happened(event); }
  double elapsed_s(EventHandle begin, EventHandle end) override { return inner_.elapsed_s(begin, end); }
  void destroy_stream(StreamHandle stream) noexcept override { inner_.destroy_stream(stream); }
  std::string card_name() const override { return inner_.card_name(); }
  at::Device place() const override { return inner_.place(); }
  StreamHandle make_stream() override { return inner_.make_stream(); }
  void destroy_event(EventHandle event) noexcept override { inner_.destroy_event(event); }
  bool reaches(const CudaCalls& other) override { return inner_.reaches(other); }
  void copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) override {
    inner_.copy(to, from, bytes, direction, stream);
  }
  void wait(StreamHandle stream, EventHandle event) override { inner_.wait(stream, event); }
  bool pin(void* data, Bytes bytes) override { return inner_.pin(data, bytes); }
  void unpin(void* data) noexcept override { inner_.unpin(data); }
  StreamHandle compute_stream() override { return inner_.compute_stream(); }
  void enter_compute() override { inner_.enter_compute(); }
  at::Tensor allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) override {
    return inner_.allocate(pool, sizes, type);
  }
  CudaMemory memory() const override { return inner_.memory(); }
  void reset_peak() override { inner_.reset_peak(); }
  void begin_graph() override { inner_.begin_graph(); }
  GraphHandle end_graph(bool keeps) override { return inner_.end_graph(keeps); }
  void ask_graph(GraphHandle graph) override { inner_.ask_graph(graph); }
  void destroy_graph(GraphHandle graph) noexcept override { inner_.destroy_graph(graph); }
  at::Generator make_generator() override { return inner_.make_generator(); }

 protected:
  CudaCalls& inner_;
};

}  // namespace hopyard::fakes
