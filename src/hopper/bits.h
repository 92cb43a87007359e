// A set of small numbers as words of 64 bits: a decision among a thousand trials looks at sixteen words.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace hopyard {

/// A subset of 0 … size − 1. Numbers beyond the size are a broken contract, not checked here.
class Bits {
 public:
  Bits() = default;
  explicit Bits(std::uint32_t size) : size_(size), words_((size + 63) / 64) {}
  static Bits all(std::uint32_t size) {
    Bits bits(size);
    for (std::uint32_t i = 0; i < size; ++i) bits.set(i);
    return bits;
  }

  std::uint32_t size() const { return size_; }
  bool test(std::uint32_t i) const { return (words_[i / 64] >> (i % 64)) & 1; }
  void set(std::uint32_t i) { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
  void reset(std::uint32_t i) { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
  void put(std::uint32_t i, bool value) { value ? set(i) : reset(i); }
  /// Numbers that are new are not in the set.
  void resize(std::uint32_t size) {
    size_ = size;
    words_.resize((size + 63) / 64);
  }
  std::uint32_t count() const {
    std::uint32_t sum = 0;
    for (const std::uint64_t word : words_) sum += static_cast<std::uint32_t>(std::popcount(word));
    return sum;
  }
  /// How many are in both; of equal size, as below.
  std::uint32_t count_in_both(const Bits& other) const {
    std::uint32_t sum = 0;
    for (std::size_t w = 0; w < words_.size(); ++w)
      sum += static_cast<std::uint32_t>(std::popcount(words_[w] & other.words_[w]));
    return sum;
  }
  /// The first that is in both, from `begin` on and round; nothing when there is none.
  std::optional<std::uint32_t> first_in_both(const Bits& other, std::uint32_t begin) const {
    for (std::size_t step = 0; step <= words_.size(); ++step) {
      const std::size_t w = (begin / 64 + step) % words_.size();
      std::uint64_t word = words_[w] & other.words_[w];
      const std::uint64_t below = (std::uint64_t{1} << (begin % 64)) - 1;
      if (step == 0) word &= ~below;
      if (step == words_.size()) word &= below;
      if (word != 0) return static_cast<std::uint32_t>(w * 64 + static_cast<std::size_t>(std::countr_zero(word)));
    }
    return std::nullopt;
  }
  /// Calls visit(i) for each member, ascending.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (std::size_t w = 0; w < words_.size(); ++w) each_of(w, words_[w], visit);
  }
  /// The same for those that are in both.
  template <class Visit>
  void for_each_in_both(const Bits& other, const Visit& visit) const {
    for (std::size_t w = 0; w < words_.size(); ++w) each_of(w, words_[w] & other.words_[w], visit);
  }
  bool operator==(const Bits&) const = default;

 private:
  template <class Visit>
  static void each_of(std::size_t w, std::uint64_t word, const Visit& visit) {
    for (; word != 0; word &= word - 1)
      visit(static_cast<std::uint32_t>(w * 64 + static_cast<std::size_t>(std::countr_zero(word))));
  }

  std::uint32_t size_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace hopyard
