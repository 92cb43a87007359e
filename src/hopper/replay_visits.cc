// Recorded visits, repeated.
#include <algorithm>
#include <tuple>

#include "base/failure.h"
#include "hopper/greedy_visits.h"

namespace hopyard {

namespace {

struct Recorded {
  PlacedVisit visit;
  std::size_t position = 0;  ///< in the whole record
};

class ReplayVisits : public GreedyVisits {
 public:
  ReplayVisits(std::span<const PlacedVisit> record, std::uint32_t partitions) : partitions_(partitions) {
    for (std::size_t i = 0; i < record.size(); ++i) {
      if (record[i].trial >= by_trial_.size()) by_trial_.resize(record[i].trial + std::size_t{1});
      by_trial_[record[i].trial].push_back({record[i], i});
    }
    for (auto& recorded : by_trial_) check(recorded);
  }

 protected:
  bool allows(const OpenShop& shop, std::uint32_t number, const OpenTrial& trial, std::uint32_t partition,
              std::uint32_t worker) const override {
    const Recorded* recorded = find(number, trial.epoch, trial.visit);
    if (recorded == nullptr || recorded->visit.partition != partition) return false;
    return recorded->visit.is_at(worker) || !can_train(shop, recorded->visit);
  }
  /// In the order of the record.
  Preference of_trial(const OpenShop&, const PlacedVisit& visit) const override {
    return {-static_cast<double>(find(visit.trial, visit.epoch, visit.visit)->position)};
  }

 private:
  const Recorded* find(std::uint32_t trial, std::uint32_t epoch, std::uint32_t visit) const {
    const std::uint64_t at = std::uint64_t{epoch} * partitions_ + visit;
    return trial < by_trial_.size() && at < by_trial_[trial].size() ? &by_trial_[trial][at] : nullptr;
  }
  /// Whether the workers of the record can still do it.
  static bool can_train(const OpenShop& shop, const PlacedVisit& visit) {
    if (visit.size() != shop.team_size(visit.trial, visit.partition)) return false;
    const auto members = visit.members();
    return std::all_of(members.begin(), members.end(), [&](std::uint32_t worker) {
      const auto& homes = shop.homes(visit.partition);
      return std::binary_search(homes.begin(), homes.end(), worker) && shop.workers()[worker].alive;
    });
  }
  void check(std::vector<Recorded>& recorded) const {
    std::sort(recorded.begin(), recorded.end(), [](const Recorded& a, const Recorded& b) {
      return std::tie(a.visit.epoch, a.visit.visit) < std::tie(b.visit.epoch, b.visit.visit);
    });
    Bits seen(partitions_);
    for (std::size_t i = 0; i < recorded.size(); ++i) {
      const PlacedVisit& visit = recorded[i].visit;
      if (i % partitions_ == 0) seen = Bits(partitions_);
      if (visit.epoch != i / partitions_ || visit.visit != i % partitions_)
        fail(ExitCode::input, "the record has ", visit, ", where epoch ", i / partitions_, ", visit ", i % partitions_,
             " must be");
      if (visit.partition >= partitions_ || seen.test(visit.partition))
        fail(ExitCode::input, "the record has ", visit, ", but ",
             visit.partition < partitions_ ? "the epoch has that partition already"
                                           : text::cat("there are ", partitions_, " partitions"));
      seen.set(visit.partition);
    }
  }

  const std::uint32_t partitions_;
  std::vector<std::vector<Recorded>> by_trial_;
};

}  // namespace

std::unique_ptr<VisitScheduler> make_replay_scheduler(std::span<const PlacedVisit> record, std::uint32_t partitions) {
  require(partitions > 0, "a record of no partitions");
  return std::make_unique<ReplayVisits>(record, partitions);
}

}  // namespace hopyard
