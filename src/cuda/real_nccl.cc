#include "cuda/real_nccl.h"

#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <array>
#include <cstring>

#include "base/failure.h"
#include "base/log.h"
#include "cuda/cuda_devices.h"
#include "cuda/nccl_end.h"
#include "cuda/nccl_transport.h"
#include "cuda/real_calls.h"
#include "transport/loose_thread.h"

namespace hopyard {

namespace {

static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));

/// Blocks of the card that an operation takes: enough for more than a PCIe link's rate, and so few that those of all
/// links run at the same time beside what is computed.
constexpr int kBlocksMax = 4;

struct Functions {
  decltype(&ncclGetVersion) version = nullptr;
  decltype(&ncclGetUniqueId) make_id = nullptr;
  decltype(&ncclCommInitRankConfig) begin = nullptr;
  decltype(&ncclCommGetAsyncError) state = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclGetErrorString) words = nullptr;
  decltype(&ncclGetLastError) last_words = nullptr;
  std::string why_not;

  Functions() {
    void* const library = dlopen("libnccl.so.2", RTLD_NOW);
    if (library == nullptr) {
      why_not = text::cat("NCCL cannot be loaded: ", dlerror());
      return;
    }
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr && why_not.empty()) why_not = text::cat("libnccl.so.2 lacks ", name);
    };
    take(version, "ncclGetVersion");
    take(make_id, "ncclGetUniqueId");
    take(begin, "ncclCommInitRankConfig");
    take(state, "ncclCommGetAsyncError");
    take(abort, "ncclCommAbort");
    take(group_start, "ncclGroupStart");
    take(group_end, "ncclGroupEnd");
    take(send, "ncclSend");
    take(receive, "ncclRecv");
    take(all_reduce, "ncclAllReduce");
    take(words, "ncclGetErrorString");
    take(last_words, "ncclGetLastError");
    if (!why_not.empty()) return;
    int found = 0;
    if (version(&found) != ncclSuccess || found < NCCL_VERSION_CODE)
      why_not = text::cat("libnccl.so.2 is of version ", found, ", and this program was built with ", NCCL_VERSION_CODE,
                          ", which it needs at least");
  }
};

const Functions& functions() {
  static const Functions loaded;
  return loaded;
}

ncclComm_t raw(CommHandle comm) { return reinterpret_cast<ncclComm_t>(comm); }
cudaStream_t raw(StreamHandle stream) { return reinterpret_cast<cudaStream_t>(stream); }

ncclDataType_t type_of(NcclValues values) {
  switch (values) {
    case NcclValues::bytes:
      return ncclUint8;
    case NcclValues::float32:
      return ncclFloat32;
    case NcclValues::float64:
      return ncclFloat64;
  }
  return ncclUint8;
}

class RealNccl final : public NcclCalls {
 public:
  explicit RealNccl(c10::DeviceIndex card) : card_(card) {}

  NcclId make_id() override {
    ncclUniqueId made;
    check(nccl_.make_id(&made), "ncclGetUniqueId", nullptr);
    NcclId id;
    std::memcpy(id.bytes.data(), made.internal, sizeof made.internal);
    return id;
  }

  CommHandle begin(const NcclId& id, int members, int member) override {
    const auto here = on_card();
    ncclUniqueId meeting;
    std::memcpy(meeting.internal, id.bytes.data(), sizeof meeting.internal);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.maxCTAs = kBlocksMax;
    ncclComm_t comm = nullptr;
    const ncclResult_t result = nccl_.begin(&comm, members, meeting, member, &config);
    if (result != ncclSuccess && result != ncclInProgress) {
      const std::string sentence = words_of(result, "ncclCommInitRankConfig", comm);
      if (comm != nullptr) LooseThread("nccl abort", [abort = nccl_.abort, comm] { (void)abort(comm); });  // may hang
      throw NcclFailure(sentence);
    }
    return reinterpret_cast<CommHandle>(comm);
  }

  bool settled(CommHandle comm) override {
    const auto here = on_card();
    ncclResult_t state = ncclSuccess;
    check(nccl_.state(raw(comm), &state), "ncclCommGetAsyncError", raw(comm));
    check(state, "NCCL", raw(comm));
    return state == ncclSuccess;
  }

