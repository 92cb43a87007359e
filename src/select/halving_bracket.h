// Successive halving of one bracket; private to this folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/epochs.h"

namespace hopyard {

/// Synchronous: when all trials of a rung are done, the best of them go on to the next one (Jamieson and Talwalkar,
/// AISTATS 2016; Li et al., JMLR 2018, algorithm 1, the inner loop). A trial that died is never promoted, and others
/// take its place.
class HalvingBracket {
 public:
  struct Rung {
    std::uint32_t trials = 0;
    Epochs epochs;
    bool operator==(const Rung&) const = default;
  };
  struct Order {
    std::optional<std::uint32_t> trial;  ///< nothing: a new one, to be named by entered()
    Epochs until_epoch;
  };
  struct Loser {
    std::uint32_t trial = 0;
    Epochs epoch;
    std::size_t place = 0, among = 0;  ///< places count from 1
  };

  /// `first_draw`: the number of its first draw from the space.
  HalvingBracket(std::vector<Rung> plan, std::uint64_t first_draw) : plan_(std::move(plan)), next_draw_(first_draw) {}

  std::optional<Order> ask();
  void entered(std::uint32_t trial);
  std::uint64_t take_draw() { return next_draw_++; }
  void died(std::uint32_t trial);
  /// A loss that is not finite is never promoted.
  void completed(std::uint32_t trial, double loss);
  /// Those left behind since the last call.
  std::vector<Loser> take_losers();
  bool finished() const;  ///< no further ask() will give an order
  const std::vector<Rung>& plan() const { return plan_; }

 private:
  struct Member {
    std::uint32_t trial = 0;
    bool asked = true, done = false, dead = false;
    double loss = 0;
  };
  void end_rung();

  const std::vector<Rung> plan_;
  std::uint64_t next_draw_;
  std::size_t rung_ = 0;
  std::vector<Member> members_;                     // of the present rung; from the second one on, the best first
  std::map<std::uint32_t, std::size_t> positions_;  // of trials in members_
  std::size_t next_ = 0;                            // no member before this one is still to be asked for
  std::size_t done_ = 0;                            // members that are
  std::vector<Loser> losers_;
};

/// The brackets of Hyperband, the one with most trials first (Li et al., JMLR 2018, algorithm 1): s from
/// log_eta(max_epochs / min_epochs) down to 0, n = ceil((s_max + 1) eta^s / (s + 1)) trials from max_epochs / eta^s on,
/// rounded down to parts of an epoch as min_epochs has them.
std::vector<std::vector<HalvingBracket::Rung>> hyperband_plan(Epochs min_epochs, std::uint32_t max_epochs,
                                                              std::uint32_t eta);

}  // namespace hopyard
