#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <tuple>
#include <utility>

#include "base/failure.h"
#include "base/rng.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

constexpr double kPerturbationFactors[] = {0.8, 1.2};

/// How many of so many members are replaced at the end of a generation.
std::size_t quantile_of(const SearchSpec& spec, std::size_t members) {
  const auto wanted = static_cast<std::size_t>(std::ceil(spec.quantile_fraction * static_cast<double>(members)));
  return std::min(wanted, members / 2);
}

std::uint64_t generations_of(const SearchSpec& spec) {
  return (spec.max_epochs + spec.perturbation_interval - 1) / spec.perturbation_interval;
}

/// What a clone takes over must not come and go with what may change in it: of a layer or moment that its parent did
/// not have, there is no state to begin with.
void check_what_clones_keep(const Space& space) {
  for (std::size_t d = 0; d < space.size(); ++d) {
    const auto provider = space.provider(d);
    if (!provider || space[d].changes_in_flight || !space[*provider].changes_in_flight) continue;
    fail(ExitCode::usage, "'", space[d].path, "' exists only under '", space[d].when->path,
         "', which method: pbt changes in a warm clone while '", space[d].path,
         "' stays as in its parent; leave out the condition or search with another method");
  }
}

/// Population based training (Jaderberg et al., arXiv 1711.09846, algorithm 1) in generations: when all members have
/// trained for an interval, those of the worst quantile are replaced by warm clones of members of the best one, chosen
/// at random (truncation selection, section 4.1), whose values are perturbed or drawn anew. Waiting for all makes it
/// independent of when scores arrive, and keeps a parent where its clone begins.
class PbtSearcher final : public BookedSearcher {
 public:
  PbtSearcher(Space space, const SearchSpec& spec, std::size_t trials_max, std::uint64_t seed)
      : BookedSearcher(trials_max, seed, spec.maximize), spec_(spec), space_(std::move(space)) {
    target_ = std::min(spec.perturbation_interval, spec.max_epochs);
    for (std::uint32_t slot = 0; slot < spec.trials; ++slot) {
      members_.push_back({slot});
      orders_.push_back({slot});
    }
  }

  std::optional<TrialOrder> ask() override {
    if (orders_.empty()) return std::nullopt;
    const Pending order = std::move(orders_.front());
    orders_.pop_front();
    const auto& trial = members_[order.slot].trial;
    return trial && !order.parent ? order_further(*trial, target_) : enter(order);
  }

  bool finished() const override { return over_ || (target_ == spec_.max_epochs && orders_.empty()); }

 private:
  struct Member {
    std::uint32_t slot = 0;
    std::optional<std::uint32_t> trial = {};
    Point point = {};
    bool done = false, dead = false;
    double loss = 0;
  };
  /// A member to be asked for: anew, as a clone of another member, or further.
  struct Pending {
    std::uint32_t slot = 0;
    std::optional<std::uint32_t> parent = {};  // slot
    Point point = {};                          // of a clone
  };

  TrialOrder enter(const Pending& pending) {
    Member& member = members_[pending.slot];
    const auto trial = static_cast<std::uint32_t>(asked());
    slot_of_.push_back(pending.slot);
    member.point = pending.parent ? pending.point : space_.draw(derive(derive(seed(), "search"), pending.slot));
    member.trial = trial;
    member.done = member.dead = false;
    auto settings = space_.settings(member.point);
    if (!pending.parent) return order_new(std::move(settings), target_);
    return order_clone(std::move(settings), *members_[*pending.parent].trial, target_);
  }

  void completed(std::uint32_t trial, double loss) override {
    Member& member = members_[slot_of_[trial]];
    member.done = true;
    member.loss = loss;
    end_generation();
  }

  void died(std::uint32_t trial) override {
    Member& member = members_[slot_of_[trial]];
    if (member.trial != trial) return;
    member.dead = true;
    if (std::exchange(member.done, true)) return;
    member.loss = std::numeric_limits<double>::infinity();
    // It may still have been waiting to be asked for.
    std::erase_if(orders_, [&](const Pending& pending) { return pending.slot == member.slot && !pending.parent; });
    end_generation();
  }

