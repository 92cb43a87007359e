// What a build without the CUDA toolkit says.
#include "base/failure.h"
#include "cuda/cuda_devices.h"
#include "cuda/ranges.h"

namespace hopyard {

namespace {

constexpr const char* kWithout = "this program was built without CUDA: build it where there is an nvcc, or use cpu";

}  // namespace

CudaCards cuda_cards() { return {{}, kWithout, "", ""}; }
std::vector<std::string> cuda_card_names() { return {}; }
std::string cuda_bus_id(std::uint32_t) { return ""; }

std::uint32_t cuda_card_count() { return 0; }

LinkSpeed measure_cuda_link(std::uint32_t) { fail(ExitCode::usage, kWithout); }

DeviceSpec resolve_cuda_device(const DeviceSpec&, std::uint32_t) {
  fail(ExitCode::usage, "resources.devices: type cuda: ", kWithout);
}

std::unique_ptr<Device> make_cuda_device(const DeviceSpec&, std::uint32_t, TraceRecorder*) {
  fail(ExitCode::usage, kWithout);
}

std::unique_ptr<HostMemory> make_pinned_memory(Bytes, std::uint32_t) { return nullptr; }

ProfilerRange::ProfilerRange(const std::string&) {}
ProfilerRange::~ProfilerRange() {}

}  // namespace hopyard
