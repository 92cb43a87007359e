// Running the Python scripts of tests/oracle in their own environment, and reading the tensors that they write.
#pragma once

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/text.h"
#include "formats/safetensors.h"
#include "model/layer.h"

namespace hopyard::fakes {

/// Runs tests/oracle/SCRIPT with the arguments; a failed test when it does not end well.
inline void run_oracle(const std::string& script, const std::vector<std::string>& arguments) {
  const std::string root = HOPYARD_SOURCE;
  std::string command = text::cat("'", root, "/.venv-oracle/bin/python' '", root, "/tests/oracle/", script, "'");
  for (const std::string& argument : arguments) command += text::cat(" '", argument, "'");
  ASSERT_EQ(std::system(command.c_str()), 0) << command << "\n`make setup` makes .venv-oracle";
}

/// The tensors of a safetensors file, as copies.
class OracleTensors {
 public:
  explicit OracleTensors(const std::string& path) : file_(path) {}
  bool has(const std::string& name) const { return file_.find(name); }
  at::Tensor operator[](const std::string& name) const {
    const TensorInfo* info = file_.find(name);
    if (!info) throw std::logic_error(file_.path() + " has no " + name);
    at::Tensor tensor = at::empty(info->shape, info->dtype == Dtype::i64 ? at::kLong : at::kFloat);
    const auto bytes = file_.bytes(*info);
    std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
    return tensor;
  }
  Batch batch() const {
    Batch batch;
    batch.inputs = has("features") ? (*this)["features"] : (*this)["input_ids"];
    if (has("attention_mask")) batch.attention_mask = (*this)["attention_mask"];
    if (has("labels")) batch.labels = (*this)["labels"];
    return batch;
  }

 private:
  SafetensorsFile file_;
};

}  // namespace hopyard::fakes
