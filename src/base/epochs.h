// How far a trial is trained.
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

namespace hopyard {

/// A number of epochs, exact also where it is a fraction: a trial may pause after any sub-epoch. A whole number stands
/// for itself; a fraction counts equal parts of an epoch, as few as it takes.
class Epochs {
 public:
  constexpr Epochs(std::uint32_t whole = 0) : count_(whole) {}
  /// `count` visits, of which `parts` make an epoch. Requires parts > 0.
  static Epochs of_visits(std::uint64_t count, std::uint64_t parts);
  /// What somebody means who writes 0.25 or 0.333: the fraction of fewest parts that it is, up to kPartsMax. Nothing
  /// when it is none, or not a number from 0 on.
  static std::optional<Epochs> nearest(double value);
  static constexpr std::uint32_t kPartsMax = 1000;

  std::uint32_t count() const { return count_; }
  std::uint32_t parts() const { return parts_; }  ///< count() / parts() is the number; 1: it is whole
  double value() const { return static_cast<double>(count_) / parts_; }
  bool is_whole_visits(std::uint32_t per_epoch) const { return per_epoch % parts_ == 0; }
  std::uint32_t visits(std::uint32_t per_epoch) const;  ///< requires that they are whole
  /// The end of the epoch under way, or of the next one.
  Epochs next_whole() const { return count_ / parts_ + 1; }

  friend bool operator==(const Epochs&, const Epochs&) = default;
  friend std::strong_ordering operator<=>(const Epochs& a, const Epochs& b) {
    return std::uint64_t{a.count_} * b.parts_ <=> std::uint64_t{b.count_} * a.parts_;
  }
  friend Epochs operator+(const Epochs& a, const Epochs& b);
  friend Epochs operator-(const Epochs& a, const Epochs& b);  ///< requires a >= b
  friend Epochs operator*(const Epochs& a, std::uint32_t times) {
    return of_visits(std::uint64_t{a.count_} * times, a.parts_);
  }

 private:
  std::uint32_t count_ = 0, parts_ = 1;  // without a common divisor
};

/// "3", "0.25", "0.3333".
std::string to_string(const Epochs& epochs);
std::ostream& operator<<(std::ostream& out, const Epochs& epochs);

}  // namespace hopyard
