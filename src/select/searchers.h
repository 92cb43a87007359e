// What the searchers share; private to this folder.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "select/search.h"
#include "select/space.h"

namespace hopyard {

/// More trials than this in one experiment is a mistake in its config.
inline constexpr std::size_t kTrialsMax = 100'000;

/// Keeps the book of what was asked and told, refuses what comes out of order, and leaves deciding to its children.
class BookedSearcher : public Searcher {
 public:
  void tell(const TrialScore& score) final;
  void tell_end(const std::string& trial, TrialState state) final;
  std::vector<TrialStop> take_stops() override { return std::exchange(stops_, {}); }
  bool reacts() const override { return true; }

 protected:
  /// At most `trials_max` trials will be asked for: ids get as many digits as the last one needs, at least two, so that
  /// they sort like their numbers.
  BookedSearcher(std::size_t trials_max, std::uint64_t seed, bool maximize)
      : trials_max_(trials_max), seed_(seed), maximize_(maximize) {}

  TrialOrder order_new(std::vector<Setting> settings, std::optional<Epochs> until_epoch);
  TrialOrder order_clone(std::vector<Setting> settings, std::uint32_t parent, Epochs until_epoch);
  TrialOrder order_further(std::uint32_t trial, std::optional<Epochs> until_epoch);
  void stop(std::uint32_t trial, const std::string& reason);

  std::size_t asked() const { return book_.size(); }  ///< trials, not orders
  /// What order_new() makes of the settings when so many trials were asked for before.
  TrialSpec spec_of(std::vector<Setting> settings, std::size_t index) const;
  std::string id_at(std::size_t index) const;
  const std::string& id_of(std::uint32_t trial) const { return book_[trial].spec.id; }
  Epochs epochs_of(std::uint32_t trial) const { return book_[trial].epochs; }
  std::uint64_t seed() const { return seed_; }

 private:
  /// An order is done, with the loss (less is better) at its end; infinite for a trial that did not come so far.
  virtual void completed(std::uint32_t /*trial*/, double /*loss*/) {}
  /// The trial cannot be asked for again; comes before completed() when an order of it was under way.
  virtual void died(std::uint32_t /*trial*/) {}

  struct Entry {
    TrialSpec spec;  // but for the settings where no later order will need them
    std::optional<Epochs> until_epoch;
    Epochs epochs;    // told
    double loss = 0;  // as told last
    bool under_way = true, ended = false;
  };
  TrialOrder enter(TrialSpec spec, std::optional<Epochs> until_epoch, Epochs epochs);
  std::uint32_t find(const std::string& trial) const;

  const std::size_t trials_max_;
  const std::uint64_t seed_;
  const bool maximize_;
  std::vector<Entry> book_;  // by index
  std::vector<TrialStop> stops_;
};

/// Asks for a known number of trials that follow from their index; scores do not matter to it.
class ListSearcher final : public BookedSearcher {
 public:
  /// Called once for each index, in their order.
  using SettingsOf = std::function<std::vector<Setting>(std::size_t index)>;

  ListSearcher(std::size_t count, std::uint64_t seed, SettingsOf settings_of)
      : BookedSearcher(count, seed, false), count_(count), settings_of_(std::move(settings_of)) {}
  std::optional<TrialOrder> ask() final {
    if (finished()) return std::nullopt;
    return order_new(settings_of_(asked()), std::nullopt);
  }
  bool finished() const final { return asked() == count_; }
  bool reacts() const final { return false; }

 private:
  const std::size_t count_;
  const SettingsOf settings_of_;
};

/// Refuses spec.trials where it is 0 or too large; `method` as the config writes it.
void require_trials(const SearchSpec& spec, const char* method);

/// The epochs of each rung of successive halving: min_epochs times powers of eta, and last max_epochs (Li et al., MLSys
/// 2020, algorithm 1). Where max_epochs is no such power, it takes the place of the nearest one. Failure(usage) when
/// the numbers allow none.
std::vector<Epochs> rung_epochs(const SearchSpec& spec);
/// How many of so many trials are promoted at most: one in eta, and one of fewer, so that one comes to the end.
std::uint64_t promoted_of(std::uint64_t trials, std::uint32_t eta);
/// "not promoted beyond epoch 1: place 5 of 9".
std::string not_promoted(Epochs epoch, std::size_t place, std::size_t among);

std::unique_ptr<Searcher> make_grid_searcher(Space space, std::uint64_t seed);
std::unique_ptr<Searcher> make_random_searcher(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_sobol_searcher(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_tpe_searcher(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_successive_halving(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_hyperband(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_asha(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_pbt(Space space, const SearchSpec& spec, std::uint64_t seed);
std::unique_ptr<Searcher> make_external(Space space, const SearchSpec& spec, std::uint64_t seed);

}  // namespace hopyard
