#include "model/initial_values.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/parallel.h"
#include "base/rng.h"

namespace hopyard {
namespace {

/// Uniform in (0, 1) from 32 bits.
double open_unit(std::uint64_t bits) { return (static_cast<double>(bits & 0xffffffffULL) + 0.5) * 0x1.0p-32; }

/// So many values on one thread at least.
constexpr std::size_t kGrain = 1 << 18;

/// Box–Muller: two numbers from one draw; values beyond 6.7 standard deviations do not occur.
void fill_normal(double deviation, std::uint64_t key, std::span<float> out) {
  for_ranges((out.size() + 1) / 2, kGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t pair = begin; pair < end; ++pair) {
      const std::uint64_t bits = derive(key, pair);
      const double radius = deviation * std::sqrt(-2 * std::log(open_unit(bits >> 32)));
      const double angle = 2 * std::numbers::pi * open_unit(bits);
      out[2 * pair] = static_cast<float>(radius * std::cos(angle));
      if (2 * pair + 1 < out.size()) out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
}

void fill_uniform(double bound, std::uint64_t key, std::span<float> out) {
  for_ranges(out.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const double uniform = static_cast<double>(derive(key, i) >> 11) * 0x1.0p-53;
      out[i] = static_cast<float>((2 * uniform - 1) * bound);
    }
  });
}

}  // namespace

void fill_initial(const InitialValue& initial, const ParameterDescription& parameter, std::uint64_t trial_seed,
                  std::span<float> out) {
  const std::uint64_t key = derive(derive(trial_seed, "initial"), parameter.name);
  switch (initial.kind) {
    case InitialValue::Kind::zeros:
      std::fill(out.begin(), out.end(), 0.0f);
      break;
    case InitialValue::Kind::ones:
      std::fill(out.begin(), out.end(), 1.0f);
      break;
    case InitialValue::Kind::normal:
      fill_normal(initial.scale, key, out);
      break;
    case InitialValue::Kind::uniform:
      fill_uniform(initial.scale, key, out);
      break;
  }
  if (initial.zero_row < 0) return;
  const std::size_t width = out.size() / static_cast<std::size_t>(parameter.shape[0]);
  const auto row = out.subspan(static_cast<std::size_t>(initial.zero_row) * width, width);
  std::fill(row.begin(), row.end(), 0.0f);
}

}  // namespace hopyard
