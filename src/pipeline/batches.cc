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

const ColumnInfo& input_column(const Dataset& data) {
  if (const auto* ids = data.find("input_ids")) return *ids;
  if (const auto* features = data.find("features")) return *features;
  fail(ExitCode::input, data.folder(), "/dataset.json: has neither a column 'input_ids' nor 'features'");
}

}  // namespace

std::vector<Batch> make_batches(const Dataset& data, Task task, std::span<const std::uint32_t> rows,
                                std::uint32_t micro_batch_size) {
  const ColumnInfo& input = input_column(data);
  const ColumnInfo* mask = data.find("attention_mask");
  const ColumnInfo* labels = task == Task::causal_lm ? nullptr : data.find("labels");
  std::vector<Batch> batches;
  for (std::size_t begin = 0; begin < rows.size(); begin += micro_batch_size) {
    const auto part = rows.subspan(begin, std::min<std::size_t>(micro_batch_size, rows.size() - begin));
    Batch batch;
    batch.inputs = input.name == "features" ? gather_real(data, input, part) : gather_whole(data, input, part);
    if (mask != nullptr) batch.attention_mask = gather_whole(data, *mask, part);
    if (labels != nullptr)
      batch.labels = task == Task::regression ? gather_real(data, *labels, part) : gather_whole(data, *labels, part);
    batches.push_back(std::move(batch));
  }
  return batches;
}

DataShape data_shape(const Dataset& train, Task task) {
  const ColumnInfo& input = input_column(train);
  if (input.shape.size() != 1)
    fail(ExitCode::input, train.folder(), "/dataset.json: column '", input.name,
         "' must have one axis beside the rows");
  DataShape shape;
  shape.tokens = input.shape[0];
  shape.vocabulary = train.vocabulary();
  if (task == Task::causal_lm) return shape;
  if (train.find("labels") == nullptr)
    fail(ExitCode::input, train.folder(), "/dataset.json: has no column 'labels', which this task needs");
  shape.label_names = train.label_names();
  shape.classes = task == Task::regression ? 1 : static_cast<std::int64_t>(shape.label_names.size());
  if (task == Task::sequence_classification && shape.classes < 2)
    fail(ExitCode::input, train.folder(), "/dataset.json: 'labels' must name at least two classes");
  return shape;
}

}  // namespace hopyard
