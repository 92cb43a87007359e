# One function for a module, one for a test program, one for a benchmark program.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# The last four: GCC 12 warns of std::string's own bounds where it inlines deeply (bugs 105329, 105651).
add_compile_options(-Wall -Wextra -Werror -Wno-missing-field-initializers
                    -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
if(HOPYARD_SANITIZE)
  add_compile_options(-fsanitize=${HOPYARD_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HOPYARD_SANITIZE})
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE})
endif()

# Folders that see libtorch share one precompiled header: parsing it costs over 20 s, and it is parsed once.
add_library(hopyard_torch_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/torch_pch.cc)
target_precompile_headers(hopyard_torch_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/torch_pch.h)
target_compile_options(hopyard_torch_pch PRIVATE -fpch-preprocess)
target_link_libraries(hopyard_torch_pch PRIVATE torch::torch Threads::Threads)

function(hopyard_use_torch target)
  target_link_libraries(${target} PUBLIC torch::torch Threads::Threads)
  target_precompile_headers(${target} REUSE_FROM hopyard_torch_pch)
  # The header was compiled with -fPIC, and executables would ask for -fPIE.
  target_compile_options(${target} PRIVATE -fpch-preprocess -fPIC)
endfunction()

# hopyard_module(NAME [TORCH] [LIBS target...]): all of src/NAME/*.cc as library hopyard_NAME.
function(hopyard_module name)
  cmake_parse_arguments(arg "TORCH" "" "LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(hopyard_${name} STATIC ${sources})
  target_include_directories(hopyard_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(hopyard_${name} PUBLIC Threads::Threads ${arg_LIBS})
  if(arg_TORCH)
    hopyard_use_torch(hopyard_${name})
  endif()
endfunction()

# hopyard_test(NAME [TORCH] [LABEL label] [TIMEOUT s] [SOURCES file...] LIBS target...): NAME_test.cc as one ctest entry.
function(hopyard_test name)
  cmake_parse_arguments(arg "TORCH" "LABEL;TIMEOUT" "LIBS;SOURCES" ${ARGN})
  add_executable(${name}_test ${name}_test.cc ${arg_SOURCES})
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name}_test PRIVATE ${arg_LIBS} gtest gmock gtest_main)
  target_compile_definitions(${name}_test PRIVATE HOPYARD_SOURCE="${PROJECT_SOURCE_DIR}" HOPYARD_BINARY="${PROJECT_BINARY_DIR}")
  if(arg_TORCH)
    hopyard_use_torch(${name}_test)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  add_test(NAME ${folder}/${name} COMMAND ${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${folder}/${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABEL}")
endfunction()
