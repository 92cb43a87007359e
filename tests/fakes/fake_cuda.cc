#include "fakes/fake_cuda.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/from_blob.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string_view>

#include "base/clock.h"
#include "base/failure.h"
#include "base/rng.h"
#include "device/device_kernels.h"
#include "fakes/kept_operations.h"
#include "model/layer.h"

namespace hopyard::fakes {

namespace {

/// As float32 and as bfloat16 not a number, and no small integer.
void poison(void* data, Bytes bytes) { std::memset(data, 0xff, bytes); }

constexpr std::uintptr_t kComputeStream = 1;
constexpr int kDelayOneIn = 16;
constexpr double kNotReadySeconds = 50e-6;

/// What this thread asked libtorch to compute since it entered computing, and how much of it it has waited for.
struct Computing {
  bool entered = false;
  std::uint64_t asked = 0, waited = 0;
};
thread_local Computing computing;

std::unique_ptr<at::ObserverContext> note_operation(const at::RecordFunction& operation) {
  static const std::set<std::string_view> only_look{"aten::view",   "aten::narrow",  "aten::slice",
                                                    "aten::detach", "aten::reshape", "aten::as_strided"};
  if (!only_look.contains(operation.name())) ++computing.asked;
  return nullptr;
}

void watch_operations() {
  static const auto handle =
      at::addGlobalCallback(at::RecordFunctionCallback(&note_operation).scopes({at::RecordScope::FUNCTION}));
  (void)handle;
}

void keep_mask(at::Tensor& out, const at::Tensor& pass_key, std::uint32_t layer, std::uint32_t draw, double p) {
  KeptOperations::kernel(out, [out, pass_key, layer, draw, p] {
    Pass pass;
    pass.key = static_cast<std::uint64_t>(*pass_key.const_data_ptr<std::int64_t>());
    pass.layer = layer;
    const at::Tensor mask = dropout_mask(out, p, pass, draw);
    std::memcpy(out.mutable_data_ptr(), mask.const_data_ptr(), mask.nbytes());
  });
}

void fill_mask(at::Tensor&, std::uint64_t, double) { require(false, "layers fill masks of the host by themselves"); }

/// Of tensors of the host, which is where those of fake cards are.
void register_fake_kernels() {
  DeviceKernels kernels;
  kernels.dropout_mask = fill_mask;
  kernels.dropout_mask_from = keep_mask;
  register_kernels(at::kCPU, kernels);
}

template <class Handle>
std::uintptr_t number_of(Handle handle) {
  return reinterpret_cast<std::uintptr_t>(handle);
}

}  // namespace

struct FakeCuda::Core {
  /// How far a stream must have come.
  struct Point {
    std::uintptr_t stream = 0;
    std::uint64_t operations = 0;
  };
  struct Operation {
    std::function<void()> run;
    std::optional<Point> waits_for;
    std::function<bool()> ready = {};
    double takes_s = 0;
    const void *to = nullptr, *from = nullptr;  ///< of a copy
    std::uintptr_t records = 0;                 ///< the event
    std::uint64_t version = 0;                  ///< of it
  };
  struct Stream {
    std::deque<Operation> queue;
    std::uint64_t asked = 0, done = 0;
    double clock_s = 0;
  };
  struct Event {
    bool timing = false;
    std::uint64_t version = 0;   ///< how often it was recorded
    std::uint64_t computed = 0;  ///< of the recording thread's computing, what is before it
    Point point;
    std::optional<double> happened_s;  ///< as recorded last
  };

  struct Buried {
    std::shared_ptr<std::vector<std::byte>> memory;
    std::vector<Point> after;
  };

  explicit Core(const FakeCudaSpec& spec) : spec(spec), drawn(derive(spec.seed, "fake cuda")) {
    streams[kComputeStream];
  }

  void may_fail(const char* call) {
    ++calls;
    if (lost) throw CudaFailure(CudaFault::lost_card, text::cat("fake card: ", call, ": the card is lost"));
    if (!failing || failing->first > 0) {
      if (failing) --failing->first;
      return;
    }
    const CudaFault fault = failing->second;
    failing.reset();
    lost = fault == CudaFault::lost_card;
    if (lost)
      for (auto& [number, stream] : streams) stream.queue.clear();
    throw CudaFailure(fault, text::cat("fake card: ", call, ": failed as asked"));
  }

  bool happened(const Point& point) const {
    const auto found = streams.find(point.stream);
    return found == streams.end() || found->second.done >= point.operations;
  }