  void together(const std::function<void()>& ask) override {
    const auto here = on_card();
    check(nccl_.group_start(), "ncclGroupStart", nullptr);
    try {
      ask();
    } catch (...) {
      (void)nccl_.group_end();  // what was asked for before goes with the communicator
      throw;
    }
    check(nccl_.group_end(), "ncclGroupEnd", nullptr);
  }

  void send(CommHandle comm, const void* values, Bytes bytes, int to, StreamHandle stream) override {
    check(nccl_.send(values, bytes, ncclUint8, to, raw(comm), raw(stream)), "ncclSend", raw(comm));
  }
  void receive(CommHandle comm, void* values, Bytes bytes, int from, StreamHandle stream) override {
    check(nccl_.receive(values, bytes, ncclUint8, from, raw(comm), raw(stream)), "ncclRecv", raw(comm));
  }
  void all_reduce(CommHandle comm, void* values, std::size_t count, NcclValues type, StreamHandle stream) override {
    check(nccl_.all_reduce(values, values, count, type_of(type), ncclSum, raw(comm), raw(stream)), "ncclAllReduce",
          raw(comm));
  }

  void abort(CommHandle comm) noexcept override {
    try {
      const auto here = on_card();
      (void)nccl_.abort(raw(comm));
    } catch (const NcclFailure&) {
      // The card is lost, and NCCL's hold on it with it.
    }
  }

 private:
  std::string words_of(ncclResult_t result, const char* call, ncclComm_t comm) const {
    const char* const last = comm == nullptr ? nullptr : nccl_.last_words(comm);
    return text::cat("NCCL: ", call, ": ", nccl_.words(result), last == nullptr || *last == '\0' ? "" : ": ",
                     last == nullptr ? "" : last);
  }
  /// What is under way has not failed.
  void check(ncclResult_t result, const char* call, ncclComm_t comm) const {
    if (result != ncclSuccess && result != ncclInProgress) throw NcclFailure(words_of(result, call, comm));
  }
  c10::cuda::CUDAGuard on_card() const {
    try {
      return c10::cuda::CUDAGuard(card_);
    } catch (const c10::Error& error) {
      throw NcclFailure(text::cat("NCCL: cuda:", int{card_}, " cannot be used: ", error.what_without_backtrace()));
    }
  }

  const c10::DeviceIndex card_;
  const Functions& nccl_ = functions();
};

/// The driver's name for the card, the same in all processes. "GPU-0123…"
std::string name_of(std::uint32_t card) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, static_cast<int>(card)) != cudaSuccess) {
    (void)cudaGetLastError();
    return "";
  }
  std::string name = "GPU-";
  constexpr const char* kDigits = "0123456789abcdef";
  for (const char byte : properties.uuid.bytes) {
    const auto value = static_cast<unsigned char>(byte);
    name += {kDigits[value / 16], kDigits[value % 16]};
  }
  return name;
}

NcclParts parts_of(std::uint32_t card, Bytes budget) {
  NcclParts parts;
  parts.nccl = make_real_nccl(card, parts.why_not);
  if (!parts.why_not.empty()) return parts;
  parts.card = name_of(card);
  if (parts.card.empty()) parts.why_not = text::cat("cuda:", card, " does not answer");
  if (!parts.why_not.empty()) return parts;
  try {
    parts.calls = std::make_shared<RealCalls>(card, budget);
  } catch (const CudaFailure& failure) {
    parts.why_not = failure.what();
  }
  return parts;
}

}  // namespace

std::unique_ptr<NcclCalls> make_real_nccl(std::uint32_t card, std::string& why_not) {
  why_not = functions().why_not;
  if (!why_not.empty()) return nullptr;
  return std::make_unique<RealNccl>(static_cast<c10::DeviceIndex>(card));
}

std::unique_ptr<WorkerEnd> make_cuda_end(std::unique_ptr<WorkerEnd> inner, std::uint32_t card, Bytes budget) {
  return make_nccl_end(std::move(inner), parts_of(card, budget),
                       [](const std::string& warning) { HOPYARD_WARN << warning; });
}

}  // namespace hopyard
