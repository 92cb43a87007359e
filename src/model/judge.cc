// Losses and metrics of a model.
#include <ATen/Functions.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <map>

#include "base/failure.h"
#include "model/families.h"
#include "model/judged.h"
#include "model/model.h"

namespace hopyard {
namespace {

constexpr std::int64_t kIgnored = -100;  // cross_entropy_loss's ignore_index

/// The token that each position predicts; kIgnored at the last. Padding the labels spares a copy of the logits.
at::Tensor next_tokens(const at::Tensor& inputs) {
  return at::constant_pad_nd(inputs.slice(1, 1), {0, 1}, kIgnored).view({-1});
}

at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels) {
  return at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Sum, kIgnored);
}

/// Whatever logits were computed in, losses and metrics are float32.
at::Tensor in_float32(const at::Tensor& logits) { return logits.to(at::kFloat); }

at::Tensor rows_of(const at::Tensor& logits) { return logits.view({-1, logits.size(-1)}); }

template <class Value>
std::vector<Value> values_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kCPU).contiguous();
  const Value* begin = flat.data_ptr<Value>();
  return {begin, begin + flat.numel()};
}

at::Tensor cross_entropy_each(const at::Tensor& logits, const at::Tensor& labels) {
  return at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::None, kIgnored);
}

RowOutcomes outcomes_of_classes(const at::Tensor& logits, const at::Tensor& labels) {
  RowOutcomes rows;
  const at::Tensor predicted = logits.argmax(1);
  rows.losses = values_of<float>(cross_entropy_each(logits, labels));
  rows.correct = values_of<float>(predicted.eq(labels).to(at::kFloat));
  rows.predicted = values_of<std::int64_t>(predicted);
  rows.width = static_cast<std::uint32_t>(logits.size(1));
  rows.values = values_of<float>(at::softmax(logits, 1));
  rows.labels = values_of<std::int64_t>(labels);
  return rows;
}

RowOutcomes outcomes_of_tokens(const at::Tensor& logits, const at::Tensor& labels) {
  RowOutcomes rows;
  const std::int64_t count = logits.size(0), counted = logits.size(1) - 1;  // the last token predicts nothing
  const auto mean_of_row = [&](const at::Tensor& each) {
    return values_of<float>(each.to(at::kFloat).view({count, counted + 1}).sum(1).div(static_cast<double>(counted)));
  };
  rows.losses = mean_of_row(cross_entropy_each(rows_of(logits), labels));
  rows.correct = mean_of_row(rows_of(logits).argmax(1).eq(labels));
  return rows;
}

RowOutcomes outcomes_of_values(const at::Tensor& logits, const at::Tensor& labels) {
  RowOutcomes rows;
  const at::Tensor values = logits.squeeze(1);
  rows.losses = values_of<float>(at::mse_loss(values, labels, at::Reduction::None));
  rows.width = 1;
  rows.values = values_of<float>(values);
  rows.targets = values_of<float>(labels);
  return rows;
}

template <class Value>
void append(std::vector<Value>& all, const std::vector<Value>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

void MetricSums::add(const MetricSums& other) {
  loss += other.loss;
  correct += other.correct;
  squared_error += other.squared_error;
  items += other.items;
}

void Judged::add(const Judged& more) {
  sums.add(more.sums);
  rows.add(more.rows);
}

Judged add_up(std::span<const JudgedPartition> partitions) {
  Judged all;
  for (const JudgedPartition& one : partitions) all.add(one.judged);
  return all;
}

std::int64_t ModelSource::counted_items(std::int64_t rows) const {
  return spec_.task == ModelTask::causal_lm ? rows * (shape_.tokens - 1) : rows;
}

LossSum ModelSource::loss(const at::Tensor& computed, const Batch& batch) const {
  const at::Tensor logits = in_float32(computed);
  const std::int64_t items = counted_items(logits.size(0));
  switch (spec_.task) {
    case ModelTask::sequence_classification:
      return {cross_entropy_sum(logits, batch.labels), items};
    case ModelTask::causal_lm:
      return {cross_entropy_sum(rows_of(logits), next_tokens(batch.inputs)), items};
    case ModelTask::regression:
      // mse_loss would broadcast [rows, 1] against [rows] to [rows, rows].
      require(batch.labels.dim() == 1, "regression with labels of ", batch.labels.dim(), " axes");
      return {at::mse_loss(logits.squeeze(1), batch.labels, at::Reduction::Sum), items};
  }
  return {};
}

MetricSums ModelSource::judge(const at::Tensor& computed, const Batch& batch) const {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = in_float32(computed);
  const LossSum sum = loss(logits, batch);
  MetricSums sums;
  sums.loss = sum.sum.item<double>();
  sums.items = sum.items;
  if (spec_.task == ModelTask::regression) {
    sums.squared_error = sums.loss;
    return sums;
  }
  const at::Tensor labels = spec_.task == ModelTask::causal_lm ? next_tokens(batch.inputs) : batch.labels;
  sums.correct = rows_of(logits).argmax(1).eq(labels).sum().item<double>();
  return sums;
}

void RowOutcomes::add(const RowOutcomes& more) {
  const bool first = losses.empty();
  if (first) width = more.width;
  if (width != more.width || values.size() + more.values.size() > kOutcomeValuesMax) width = 0, values.clear();
  if (width > 0) append(values, more.values);
  append(losses, more.losses);
  append(correct, more.correct);
  append(predicted, more.predicted);
  append(labels, more.labels);
  append(targets, more.targets);
}

RowOutcomes row_outcomes(const ModelSource& source, const at::Tensor& computed, const Batch& batch) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = in_float32(computed);
  switch (source.spec().task) {
    case ModelTask::sequence_classification:
      return outcomes_of_classes(logits, batch.labels);
    case ModelTask::causal_lm:
      return outcomes_of_tokens(logits, next_tokens(batch.inputs));
    case ModelTask::regression:
      return outcomes_of_values(logits, batch.labels);
  }
  return {};
}

double ModelSource::metric(const MetricSums& sums, const std::string& name) {
  using Formula = double (*)(const MetricSums&, double items);
  static const std::map<std::string, Formula> formulas = {
      {"valid/accuracy", [](const MetricSums& s, double items) { return s.correct / items; }},
      {"valid/loss", [](const MetricSums& s, double items) { return s.loss / items; }},
      {"valid/mse", [](const MetricSums& s, double items) { return s.squared_error / items; }},
      {"valid/perplexity", [](const MetricSums& s, double items) { return std::exp(s.loss / items); }}};
  const auto found = formulas.find(name);
  if (found != formulas.end()) return found->second(sums, static_cast<double>(sums.items));
  std::vector<std::string> names;
  for (const auto& formula : formulas) names.push_back(formula.first);
  fail(ExitCode::usage, "search.metric: '", name, "' is unknown; choose one of: ", text::join(names, ", "));
}

}  // namespace hopyard
