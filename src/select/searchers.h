// What grid and random search share; private to this folder.
#pragma once

#include "select/search.h"

namespace hopyard {

/// More trials than this in one experiment is a mistake in its config.
inline constexpr std::size_t kTrialsMax = 100'000;

/// Asks for a known number of trials whose settings follow from their index; scores do not matter to it.
class ListSearcher : public Searcher {
 public:
  ListSearcher(std::size_t count, std::uint64_t seed) : count_(count), seed_(seed) {}
  std::optional<TrialSpec> ask() override;
  void tell(const TrialScore&) override {}
  bool finished() const override { return asked_ == count_; }

 private:
  virtual std::vector<Setting> settings_of(std::size_t index) const = 0;

  const std::size_t count_;
  const std::uint64_t seed_;
  std::size_t asked_ = 0;
};

/// Both require checked dimensions: see make_searcher.
std::unique_ptr<Searcher> make_grid_searcher(const std::vector<Dimension>& space, std::uint64_t seed);
std::unique_ptr<Searcher> make_random_searcher(const std::vector<Dimension>& space, std::uint32_t trials,
                                               std::uint64_t seed);

}  // namespace hopyard