  bool blocked(const Stream& stream) const {
    const Operation& head = stream.queue.front();
    return (head.waits_for && !happened(*head.waits_for)) || (head.ready && !head.ready());
  }

  void run_head(std::uintptr_t number) {
    Stream& stream = streams.at(number);
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    ++stream.done;
    if (operation.run) operation.run();
    stream.clock_s += operation.takes_s;
    if (const auto event = events.find(operation.records);
        event != events.end() && event->second.version == operation.version)
      event->second.happened_s = stream.clock_s;
  }

  /// Only what must come before; false when something of it is not ready.
  bool run_needed(const Point& point) {
    while (!lost && !happened(point)) {
      const Operation& head = streams.at(point.stream).queue.front();
      if (head.waits_for && !run_needed(*head.waits_for)) return false;
      if (head.ready && !head.ready()) return false;
      run_head(point.stream);
    }
    return true;
  }

  /// One operation of any stream that has one to do now; false when none has.
  bool run_any() {
    std::vector<std::uintptr_t> ready;
    for (const auto& [number, stream] : streams)
      if (!stream.queue.empty() && !blocked(stream)) ready.push_back(number);
    if (ready.empty()) return false;
    run_head(ready[drawn.below(ready.size())]);
    return true;
  }

  bool run_until(const Point& point) {
    const bool eager = drawn.below(3) == 0;
    while (eager && !happened(point) && run_any()) {
    }
    const bool reached = run_needed(point);
    for (auto more = drawn.below(4) == 0 ? drawn.below(8) : 0; more > 0 && run_any(); --more) {
    }
    forget_buried();
    return reached;
  }

  /// What is let go stays until nothing queued before can name it.
  void forget_buried() {
    std::erase_if(buried, [&](const Buried& one) {
      return std::all_of(one.after.begin(), one.after.end(), [&](const Point& point) { return happened(point); });
    });
  }

  void ask(StreamHandle handle, Operation operation) {
    const auto number = number_of(handle);
    const auto found = streams.find(number);
    require(found != streams.end(), "a stream that is not there");
    found->second.queue.push_back(std::move(operation));
    const Point point{number, ++found->second.asked};
    if (number == kComputeStream && spec.eager_compute) run_needed(point);
  }

  /// Now, or when its turn has come where something before it reads from there.
  void poison_in_time(void* to, Bytes bytes, StreamHandle stream) {
    const auto* const begin = static_cast<const std::byte*>(to);
    const auto reads = [&](const Operation& operation) {
      const auto* const from = static_cast<const std::byte*>(operation.from);
      return from >= begin && from < begin + bytes;
    };
    for (const auto& [number, one] : streams)
      if (std::any_of(one.queue.begin(), one.queue.end(), reads))
        return ask(stream, {.run = [to, bytes] { poison(to, bytes); }, .to = to});
    poison(to, bytes);
  }

  void unpin(const std::byte* data) {
    const auto found = pinned.find(data);
    if (found == pinned.end()) {
      misuse = "memory was unpinned that was not pinned";
      return;
    }
    const auto within = [&](const void* at) { return at >= data && at < data + found->second; };
    for (auto& [number, stream] : streams)
      for (auto& operation : stream.queue) {
        if (!within(operation.to) && !within(operation.from)) continue;
        misuse = "memory was unpinned while a copy of it was queued";
        operation.run = nullptr;  // it may be gone by then
      }
    pinned.erase(found);
  }

  void let_go(StreamHandle pool, const std::shared_ptr<std::vector<std::byte>>& memory) {
    used -= memory->size();
    Buried& grave = buried.emplace_back(Buried{memory, {}});
    for (const auto& [number, stream] : streams) grave.after.push_back({number, stream.asked});
    const auto found = streams.find(number_of(pool));
    if (lost || found == streams.end()) {
      poison(memory->data(), memory->size());
      return;
    }
    ask(pool, {.run = [memory] { poison(memory->data(), memory->size()); }});
    forget_buried();
  }

  const FakeCudaSpec spec;
  mutable std::mutex mutex;  // guards all below
  KeyedStream drawn;
  std::map<std::uintptr_t, Stream> streams;
  std::map<std::uintptr_t, Event> events;
  std::uintptr_t next_handle = kComputeStream + 1;
  std::map<const std::byte*, Bytes> pinned;
  std::string misuse;
  Bytes from_cards = 0;
  std::vector<Buried> buried;
  std::shared_ptr<KeptOperations> begun;
  std::map<std::uintptr_t, std::shared_ptr<KeptOperations>> graphs;
  std::uint64_t graphs_asked = 0;
  Bytes used = 0, peak = 0;
  std::uint64_t calls = 0;
  std::optional<std::pair<std::uint64_t, CudaFault>> failing;  ///< after so many calls
  bool lost = false;

