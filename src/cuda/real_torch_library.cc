#include "cuda/real_torch_library.h"

#include <dlfcn.h>

#include <array>
#include <climits>

#include "base/environment.h"
#include "base/text.h"

namespace hopyard {

namespace {

/// The folder of a library that the program is linked to; the loader looks elsewhere for what is loaded by name.
std::string folder_of(const char* library) {
  void* const handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  std::array<char, PATH_MAX> folder{};
  if (handle == nullptr || dlinfo(handle, RTLD_DI_ORIGIN, folder.data()) != 0) return "";
  return folder.data();
}

std::string load() {
  if (dlopen("libcuda.so.1", RTLD_NOW) == nullptr) return "no NVIDIA driver here";
  // cuBLAS reads it when it starts: workspaces of one fixed size make its sums the same ones each time.
  set_environment_variable("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
  const std::string path = folder_of("libc10_cuda.so") + "/libtorch_cuda.so";
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)
    return text::cat("libtorch cannot use GPUs: ", dlerror());
  return "";
}

const std::string missing = load();

}  // namespace

const std::string& torch_cuda_missing() { return missing; }

}  // namespace hopyard
