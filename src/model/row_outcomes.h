// What a model said of each row that it was judged on.
#pragma once

#include <cstdint>
#include <vector>

namespace hopyard {

/// By row, in the order of judging; plain values. What the task does not have stays empty.
struct RowOutcomes {
  std::vector<float> losses;            ///< of causal-lm the mean over the row's predicted tokens
  std::vector<float> correct;           ///< 0 or 1; of causal-lm the share of tokens
  std::vector<std::int64_t> predicted;  ///< sequence-classification: the class
  std::uint32_t width = 0;              ///< of `values`
  std::vector<float> values;            ///< [rows, width]: probability of each class, or of regression the prediction
  std::vector<std::int64_t> labels;     ///< sequence-classification
  std::vector<float> targets;           ///< regression
  bool operator==(const RowOutcomes&) const = default;

  /// Further rows. Where `values` would grow beyond kOutcomeValuesMax, there are none from then on.
  void add(const RowOutcomes& more);
};
inline constexpr std::size_t kOutcomeValuesMax = 4u << 20;  // 16 MiB

}  // namespace hopyard