  void end_generation() {
    const bool all = std::all_of(members_.begin(), members_.end(), [](const Member& member) { return member.done; });
    if (!all || !orders_.empty() || target_ == spec_.max_epochs) return;
    const std::uint32_t epoch = target_;
    target_ = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::uint64_t{target_} + spec_.perturbation_interval, spec_.max_epochs));
    std::vector<const Member*> ranked;
    for (const Member& member : members_) ranked.push_back(&member);
    std::sort(ranked.begin(), ranked.end(), [](const Member* a, const Member* b) {
      return std::tie(a->loss, a->trial) < std::tie(b->loss, b->trial);
    });
    const std::size_t quantile = quantile_of(spec_, ranked.size());
    std::vector<std::uint32_t> parents;
    for (std::size_t i = 0; i < quantile; ++i)
      if (!ranked[i]->dead && std::isfinite(ranked[i]->loss)) parents.push_back(ranked[i]->slot);
    plan_generation(epoch, ranked, parents);
  }

  /// Clones come before those that go on, so that their parents are still where they begin.
  void plan_generation(std::uint32_t epoch, const std::vector<const Member*>& ranked,
                       const std::vector<std::uint32_t>& parents) {
    std::vector<Pending> further;
    const std::uint64_t key = derive(derive(seed(), "pbt"), epoch);
    for (std::size_t i = 0; i < ranked.size(); ++i) {
      const Member& member = *ranked[i];
      const bool replaced = !parents.empty() && (member.dead || i + quantile_of(spec_, ranked.size()) >= ranked.size());
      if (!replaced) {
        if (!member.dead) further.push_back({member.slot});
        continue;
      }
      KeyedStream stream(derive(key, member.slot));
      const std::uint32_t parent = parents[stream.below(parents.size())];
      orders_.push_back({member.slot, parent, explored(members_[parent].point, stream)});
      if (member.dead) continue;
      stop(*member.trial, text::cat("place ", i + 1, " of ", ranked.size(), " after epoch ", epoch,
                                    ": replaced by a clone of ", id_of(*members_[parent].trial)));
    }
    for (const Pending& pending : further) members_[pending.slot].done = false;
    over_ = orders_.empty() && further.empty();
    orders_.insert(orders_.end(), further.begin(), further.end());
  }

  Point explored(const Point& parent, KeyedStream& stream) const {
    return space_.choose([&](std::size_t d, const Point&) {
      const Dimension& dimension = space_[d];
      if (!parent[d]) return draw(dimension, stream);
      if (!dimension.changes_in_flight) return *parent[d];
      if (stream.uniform() < spec_.resample_probability) return draw(dimension, stream);
      const bool up = stream.below(2) == 1;
      if (!is_list(dimension)) return nearest(dimension, *parent[d] * kPerturbationFactors[up]);
      // As Ray Tune does: to a neighbour in the list.
      const double last = static_cast<double>(count_values(dimension) - 1);
      return std::clamp(*parent[d] + (up ? 1.0 : -1.0), 0.0, last);
    });
  }

  const SearchSpec spec_;
  const Space space_;
  std::vector<Member> members_;         // by slot
  std::vector<std::uint32_t> slot_of_;  // by trial
  std::deque<Pending> orders_;
  std::uint32_t target_ = 0;  // epochs at the end of the generation
  bool over_ = false;         // nobody is left
};

void check(const SearchSpec& spec) {
  if (spec.trials < 2) fail(ExitCode::usage, "search.trials is ", spec.trials, "; a population needs 2 or more");
  if (spec.perturbation_interval == 0 || spec.perturbation_interval > spec.max_epochs)
    fail(ExitCode::usage, "search.perturbation_interval is ", spec.perturbation_interval, " and train.epochs ",
         spec.max_epochs, "; it must be from 1 to train.epochs");
  if (!(spec.quantile_fraction > 0 && spec.quantile_fraction <= 0.5))
    fail(ExitCode::usage, "search.quantile_fraction is ", spec.quantile_fraction,
         "; it must be above 0 and at most 0.5");
  if (!(spec.resample_probability >= 0 && spec.resample_probability <= 1))
    fail(ExitCode::usage, "search.resample_probability is ", spec.resample_probability, "; it must be from 0 to 1");
}

}  // namespace

std::uint64_t clones_expected(const SearchSpec& spec) {
  if (spec.method != SearchSpec::Method::pbt) return 0;
  return (generations_of(spec) - 1) * quantile_of(spec, spec.trials) * members_of_group(spec);
}

std::unique_ptr<Searcher> make_pbt(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "pbt");
  check(spec);
  check_what_clones_keep(space);
  // Each later generation may replace everybody who died.
  const std::uint64_t trials_max = generations_of(spec) * spec.trials;
  if (trials_max > kTrialsMax)
    fail(ExitCode::usage, "search.method: pbt may ask for ", trials_max, " trials here and at most ", kTrialsMax,
         " are possible; raise search.perturbation_interval or lower search.trials");
  return std::make_unique<PbtSearcher>(std::move(space), spec, trials_max, seed);
}

}  // namespace hopyard
