#include "pipeline/batches.h"

#include <ATen/Functions.h>

#include "base/failure.h"

namespace hopyard {

namespace {

at::Tensor gather_whole(const Dataset& data, const ColumnInfo& column, std::span<const std::uint32_t> rows) {
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows.size())};
  shape.insert(shape.end(), column.shape.begin(), column.shape.end());
  at::Tensor out = at::empty(shape, at::kLong);
  data.gather(column.name, rows, std::span<std::int64_t>(out.data_ptr<std::int64_t>(), out.numel()));
  return out;
}

at::Tensor gather_real(const Dataset& data, const ColumnInfo& column, std::span<const std::uint32_t> rows) {
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows.size())};
  shape.insert(shape.end(), column.shape.begin(), column.shape.end());
  at::Tensor out = at::empty(shape, at::kFloat);
  data.gather(column.name, rows, std::span<float>(out.data_ptr<float>(), out.numel()));
  return out;
}

template <class... Words>
[[noreturn]] void refuse(const Dataset& data, const Words&... words) {
  fail(ExitCode::input, data.folder(), "/dataset.json: ", words...);
}

const ColumnInfo& input_column(const Dataset& data) {
  const ColumnInfo *ids = data.find("input_ids"), *features = data.find("features");
  if (ids == nullptr && features == nullptr) refuse(data, "has neither a column 'input_ids' nor 'features'");
  if (ids != nullptr && features != nullptr) refuse(data, "has both 'input_ids' and 'features'; leave one out");
  return ids != nullptr ? *ids : *features;
}

void check_input(const Dataset& data, const ColumnInfo& input) {
  if (input.shape.size() != 1) refuse(data, "column '", input.name, "' must have one axis beside the rows");
  const ColumnInfo* mask = data.find("attention_mask");
  if (mask != nullptr && input.name == "input_ids" && mask->shape != input.shape)
    refuse(data, "column 'attention_mask' must have the shape of 'input_ids', a value for each token");
}

void check_labels(const Dataset& data, ModelTask task) {
  const ColumnInfo* labels = data.find("labels");
  if (labels == nullptr) refuse(data, "has no column 'labels', which this task needs");
  if (!labels->shape.empty())
    refuse(data, "column 'labels' must hold one value a row (shape []), not ", labels->shape.size(),
           " more axes; write it without them");
  if (task == ModelTask::sequence_classification && data.label_names().size() < 2)
    refuse(data, "'labels' must name at least two classes");
}

}  // namespace

std::vector<Batch> make_batches(const Dataset& data, ModelTask task, std::span<const std::uint32_t> rows,
                                std::uint32_t micro_batch_size) {
  const ColumnInfo& input = input_column(data);
  const ColumnInfo* mask = data.find("attention_mask");
  const ColumnInfo* labels = task == ModelTask::causal_lm ? nullptr : data.find("labels");
  std::vector<Batch> batches;
  for (std::size_t begin = 0; begin < rows.size(); begin += micro_batch_size) {
    const auto part = rows.subspan(begin, std::min<std::size_t>(micro_batch_size, rows.size() - begin));
    Batch batch;
    batch.inputs = input.name == "features" ? gather_real(data, input, part) : gather_whole(data, input, part);
    if (mask != nullptr) batch.attention_mask = gather_whole(data, *mask, part);
    if (labels != nullptr)
      batch.labels =
          task == ModelTask::regression ? gather_real(data, *labels, part) : gather_whole(data, *labels, part);
    batches.push_back(std::move(batch));
  }
  return batches;
}

void bring_batches(Device& device, std::span<Batch> batches, const BatchParts& parts) {
  const auto bring = [&](at::Tensor Batch::*part) {
    if (batches.empty() || !(batches[0].*part).defined()) return;
    if (part == &Batch::inputs && batches[0].inputs.is_floating_point()) {
      for (auto& batch : batches) batch.inputs = device.bring(batch.inputs);
      return;
    }
    std::vector<at::Tensor> values;
    std::vector<std::int64_t> rows;
    for (const auto& batch : batches) {
      values.push_back(batch.*part);
      rows.push_back(values.back().size(0));
    }
    const auto brought = device.bring(values.size() == 1 ? values.front() : at::cat(values)).split_with_sizes(rows);
    for (std::size_t m = 0; m < batches.size(); ++m) batches[m].*part = brought[m];
  };
  if (device.tensor_account() != nullptr) return;  // its tensors are the host's
  if (parts.inputs) bring(&Batch::inputs);
  if (parts.attention_mask) bring(&Batch::attention_mask);
  if (parts.labels) bring(&Batch::labels);
}

DataShape data_shape(const Dataset& data, ModelTask task) {
  const ColumnInfo& input = input_column(data);
  check_input(data, input);
  DataShape shape;
  shape.input = input.name == "features" ? DataShape::Input::features : DataShape::Input::input_ids;
  shape.tokens = input.shape[0];
  shape.vocabulary = data.vocabulary();
  if (task == ModelTask::causal_lm) return shape;
  check_labels(data, task);
  shape.label_names = data.label_names();
  shape.classes = task == ModelTask::regression ? 1 : static_cast<std::int64_t>(shape.label_names.size());
  return shape;
}

}  // namespace hopyard