  /// Before a call takes the lock.
  void delay() {
    if (spec.delay_s_max == 0) return;
    double delay_s = 0;
    {
      const std::lock_guard lock(mutex);
      if (drawn.below(kDelayOneIn) == 0) delay_s = drawn.uniform() * spec.delay_s_max;
    }
    if (delay_s > 0) sleep_seconds(delay_s);
  }
};

FakeCuda::FakeCuda(const FakeCudaSpec& spec) : core_(std::make_shared<Core>(spec)) {
  static std::once_flag once;
  std::call_once(once, register_fake_kernels);
}

FakeCuda::~FakeCuda() {
  const std::lock_guard lock(core_->mutex);
  core_->streams.clear();
  core_->buried.clear();
}

StreamHandle FakeCuda::make_stream() {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("make_stream");
  core_->streams[core_->next_handle];
  return reinterpret_cast<StreamHandle>(core_->next_handle++);
}

void FakeCuda::destroy_stream(StreamHandle stream) noexcept {
  const std::lock_guard lock(core_->mutex);
  const auto found = core_->streams.find(number_of(stream));
  if (!core_->run_needed({found->first, found->second.asked}))
    core_->misuse = "a stream was destroyed that waits for others";
  core_->streams.erase(found);
}

EventHandle FakeCuda::make_event(bool timing) {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("make_event");
  core_->events[core_->next_handle].timing = timing;
  return reinterpret_cast<EventHandle>(core_->next_handle++);
}

void FakeCuda::destroy_event(EventHandle event) noexcept {
  const std::lock_guard lock(core_->mutex);
  core_->events.erase(number_of(event));
}

void FakeCuda::copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) {
  core_->delay();
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("copy");
  if (direction == CopyDirection::to_host) core_->poison_in_time(to, bytes, stream);
  if (direction == CopyDirection::from_card) core_->from_cards += bytes;
  if (computing.entered && computing.asked > computing.waited && number_of(stream) != kComputeStream)
    core_->misuse = "a copy was asked for before what was computed had been waited for";
  core_->ask(stream, {.run = [to, from, bytes] { std::memcpy(to, from, bytes); },
                      .takes_s = static_cast<double>(bytes) / kBytesPerSecond,
                      .to = to,
                      .from = from});
}

bool FakeCuda::reaches(const CudaCalls&) {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("reaches");
  return core_->spec.reaches_others;
}

Bytes FakeCuda::from_cards() const {
  const std::lock_guard lock(core_->mutex);
  return core_->from_cards;
}

void FakeCuda::record(EventHandle event, StreamHandle stream) {
  core_->delay();
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("record");
  Core::Event& known = core_->events.at(number_of(event));
  known.point = {number_of(stream), core_->streams.at(number_of(stream)).asked + 1};
  known.happened_s.reset();
  known.computed = number_of(stream) == kComputeStream ? computing.asked : 0;
  core_->ask(stream, {.records = number_of(event), .version = ++known.version});
}

void FakeCuda::wait(StreamHandle stream, EventHandle event) {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("wait");
  core_->ask(stream, {.waits_for = core_->events.at(number_of(event)).point});
}

void FakeCuda::synchronize(EventHandle event) {
  core_->delay();
  std::unique_lock lock(core_->mutex);
  core_->may_fail("synchronize");
  const Core::Event known = core_->events.at(number_of(event));
  while (!core_->run_until(known.point)) {
    lock.unlock();
    sleep_seconds(kNotReadySeconds);
    lock.lock();
  }
  computing.waited = std::max(computing.waited, known.computed);
}

bool FakeCuda::happened(EventHandle event) {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("happened");
  const Core::Event& known = core_->events.at(number_of(event));
  if (core_->drawn.below(2) == 0) core_->run_until(known.point);
  return core_->happened(known.point);
}

double FakeCuda::elapsed_s(EventHandle begin, EventHandle end) {
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("elapsed_s");
  const Core::Event& first = core_->events.at(number_of(begin));
  const Core::Event& second = core_->events.at(number_of(end));
  if (!first.timing || !second.timing || !first.happened_s || !second.happened_s)
    throw CudaFailure(CudaFault::other, "fake card: elapsed_s: an event without timing, or that has not happened");
  return *second.happened_s - *first.happened_s;
}

