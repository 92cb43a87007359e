#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "select/parzen.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

// Optuna's defaults.
constexpr std::size_t kStartupTrials = 10;
constexpr int kCandidates = 24;
constexpr double kGoodShare = 0.1;
constexpr std::size_t kGoodMax = 25;

std::size_t good_count(std::size_t completed) {
  return std::min(static_cast<std::size_t>(std::ceil(kGoodShare * static_cast<double>(completed))), kGoodMax);
}

/// The tree-structured Parzen estimator of Bergstra et al., NIPS 2011, section 4, each dimension by itself: of
/// candidates drawn from the density of the good trials, the one that is most likelier there than among the others.
class TpeSearcher final : public BookedSearcher {
 public:
  TpeSearcher(Space space, const SearchSpec& spec, std::uint64_t seed)
      : BookedSearcher(spec.trials, seed, spec.maximize),
        trials_(spec.trials),
        startup_key_(derive(seed, "search")),
        key_(derive(seed, "tpe")),
        space_(std::move(space)) {}

  std::optional<TrialOrder> ask() override {
    if (finished()) return std::nullopt;
    points_.push_back(next_point());
    return order_new(space_.settings(points_.back()), std::nullopt);
  }
  bool finished() const override { return asked() == trials_; }

 private:
  struct Completed {
    double loss = 0;
    std::uint32_t trial = 0;
    auto operator<=>(const Completed&) const = default;
  };

  void completed(std::uint32_t trial, double loss) override {
    const Completed one{loss, trial};
    completed_.insert(std::upper_bound(completed_.begin(), completed_.end(), one), one);
  }

  Point next_point() const {
    const std::size_t index = asked();
    if (completed_.size() < kStartupTrials) return space_.draw(derive(startup_key_, index));
    const auto split = completed_.begin() + static_cast<std::ptrdiff_t>(good_count(completed_.size()));
    const auto good = in_order_of_asking(completed_.begin(), split);
    const auto others = in_order_of_asking(split, completed_.end());
    return space_.choose([&](std::size_t d, const Point&) { return best_candidate(d, index, good, others); });
  }

  template <class Iterator>
  static std::vector<std::uint32_t> in_order_of_asking(Iterator begin, Iterator end) {
    std::vector<std::uint32_t> trials;
    for (auto one = begin; one != end; ++one) trials.push_back(one->trial);
    std::sort(trials.begin(), trials.end());
    return trials;
  }

  Coordinate best_candidate(std::size_t d, std::size_t index, const std::vector<std::uint32_t>& good,
                            const std::vector<std::uint32_t>& others) const {
    const ParzenEstimator likely(space_[d], observed(d, good)), unlikely(space_[d], observed(d, others));
    KeyedStream stream(derive(derive(key_, index), space_[d].path));
    Coordinate best = 0;
    double best_gain = -std::numeric_limits<double>::infinity();
    for (int i = 0; i < kCandidates; ++i) {
      const Coordinate candidate = likely.sample(stream);
      const double gain = likely.log_density(candidate) - unlikely.log_density(candidate);
      if (i == 0 || gain > best_gain) best = candidate, best_gain = gain;
    }
    return best;
  }

  std::vector<Coordinate> observed(std::size_t d, const std::vector<std::uint32_t>& trials) const {
    std::vector<Coordinate> observed;
    for (const std::uint32_t trial : trials)
      if (points_[trial][d]) observed.push_back(*points_[trial][d]);
    return observed;
  }

  const std::size_t trials_;
  const std::uint64_t startup_key_, key_;
  const Space space_;
  std::vector<Point> points_;         // by trial
  std::vector<Completed> completed_;  // the best first
};

}  // namespace

std::unique_ptr<Searcher> make_tpe_searcher(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "tpe");
  return std::make_unique<TpeSearcher>(std::move(space), spec, seed);
}

}  // namespace hopyard
