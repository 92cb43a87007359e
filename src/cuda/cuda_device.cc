#include "cuda/cuda_device.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include "base/failure.h"
#include "base/log.h"
#include "device/compute_threads.h"

namespace hopyard {

CudaDevice::CudaDevice(std::unique_ptr<CudaCalls> calls, const DeviceSpec& spec, std::uint32_t index,
                       TraceRecorder* trace)
    : calls_(std::move(calls)),
      spec_(spec),
      name_(text::cat("cuda:", index)),
      account_(name_, spec.memory - spec.overhead),
      generator_(calls_->make_generator()),
      computed_(*calls_, false),
      staging_(*calls_),
      door_(*calls_, failure_, trace, name_) {
  require(spec.memory > spec.overhead, name_, ": a card needs a budget of memory");
  calls_->reset_peak();
}

CudaDevice::~CudaDevice() = default;

MemoryAccount& CudaDevice::account() {
  try {
    const CudaMemory memory = calls_->memory();
    account_.observe(memory.used, memory.peak);
  } catch (const CudaFailure&) {
    failure_.keep(std::current_exception());  // what was known last stays
  }
  return account_;
}

bool CudaDevice::reads_from(const Device& other) const {
  const auto* const card = dynamic_cast<const CudaDevice*>(&other);
  if (card == nullptr || card == this || failure_.get() || card->failure_.get()) return false;
  try {
    return calls_->reaches(*card->calls_);
  } catch (const std::exception&) {
    return false;  // the way through the host is there; what is broken shows at the next call
  }
}

at::Tensor CudaDevice::allocate_in(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) {
  try {
    return calls_->allocate(pool, sizes, type);
  } catch (const c10::OutOfMemoryError&) {
    Bytes needed = c10::elementSize(type);
    for (const auto size : sizes) needed *= static_cast<Bytes>(size);
    throw DeviceOutOfMemory(name_, charged_bytes(needed), calls_->memory().free);
  }
}

at::Tensor CudaDevice::allocate(at::IntArrayRef sizes, at::ScalarType type) {
  try {
    if (!failure_.get()) return allocate_in(door_.load_stream(), sizes, type);
  } catch (const CudaFailure&) {
    failure_.keep(std::current_exception());
  }
  return at::empty(sizes, type);
}

at::Tensor CudaDevice::bring(const at::Tensor& value) {
  if (!value.defined() || !value.is_cpu()) return value;
  if (const auto failed = failure_.get()) std::rethrow_exception(failed);
  try {
    const at::Tensor from = value.contiguous();
    at::Tensor brought = allocate_in(calls_->compute_stream(), from.sizes(), from.scalar_type());
    staging_.send(brought.data_ptr(), from.const_data_ptr(), from.nbytes());
    return brought;
  } catch (const CudaFailure&) {
    failure_.keep(std::current_exception());
    throw;
  }
}

void CudaDevice::enter_compute() {
  compute_with_threads(spec_.threads);  // what is left to the host
  calls_->enter_compute();
}

void CudaDevice::finish_compute() {
  try {
    calls_->record(computed_.get(), calls_->compute_stream());
    calls_->synchronize(computed_.get());
  } catch (const CudaFailure&) {
    failure_.keep(std::current_exception());
  }
  if (const auto failed = failure_.get()) std::rethrow_exception(failed);
}

class CudaDevice::Record : public RecordedWork {
 public:
  Record(CudaDevice& device, GraphHandle graph) : device_(device), graph_(graph) {}
  ~Record() override { device_.calls_->destroy_graph(graph_); }
  void ask() override {
    try {
      if (const auto failed = device_.failure_.get()) std::rethrow_exception(failed);
      device_.calls_->ask_graph(graph_);
    } catch (const CudaFailure&) {
      device_.failure_.keep(std::current_exception());
      throw;
    }
  }

 private:
  CudaDevice& device_;
  const GraphHandle graph_;
};

std::unique_ptr<RecordedWork> CudaDevice::record(const std::function<void()>& work) {
  if (const auto failed = failure_.get()) std::rethrow_exception(failed);
  std::string why;
  bool lacks_memory = false;
  // After what kept it from being recorded the stream must be set free all the same.
  const auto attempt = [&](const std::function<void()>& step) {
    try {
      step();
    } catch (const CudaFailure& failure) {
      if (failure.fault() == CudaFault::lost_card) failure_.keep(std::current_exception());
      lacks_memory |= failure.fault() == CudaFault::out_of_memory;
      if (why.empty()) why = failure.what();
    } catch (const c10::OutOfMemoryError&) {
      lacks_memory = true;
      why = "no memory was left for it";
    } catch (const c10::Error& error) {
      if (why.empty()) why = error.what_without_backtrace();
    } catch (const std::exception& error) {
      if (why.empty()) why = error.what();
    }
  };
  GraphHandle graph = nullptr;
  attempt([&] {
    calls_->begin_graph();
    attempt(work);
    graph = calls_->end_graph(/*keeps=*/why.empty());
  });
  if (const auto failed = failure_.get()) std::rethrow_exception(failed);
  if (graph != nullptr) return std::make_unique<Record>(*this, graph);
  HOPYARD_WARN << name_ << ": could not record its work, which is asked for step by step as ever: " << why;
  if (!lacks_memory) records_ = false;
  return nullptr;
}

void CudaDevice::load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  door_.load(std::move(copies), std::move(label), std::move(done));
}

void CudaDevice::store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  door_.store(std::move(copies), std::move(label), std::move(done));
}

std::unique_ptr<CudaDevice> make_cuda_device_over(std::unique_ptr<CudaCalls> calls, const DeviceSpec& spec,
                                                  std::uint32_t index, TraceRecorder* trace) {
  return std::make_unique<CudaDevice>(std::move(calls), spec, index, trace);
}

}  // namespace hopyard
