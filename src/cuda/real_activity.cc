// Activity records of CUPTI.
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cuda/activity_recorder.h"

namespace hopyard {

namespace {

constexpr std::size_t kBufferBytes = 4 * MiB;
/// Of 40 bytes each: some minutes of training.
constexpr std::size_t kRecordsMax = 8'000'000;
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMCPY2, CUPTI_ACTIVITY_KIND_MEMSET};

/// libtorch is linked to CUPTI, so it is in the process already.
struct Cupti {
  void* const library = dlopen("libcupti.so.13", RTLD_NOW);
  template <class Function>
  Function* find(const char* name) const {
    return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
  }
#define HOPYARD_CUPTI(name) decltype(::name)* const name = find<decltype(::name)>(#name)
  HOPYARD_CUPTI(cuptiActivityRegisterCallbacks);
  HOPYARD_CUPTI(cuptiActivityEnable);
  HOPYARD_CUPTI(cuptiActivityDisable);
  HOPYARD_CUPTI(cuptiActivityFlushAll);
  HOPYARD_CUPTI(cuptiActivityGetNextRecord);
  HOPYARD_CUPTI(cuptiActivityGetNumDroppedRecords);
  HOPYARD_CUPTI(cuptiGetTimestamp);
  HOPYARD_CUPTI(cuptiGetResultString);
#undef HOPYARD_CUPTI
  bool complete() const {
    return cuptiActivityRegisterCallbacks && cuptiActivityEnable && cuptiActivityDisable && cuptiActivityFlushAll &&
           cuptiActivityGetNextRecord && cuptiActivityGetNumDroppedRecords && cuptiGetTimestamp && cuptiGetResultString;
  }
  std::string words(CUptiResult result) const {
    const char* said = nullptr;
    cuptiGetResultString(result, &said);
    return said == nullptr ? text::cat("error ", static_cast<int>(result)) : said;
  }
};

const Cupti& cupti() {
  static const Cupti functions;
  return functions;
}

/// As CUPTI gives it, with times of its own clock.
struct RawRecord {
  ActivityKind kind;
  std::uint32_t card, stream, name;
  std::uint64_t begin_ns, end_ns;
  Bytes bytes;
};

ActivityKind kind_of_copy(std::uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOA:
      return ActivityKind::to_card;
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
    case CUPTI_ACTIVITY_MEMCPY_KIND_ATOH:
      return ActivityKind::to_host;
    default:
      return ActivityKind::on_card;
  }
}

std::string readable(const char* mangled) {
  int status = 0;
  char* const demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 && demangled != nullptr ? demangled : mangled;
  std::free(demangled);
  return name;
}

/// Both clocks at nearly one moment: the closest of a few tries.
std::optional<ClockMap::Pair> read_clocks() {
  constexpr int kTries = 16;
  std::optional<ClockMap::Pair> best;
  double closest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries; ++i) {
    std::uint64_t theirs = 0;
    const double before = monotonic_seconds();
    if (cupti().cuptiGetTimestamp(&theirs) != CUPTI_SUCCESS) return std::nullopt;
    const double after = monotonic_seconds();
    if (after - before >= closest) continue;
    closest = after - before;
    best = ClockMap::Pair{theirs, (before + after) / 2};
  }
  return best;
}

/// Where CUPTI's threads put what they have. CUPTI knows its callbacks once and for all, so it is there once and for
/// all, too.
class Collected {
 public:
  void begin() {
    const std::lock_guard lock(mutex_);
    records_.clear();
    dropped_ = 0;
    keeping_ = true;
  }
  void take(CUcontext context, std::uint32_t stream, std::uint8_t* buffer, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    CUpti_Activity* record = nullptr;
    while (bytes > 0 && cupti().cuptiActivityGetNextRecord(buffer, bytes, &record) == CUPTI_SUCCESS) add(*record);
    std::size_t lost = 0;
    if (cupti().cuptiActivityGetNumDroppedRecords(context, stream, &lost) == CUPTI_SUCCESS) dropped_ += lost;
  }
  ActivityLog end(const ClockMap& clocks) {
    const std::lock_guard lock(mutex_);
    keeping_ = false;
    ActivityLog log;
    log.dropped = dropped_;
    log.names = names_;
    log.records.reserve(records_.size());
    for (const auto& raw : records_)
      log.records.push_back({raw.kind, raw.card, raw.stream, raw.name, clocks.seconds(raw.begin_ns),
                             clocks.seconds(raw.end_ns), raw.bytes});
    records_ = {};
    return log;
  }

