# One function for a module, one for a test program, one for a benchmark program.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# As libtorch, which does the arithmetic; -O3 takes longer to compile.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
# The last four: GCC 12 warns of std::string's own bounds where it inlines deeply (bugs 105329, 105651).
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Werror;-Wno-missing-field-initializers>"
                    "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict;-Wno-stringop-overflow;-Wno-stringop-overread;-Wno-array-bounds>")
# For the card, constexpr functions are functions of its own as well.
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings;-Xcompiler=-Wall,-Werror>")
if(HOPYARD_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${HOPYARD_SANITIZE};-fno-omit-frame-pointer>")
  add_link_options(-fsanitize=${HOPYARD_SANITIZE})
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# Most of a build's time goes into parsing headers, so each target has a precompiled one of cmake/pch. What is in it costs
# each of its users something again (an empty file 0.5 s of plain, 0.8 s of tensor, 2.8 s of torch), so a target takes the
# least that holds what most of its files include.
function(hopyard_pch name)
  add_library(hopyard_pch_${name} OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch/pch.cc)
  target_precompile_headers(hopyard_pch_${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch/${name}.h)
  target_compile_options(hopyard_pch_${name} PRIVATE -fpch-preprocess)
  target_link_libraries(hopyard_pch_${name} PRIVATE Threads::Threads ${ARGN})
endfunction()
hopyard_pch(plain nlohmann_json::nlohmann_json)
hopyard_pch(tensor nlohmann_json::nlohmann_json torch::torch)
hopyard_pch(torch nlohmann_json::nlohmann_json torch::torch)
if(HOPYARD_TESTS)
  hopyard_pch(test nlohmann_json::nlohmann_json gtest gmock)
  hopyard_pch(tensor_test nlohmann_json::nlohmann_json torch::torch gtest gmock)
endif()

function(hopyard_use_pch target name)
  target_precompile_headers(${target} REUSE_FROM hopyard_pch_${name})
  # The header was compiled with -fPIC, and executables would ask for -fPIE.
  target_compile_options(${target} PRIVATE -fpch-preprocess -fPIC)
endfunction()

# hopyard_module(NAME [TENSOR | TORCH] [SKIP regex] [LIBS target...]): all *.cc here, but for those whose names match, as
# library hopyard_NAME. TENSOR: its files see tensors; TORCH: they compute with them.
function(hopyard_module name)
  cmake_parse_arguments(arg "TENSOR;TORCH" "SKIP" "LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(arg_SKIP)
    list(FILTER sources EXCLUDE REGEX "/${arg_SKIP}\\.cc$")
  endif()
  add_library(hopyard_${name} STATIC ${sources})
  target_include_directories(hopyard_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(hopyard_${name} PUBLIC Threads::Threads ${arg_LIBS})
  if(arg_TORCH OR arg_TENSOR)
    target_link_libraries(hopyard_${name} PUBLIC torch::torch)
  endif()
  if(arg_TORCH)
    hopyard_use_pch(hopyard_${name} torch)
  elseif(arg_TENSOR)
    hopyard_use_pch(hopyard_${name} tensor)
  else()
    hopyard_use_pch(hopyard_${name} plain)
  endif()
endfunction()

# hopyard_test(NAME [TENSOR | TORCH] [LABEL label] [TIMEOUT s] [SOURCES file...] LIBS target...): NAME_test.cc as one ctest entry.
# With the label `gpu`, it counts as skipped where its tests say that they need a card (tests/fakes/cards.h).
function(hopyard_test name)
  cmake_parse_arguments(arg "TENSOR;TORCH" "LABEL;TIMEOUT" "LIBS;SOURCES" ${ARGN})
  add_executable(${name}_test ${name}_test.cc ${arg_SOURCES})
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name}_test PRIVATE ${arg_LIBS} gtest gmock gtest_main)
  target_compile_definitions(${name}_test PRIVATE HOPYARD_SOURCE="${PROJECT_SOURCE_DIR}" HOPYARD_BINARY="${PROJECT_BINARY_DIR}")
  # Tests are compiled more often than run.
  target_compile_options(${name}_test PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)
  if(arg_TORCH)
    hopyard_use_pch(${name}_test torch)
  elseif(arg_TENSOR)
    hopyard_use_pch(${name}_test tensor_test)
  else()
    hopyard_use_pch(${name}_test test)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  add_test(NAME ${folder}/${name} COMMAND ${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${folder}/${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABEL}")
  if(arg_LABEL STREQUAL "gpu")
    set_tests_properties(${folder}/${name} PROPERTIES SKIP_REGULAR_EXPRESSION "needs a card:" RUN_SERIAL ON)
  endif()
endfunction()