bool FakeCuda::pin(void* data, Bytes bytes) {
  const std::lock_guard lock(core_->mutex);
  if (core_->spec.refuse_pins) return false;
  core_->may_fail("pin");
  core_->pinned[static_cast<const std::byte*>(data)] = bytes;
  return true;
}

void FakeCuda::unpin(void* data) noexcept {
  const std::lock_guard lock(core_->mutex);
  core_->unpin(static_cast<const std::byte*>(data));
}

StreamHandle FakeCuda::compute_stream() { return reinterpret_cast<StreamHandle>(kComputeStream); }

void FakeCuda::enter_compute() {
  watch_operations();
  computing = {.entered = true};
}

at::Tensor FakeCuda::allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) {
  Bytes bytes = c10::elementSize(type);
  for (const auto size : sizes) bytes *= static_cast<Bytes>(size);
  bytes = align_up(bytes);
  // Both may outlive the card.
  const auto memory = std::make_shared<std::vector<std::byte>>(bytes + kTensorAlignment);
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("allocate");
  if (core_->used + memory->size() > core_->spec.memory)
    TORCH_CHECK_WITH(OutOfMemoryError, false, "fake card: out of memory");
  core_->used += memory->size();
  core_->peak = std::max(core_->peak, core_->used);
  poison(memory->data(), memory->size());
  const auto start = align_up(reinterpret_cast<std::uintptr_t>(memory->data()));
  return at::from_blob(
      reinterpret_cast<void*>(start), sizes,
      [core = core_, memory, pool](void*) {
        const std::lock_guard let_go(core->mutex);
        core->let_go(pool, memory);
      },
      at::TensorOptions(type));
}

CudaMemory FakeCuda::memory() const {
  const std::lock_guard lock(core_->mutex);
  return {core_->used, core_->peak, core_->spec.memory - core_->used};
}

void FakeCuda::reset_peak() {
  const std::lock_guard lock(core_->mutex);
  core_->peak = core_->used;
}

void FakeCuda::begin_graph() {
  auto graph = std::make_shared<KeptOperations>();
  {
    const std::lock_guard lock(core_->mutex);
    core_->may_fail("begin_graph");
    require(core_->spec.eager_compute && core_->begun == nullptr, "a graph beside another, or of queued computing");
    core_->begun = graph;
  }
  graph->begin();
}

GraphHandle FakeCuda::end_graph(bool keeps) {
  std::shared_ptr<KeptOperations> graph;
  {
    const std::lock_guard lock(core_->mutex);
    graph = std::move(core_->begun);
  }
  graph->end();
  const std::lock_guard lock(core_->mutex);
  core_->may_fail("end_graph");
  if (!keeps) return nullptr;
  core_->graphs[core_->next_handle] = std::move(graph);
  return reinterpret_cast<GraphHandle>(core_->next_handle++);
}

void FakeCuda::ask_graph(GraphHandle handle) {
  core_->delay();
  std::shared_ptr<KeptOperations> graph;
  {
    const std::lock_guard lock(core_->mutex);
    core_->may_fail("ask_graph");
    ++core_->graphs_asked;
    graph = core_->graphs.at(number_of(handle));
  }
  graph->again();
}

void FakeCuda::destroy_graph(GraphHandle handle) noexcept {
  std::shared_ptr<KeptOperations> graph;
  const std::lock_guard lock(core_->mutex);
  const auto found = core_->graphs.find(number_of(handle));
  graph = std::move(found->second);
  core_->graphs.erase(found);
}

std::uint64_t FakeCuda::graphs_asked() const {
  const std::lock_guard lock(core_->mutex);
  return core_->graphs_asked;
}

at::Generator FakeCuda::make_generator() { return at::detail::createCPUGenerator(0); }

void FakeCuda::launch(StreamHandle stream, std::function<void()> kernel, std::function<bool()> ready) {
  const std::lock_guard lock(core_->mutex);
  core_->ask(stream, {.run = std::move(kernel), .ready = std::move(ready)});
}

void FakeCuda::fail_after(std::uint64_t calls, CudaFault fault) {
  const std::lock_guard lock(core_->mutex);
  core_->failing = {calls, fault};
}

std::uint64_t FakeCuda::calls() const {
  const std::lock_guard lock(core_->mutex);
  return core_->calls;
}

std::string FakeCuda::misuse() const {
  const std::lock_guard lock(core_->mutex);
  return core_->misuse;
}

bool FakeCuda::all_given_back() const {
  const std::lock_guard lock(core_->mutex);
  return core_->streams.size() == 1 && core_->events.empty() && core_->pinned.empty() && core_->graphs.empty();
}

}  // namespace hopyard::fakes