 private:
  void add(const CUpti_Activity& record) {
    switch (record.kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
        const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel10&>(record);
        return add({ActivityKind::kernel, kernel.deviceId, kernel.streamId, name_of(kernel.name), kernel.start,
                    kernel.end, 0});
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY: {
        const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy6&>(record);
        return add({kind_of_copy(copy.copyKind), copy.deviceId, copy.streamId, 0, copy.start, copy.end, copy.bytes});
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY2: {
        const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpyPtoP4&>(record);
        return add({ActivityKind::on_card, copy.deviceId, copy.streamId, 0, copy.start, copy.end, copy.bytes});
      }
      case CUPTI_ACTIVITY_KIND_MEMSET: {
        const auto& fill = reinterpret_cast<const CUpti_ActivityMemset4&>(record);
        return add({ActivityKind::on_card, fill.deviceId, fill.streamId, 0, fill.start, fill.end, fill.bytes});
      }
      default:
        return;
    }
  }
  void add(const RawRecord& record) {
    if (!keeping_ || record.begin_ns == 0 || record.end_ns == 0) return;  // 0: CUPTI could not tell
    if (records_.size() < kRecordsMax)
      records_.push_back(record);
    else
      ++dropped_;
  }
  std::uint32_t name_of(const char* mangled) {
    const auto [at, fresh] = numbers_.try_emplace(mangled == nullptr ? "?" : mangled, names_.size());
    if (fresh) names_.push_back(readable(at->first.c_str()));
    return at->second;
  }

  std::mutex mutex_;  // guards all below
  bool keeping_ = false;
  std::vector<RawRecord> records_;
  std::unordered_map<std::string, std::uint32_t> numbers_;  ///< of kernels, by their mangled names
  std::vector<std::string> names_;
  std::uint64_t dropped_ = 0;
};

Collected& collected() {
  static auto* const all = new Collected;  // CUPTI's threads may outlive what main() destroys
  return *all;
}

std::atomic<bool> recording = false;

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* bytes, std::size_t* records_max) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *records_max = 0;
}

void CUPTIAPI take_buffer(CUcontext context, std::uint32_t stream, std::uint8_t* buffer, std::size_t,
                          std::size_t bytes) {
  if (buffer != nullptr) collected().take(context, stream, buffer, bytes);
  std::free(buffer);
}

class CuptiRecorder final : public ActivityRecorder {
 public:
  explicit CuptiRecorder(ClockMap::Pair begin) : begin_(begin) {}
  ~CuptiRecorder() override {
    if (!stopped_) stop();
  }
  ActivityLog stop() override {
    stopped_ = true;
    if (const CUptiResult result = cupti().cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
        result != CUPTI_SUCCESS)
      HOPYARD_WARN << "CUPTI lost a part of what the cards did: " << cupti().words(result);
    for (const auto kind : kKinds) (void)cupti().cuptiActivityDisable(kind);
    const ClockMap::Pair end = read_clocks().value_or(begin_);
    ActivityLog log = collected().end(ClockMap(begin_, end));
    log.begin_s = begin_.ours_s;
    log.end_s = end.ours_s;
    recording = false;
    return log;
  }

 private:
  const ClockMap::Pair begin_;
  bool stopped_ = false;
};

/// Empty, or what CUPTI refused.
std::string enable() {
  static const CUptiResult registered = cupti().cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
  if (registered != CUPTI_SUCCESS) return cupti().words(registered);
  for (const auto kind : kKinds)
    if (const CUptiResult result = cupti().cuptiActivityEnable(kind); result != CUPTI_SUCCESS) {
      for (const auto enabled : kKinds) (void)cupti().cuptiActivityDisable(enabled);
      return cupti().words(result);
    }
  return "";
}

}  // namespace

std::unique_ptr<ActivityRecorder> record_activity(std::string& why_not) {
  if (!cupti().complete()) {
    why_not = "CUPTI cannot be used: libcupti.so.13 lacks, or lacks a function";
    return nullptr;
  }
  if (recording.exchange(true)) {
    why_not = "what the cards do is being recorded already";
    return nullptr;
  }
  collected().begin();
  std::string refused = enable();
  const auto begin = refused.empty() ? read_clocks() : std::nullopt;
  if (!begin) {
    why_not = text::cat("CUPTI refuses to record what the cards do: ", refused.empty() ? "no clock" : refused);
    recording = false;
    return nullptr;
  }
  return std::make_unique<CuptiRecorder>(*begin);
}

}  // namespace hopyard
