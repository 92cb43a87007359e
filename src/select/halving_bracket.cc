#include "select/halving_bracket.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

namespace hopyard {

std::optional<HalvingBracket::Order> HalvingBracket::ask() {
  const Epochs epochs = plan_[rung_].epochs;
  if (rung_ == 0) {
    if (members_.size() == plan_[0].trials) return std::nullopt;
    return Order{std::nullopt, epochs};
  }
  while (next_ < members_.size() && members_[next_].asked) ++next_;
  if (next_ == members_.size()) return std::nullopt;
  members_[next_].asked = true;
  return Order{members_[next_].trial, epochs};
}

void HalvingBracket::entered(std::uint32_t trial) {
  positions_[trial] = members_.size();
  members_.push_back({trial});
}

void HalvingBracket::died(std::uint32_t trial) {
  const auto found = positions_.find(trial);
  if (found == positions_.end()) return;  // left behind, or at its end
  Member& member = members_[found->second];
  member.dead = true;
  if (std::exchange(member.asked, true)) return;
  completed(trial, std::numeric_limits<double>::infinity());
}

void HalvingBracket::completed(std::uint32_t trial, double loss) {
  Member& member = members_[positions_.at(trial)];
  member.done = true;
  member.loss = loss;
  ++done_;
  const bool all = rung_ > 0 || members_.size() == plan_[0].trials;
  if (all && done_ == members_.size() && rung_ + 1 < plan_.size()) end_rung();
}

void HalvingBracket::end_rung() {
  std::sort(members_.begin(), members_.end(),
            [](const Member& a, const Member& b) { return std::tie(a.loss, a.trial) < std::tie(b.loss, b.trial); });
  const Epochs epoch = plan_[rung_].epochs;
  std::vector<Member> promoted;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (member.dead) continue;
    if (promoted.size() < plan_[rung_ + 1].trials && std::isfinite(member.loss))
      promoted.push_back({member.trial, false});
    else
      losers_.push_back({member.trial, epoch, i + 1, members_.size()});
  }
  members_ = std::move(promoted);
  positions_.clear();
  for (std::size_t i = 0; i < members_.size(); ++i) positions_[members_[i].trial] = i;
  next_ = done_ = 0;
  rung_ = members_.empty() ? plan_.size() - 1 : rung_ + 1;
}

std::vector<HalvingBracket::Loser> HalvingBracket::take_losers() { return std::exchange(losers_, {}); }

bool HalvingBracket::finished() const {
  if (rung_ + 1 < plan_.size()) return false;
  if (rung_ == 0) return members_.size() == plan_[0].trials;
  return std::all_of(members_.begin(), members_.end(), [](const Member& member) { return member.asked; });
}

std::vector<std::vector<HalvingBracket::Rung>> hyperband_plan(Epochs min_epochs, std::uint32_t max_epochs,
                                                              std::uint32_t eta) {
  const std::uint64_t parts_max = std::uint64_t{max_epochs} * min_epochs.parts();
  std::vector<std::uint64_t> powers{1};
  while (powers.back() * eta * min_epochs.count() <= parts_max) powers.push_back(powers.back() * eta);
  std::vector<std::vector<HalvingBracket::Rung>> plan;
  for (std::size_t s = powers.size(); s-- > 0;) {
    const std::uint64_t trials = (powers.size() * powers[s] + s) / (s + 1);  // rounded up
    plan.emplace_back();
    for (std::size_t i = 0; i <= s; ++i)
      plan.back().push_back({static_cast<std::uint32_t>(trials / powers[i]),
                             Epochs::of_visits(parts_max / powers[s - i], min_epochs.parts())});
  }
  return plan;
}

}  // namespace hopyard
