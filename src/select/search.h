// Search spaces and searchers: they ask for trials and are told scores; they never see devices.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/trial.h"
#include "select/rigor_resamples.h"

namespace hopyard {

/// A dimension exists only in trials in which another one has one of these values.
struct Condition {
  std::string path;
  std::vector<SettingValue> values;
  bool operator==(const Condition&) const = default;
};

/// One searched value of the config; of kind joint, several that are chosen together.
struct Dimension {
  enum class Kind { grid, choice, uniform, loguniform, integer, joint };
  std::string path;  ///< "train.optimizer.lr"; of joint, any name
  Kind kind = Kind::grid;
  std::vector<SettingValue> values;  ///< of grid and choice
  double low = 0, high = 0;          ///< of uniform, loguniform, integer (both ends included for integer)
  /// Of ranges: only low, low + step, low + 2 step, … up to high; 0: every number, for integer every whole one.
  double step = 0;
  std::vector<std::vector<Setting>> joint;  ///< of joint: the settings that each of its values makes
  std::optional<Condition> when;            ///< exists in every trial unless this says otherwise
  bool changes_in_flight = true;            ///< a warm clone may have another value of it than its parent
  bool operator==(const Dimension&) const = default;
};

/// Rows that have one value of data.group_by: each configuration trains a model for them alone.
struct RowGroup {
  std::int64_t value = 0;
  std::uint32_t train_rows = 0, valid_rows = 0;
  bool operator==(const RowGroup&) const = default;
};

struct SearchSpec {
  enum class Method { grid, random, sobol, tpe, successive_halving, asha, hyperband, pbt, external };
  Method method = Method::grid;
  std::string metric = "valid/accuracy";
  bool maximize = true;
  /// How many; of pbt, the population; of external, at most (0: kExternalTrialsMax). grid and hyperband know it
  /// themselves.
  std::uint32_t trials = 0;
  std::uint32_t max_epochs = 1;  ///< of a whole trial: R in the papers of successive halving, ASHA and Hyperband
  Epochs min_epochs = 1;         ///< of the first rung: r there
  std::uint32_t eta = 3;         ///< one in so many is promoted, to so many times the epochs
  std::uint32_t perturbation_interval = 1;  ///< pbt: epochs of a generation
  double quantile_fraction = 0.2;           ///< pbt: so many of the worst are replaced by clones of as many best
  double resample_probability = 0.25;       ///< pbt: a value is drawn anew instead of perturbed
  bool deterministic = false;               ///< scores take effect in canonical order: see make_canonical
  std::uint32_t max_concurrent_trials = 0;  ///< 0: as many as the loop likes
  std::uint32_t seeds = 1;                  ///< of a group: members that differ by the seed
  std::uint32_t resamples = 0;              ///< of a group: members that train on a resample each; 0: all on all rows
  rigor::ResampleKind resample_method = rigor::ResampleKind::bootstrap;
  std::vector<RowGroup> row_groups;  ///< of a group: members for each; in the data, ascending. Empty: all on all rows
  bool operator==(const SearchSpec&) const = default;
};
/// Runs of a recipe: one for each seed and resample. 1: it is trained once.
std::uint32_t runs_of_group(const SearchSpec& spec);
/// Trials of a group: one for each run and group of rows. 1: there are no groups, or one group of rows.
std::uint32_t members_of_group(const SearchSpec& spec);
/// Methods whose next question depends on scores: Searcher::reacts() says the same.
bool reacts_to_scores(SearchSpec::Method method);
/// Of these, those that train a trial in pieces, and so decide how many epochs it gets.
bool trains_piecewise(SearchSpec::Method method);
/// Epochs that each of `trials` trials, members of groups included, is given when none fails, most first; nothing where
/// all get all that they have. Of pbt, warm clones are counted in clones_expected().
std::optional<std::vector<Epochs>> epochs_expected(const SearchSpec& spec, std::size_t trials);
/// Warm clones that the search makes when no trial fails: each keeps a state of its own.
std::uint64_t clones_expected(const SearchSpec& spec);
inline constexpr std::uint32_t kCanonicalConcurrency = 8;  ///< of deterministic, where max_concurrent_trials is 0

/// What the search wants trained: a new trial, or one that paused, further.
struct TrialOrder {
  TrialSpec trial;
  std::optional<Epochs> until_epoch;  ///< that it is to have behind it; nothing: all that it has
  bool operator==(const TrialOrder&) const = default;
};

/// A paused trial that the search will never ask for again.
struct TrialStop {
  std::string trial;
  std::string reason;  ///< "not promoted beyond epoch 1: place 5 of 9"
  bool operator==(const TrialStop&) const = default;
};

class TrialRequests;

/// Asks for trials and is told what became of them. A deterministic function of its spec, space and seed and of the
/// sequence of ask(), tell() and tell_end(): one made again and led through the same sequence asks the same next
/// question. Never waits: when it can decide nothing before it is told more, ask() gives nothing. Not thread-safe.
class Searcher {
 public:
  virtual ~Searcher() = default;
  /// The next order, or nothing when there is none for now; asking in vain changes nothing. An order for a clone comes
  /// while its parent is paused at the epoch of the lineage.
  virtual std::optional<TrialOrder> ask() = 0;
  /// One for each epoch that a trial finished, and one where its order ends, rising, none beyond that. A metric that is
  /// not finite is the worst. Failure(usage) for an unknown trial, and for a score out of order.
  virtual void tell(const TrialScore& score) = 0;
  /// A trial is at its end, in whatever state: it will not be told again. Not for trials that take_stops() gave.
  virtual void tell_end(const std::string& trial, TrialState state) = 0;
  /// Paused trials that will never be asked for again, each once.
  virtual std::vector<TrialStop> take_stops() = 0;
  virtual bool finished() const = 0;  ///< no further ask() will ever give an order
  /// Whether what it asks for depends on what it was told: then each order has to be journaled with the scores that
  /// were told before it.
  virtual bool reacts() const = 0;
  /// Where somebody else says what to ask for; null for a searcher that decides itself. With it, a searcher that is not
  /// finished may have nothing to ask for while nothing is under way.
  virtual TrialRequests* requests() { return nullptr; }
};

/// grid: all combinations, the last dimension fastest; no infinite range. random: `trials` draws, each keyed by its
/// index. sobol: `trials` points of a scrambled Sobol sequence. tpe: Bergstra et al., NIPS 2011. successive_halving,
/// asha, hyperband and pbt train trials piecewise. external: asks for what others request (trial_requests.h). Where a
/// group has several members, each of its trials becomes one (see make_grouped). With spec.deterministic, one that
/// reacts is made canonical. Failure(usage) when the space contradicts itself, or the method cannot use it or its
/// numbers.
std::unique_ptr<Searcher> make_searcher(const SearchSpec& spec, const std::vector<Dimension>& space,
                                        std::uint64_t seed);

inline constexpr std::uint32_t kReplicatesMax = 1000;  ///< members of a group

/// Turns each trial of a searcher into a group of `seeds` × max(1, `resamples`) × max(1, `row_groups`) trials, numbered
/// anew in the order of asking, seeds outermost and groups of rows innermost: the group has the inner trial's id, a
/// member that and ".s0", ".r1", ".g5" or ".s0r1g5". An order is an order for each member. The inner searcher is told
/// the mean of the runs' scores at an epoch when all members have told theirs, added up in the members' order; a run
/// over groups of rows scores what it would over all their rows (overall_metric). A member that fails makes its group
/// fail at once, for a recipe that diverges with one seed in five is not a mean of four: its fellows are not asked for
/// any more, and those under way come to the end of their order. One that somebody else stopped leaves the group, and
/// the mean is over the others. The group is at its end when all its members are. A clone's members begin where the
/// members of the same seed and resample of its parent are, as many as are left of these.
std::unique_ptr<Searcher> make_grouped(std::unique_ptr<Searcher> searcher, const SearchSpec& spec);

/// A score on some rows.
struct RowsScore {
  double value = 0;
  double rows = 0;
};
/// What a metric over several groups of rows would be over all of them together, to rounding: their mean by rows; of
/// valid/perplexity, which is no mean over rows, that of its logarithm. Of one group, its own.
double overall_metric(const std::string& metric, std::span<const RowsScore> groups);

/// Makes a searcher independent of when scores arrive: it hears them as from `workers` workers that all take one unit
/// of time for an epoch. At most so many orders are under way; an order's scores wait until those that come before in
/// this virtual time are there. What it waits for is always under way, so that nothing deadlocks.
std::unique_ptr<Searcher> make_canonical(std::unique_ptr<Searcher> searcher, std::uint32_t workers);

/// Better first by the metric; trials without a score last; ties by id. Returns positions into `records`.
std::vector<std::size_t> rank(const std::vector<std::optional<double>>& metrics, bool maximize);

}  // namespace hopyard
