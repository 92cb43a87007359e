// A folder that a test has to itself.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace hopyard {

class ScratchFolder {
 public:
  ScratchFolder() : path_(std::string(HOPYARD_BINARY) + "/scratch-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace hopyard
