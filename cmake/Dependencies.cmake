# Every library that Hopyard links, as a target. docs/DEPENDENCIES.md says why each is here.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(ROCKSDB REQUIRED IMPORTED_TARGET rocksdb)
pkg_check_modules(GFLAGS REQUIRED IMPORTED_TARGET gflags)
pkg_check_modules(GLOG REQUIRED IMPORTED_TARGET libglog)
pkg_check_modules(YAMLCPP REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(nlohmann_json REQUIRED)

# libtorch is the PyPI wheel. find_package(Torch) stops where there is no CUDA toolkit, so its two libraries are named
# here; HOPYARD_TORCH is the wheel's package folder.
if(NOT HOPYARD_TORCH)
  file(GLOB wheels ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  list(GET wheels 0 found)
  set(HOPYARD_TORCH ${found} CACHE PATH "The package folder of torch")
endif()
if(NOT EXISTS ${HOPYARD_TORCH}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no libtorch in '${HOPYARD_TORCH}': run `make setup`, or pass -DHOPYARD_TORCH=<folder of torch>")
endif()
foreach(part c10 torch_cpu)
  add_library(torch::${part} SHARED IMPORTED)
  set_target_properties(torch::${part} PROPERTIES IMPORTED_LOCATION ${HOPYARD_TORCH}/lib/lib${part}.so)
endforeach()
add_library(torch::torch INTERFACE IMPORTED)
target_include_directories(torch::torch SYSTEM INTERFACE
  ${HOPYARD_TORCH}/include ${HOPYARD_TORCH}/include/torch/csrc/api/include)
# The wheel's own needs (OpenMP, CUDA stubs) sit beside it; they are resolved when the program starts.
target_link_options(torch::torch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${HOPYARD_TORCH}/lib)
target_link_libraries(torch::torch INTERFACE torch::torch_cpu torch::c10)
file(GLOB nvidia_libs ${HOPYARD_TORCH}/../nvidia/*/lib)
foreach(folder ${nvidia_libs} /usr/local/cuda/lib64 /usr/local/cuda/extras/CUPTI/lib64)
  if(EXISTS ${folder})
    get_filename_component(folder ${folder} ABSOLUTE)
    target_link_options(torch::torch INTERFACE -Wl,-rpath,${folder})
  endif()
endforeach()
