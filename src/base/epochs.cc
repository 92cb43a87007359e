#include "base/epochs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <ostream>

#include "base/failure.h"

namespace hopyard {

namespace {

// Both hold, so that 0.333 is a third, and neither 0.33 nor 0.999 is something else than it says.
constexpr double kRounding = 0.0005, kRoundingOfPart = 0.002;
constexpr double kExact = 1e-9;
constexpr std::uint32_t kPlainParts = 24;  // that people round

std::uint32_t small(std::uint64_t value) {
  require(value <= std::numeric_limits<std::uint32_t>::max(), "a number of epochs has the term ", value);
  return static_cast<std::uint32_t>(value);
}

}  // namespace

Epochs Epochs::of_visits(std::uint64_t count, std::uint64_t parts) {
  require(parts > 0, "an epoch has no visits");
  const std::uint64_t divisor = std::gcd(count, parts);
  Epochs epochs(small(count / divisor));
  epochs.parts_ = small(parts / divisor);
  return epochs;
}

std::optional<Epochs> Epochs::nearest(double value) {
  if (!(value >= 0 && value <= std::numeric_limits<std::uint32_t>::max() / kPartsMax)) return std::nullopt;
  const auto find = [&](double rounding, std::uint32_t parts_max) -> std::optional<Epochs> {
    for (std::uint32_t parts = 1; parts <= parts_max; ++parts) {
      const double count = std::round(value * parts);
      if (std::abs(value * parts - count) <= std::min(rounding * parts, kRoundingOfPart) && (count > 0 || value == 0))
        return of_visits(static_cast<std::uint64_t>(count), parts);
    }
    return std::nullopt;
  };
  if (const auto plain = find(kRounding, kPlainParts)) return plain;
  if (const auto exact = find(kExact, kPartsMax)) return exact;
  return find(kRounding, kPartsMax);
}

std::uint32_t Epochs::visits(std::uint32_t per_epoch) const {
  require(is_whole_visits(per_epoch), *this, " epochs are no whole number of visits where an epoch has ", per_epoch);
  return small(std::uint64_t{count_} * (per_epoch / parts_));
}

Epochs operator+(const Epochs& a, const Epochs& b) {
  return Epochs::of_visits(std::uint64_t{a.count_} * b.parts_ + std::uint64_t{b.count_} * a.parts_,
                           std::uint64_t{a.parts_} * b.parts_);
}

Epochs operator-(const Epochs& a, const Epochs& b) {
  require(a >= b, a, " epochs less ", b);
  return Epochs::of_visits(std::uint64_t{a.count_} * b.parts_ - std::uint64_t{b.count_} * a.parts_,
                           std::uint64_t{a.parts_} * b.parts_);
}

std::string to_string(const Epochs& epochs) {
  if (epochs.parts() == 1) return std::to_string(epochs.count());
  std::string text = text::format_number(epochs.value(), 4);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

std::ostream& operator<<(std::ostream& out, const Epochs& epochs) { return out << to_string(epochs); }

}  // namespace hopyard
