// Losses and metrics of a model.
#include <ATen/Functions.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <map>
#include <numeric>

#include "base/failure.h"
#include "model/families.h"
#include "model/judge.h"
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

/// One read of a card, for all of them.
template <class Value>
std::vector<Value> read_all(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return {};
  const at::Tensor flat = at::cat(tensors).to(at::kCPU).contiguous();
  const Value* begin = flat.const_data_ptr<Value>();
  return {begin, begin + flat.numel()};
}

at::Tensor cross_entropy_each(const at::Tensor& logits, const at::Tensor& labels) {
  return at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::None, kIgnored);
}

double sum_of(const std::vector<float>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

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

void Judge::add(const at::Tensor& computed, const Batch& batch) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = in_float32(computed);
  items_ += source_.counted_items(logits.size(0));
  switch (source_.spec().task) {
    case ModelTask::sequence_classification: {
      const at::Tensor predicted = logits.argmax(1);
      losses_.push_back(cross_entropy_each(logits, batch.labels));
      correct_.push_back(predicted.eq(batch.labels).to(at::kFloat));
      predicted_.push_back(predicted);
      values_.push_back(at::softmax(logits, 1).view({-1}));
      labels_.push_back(batch.labels);
      width_ = logits.size(1);
      return;
    }
    case ModelTask::causal_lm: {
      const at::Tensor labels = next_tokens(batch.inputs);
      const auto by_row = [&](const at::Tensor& each) { return each.view({logits.size(0), logits.size(1)}).sum(1); };
      losses_.push_back(by_row(cross_entropy_each(rows_of(logits), labels)));
      correct_.push_back(by_row(rows_of(logits).argmax(1).eq(labels).to(at::kFloat)));
      counted_ = logits.size(1) - 1;  // the last token predicts nothing
      return;
    }
    case ModelTask::regression:
      values_.push_back(logits.squeeze(1));
      losses_.push_back(at::mse_loss(values_.back(), batch.labels, at::Reduction::None));
      labels_.push_back(batch.labels);
      width_ = 1;
  }
}

Judged Judge::read() const {
  Judged judged;
  RowOutcomes& rows = judged.rows;
  rows.losses = read_all<float>(losses_);
  rows.correct = read_all<float>(correct_);
  judged.sums.items = items_;
  judged.sums.loss = sum_of(rows.losses);
  judged.sums.correct = sum_of(rows.correct);
  const ModelTask task = source_.spec().task;
  if (task == ModelTask::regression) judged.sums.squared_error = judged.sums.loss;
  for (auto* const all : {&rows.losses, &rows.correct})
    for (float& value : *all) value /= static_cast<float>(counted_);
  rows.width = static_cast<std::uint32_t>(width_);
  rows.values = read_all<float>(values_);
  if (task == ModelTask::regression)
    rows.targets = read_all<float>(labels_);
  else
    rows.labels = read_all<std::int64_t>(labels_);
  rows.predicted = read_all<std::int64_t>(predicted_);
  return judged;
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
