// Groups: each trial of a searcher trained several times, with other seeds, on other resamples of the training rows,
// and for each group of rows.
#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

struct Member {
  TrialSpec spec;
  std::optional<Epochs> until_epoch = {};  // of its last order
  Epochs epochs = {};                      // told
  bool asked = false, under_way = false;
  std::optional<TrialState> end = {};  // it is at its end, or will not be asked for
};

struct Group {
  std::string id;
  std::vector<Member> members;
  /// Scores by epoch that the inner searcher has not been told; of some members only.
  std::map<Epochs, std::vector<std::optional<TrialScore>>> waiting = {};
  bool failed = false, closed = false;  // closed: the inner searcher hears no more of it
};

std::string numbered(const char* letter, std::uint32_t number, std::uint32_t count) {
  const std::string digits = std::to_string(number);
  return letter + std::string(std::to_string(count - 1).size() - digits.size(), '0') + digits;
}

bool same_run(const TrialSpec& a, const TrialSpec& b) {
  return a.replicate->seed == b.replicate->seed && a.replicate->resample == b.replicate->resample;
}

class GroupedSearcher final : public Searcher {
 public:
  GroupedSearcher(std::unique_ptr<Searcher> searcher, const SearchSpec& spec)
      : searcher_(std::move(searcher)), spec_(spec) {
    for (const RowGroup& rows : spec.row_groups) rows_of_[rows.value] = rows;
  }

  std::optional<TrialOrder> ask() override {
    if (queue_.empty()) {
      auto order = searcher_->ask();
      if (!order) return std::nullopt;
      spread(*order);
    }
    const auto [place, number] = queue_.front();
    queue_.pop_front();
    Member& member = groups_[place].members[number];
    if (!std::exchange(member.asked, true)) {
      if (asked_ == kTrialsMax)
        fail(ExitCode::usage, "the groups have more than ", kTrialsMax,
             " trials together; ask for fewer or for smaller groups");
      member.spec.index = asked_++;
    }
    member.under_way = true;
    return TrialOrder{member.spec, member.until_epoch};
  }

  void tell(const TrialScore& score) override {
    const auto [group, member] = find(score.trial);
    refuse_score_out_of_order(*member, score);
    member->epochs = score.epoch;
    if (score.epoch == member->until_epoch) member->under_way = false;
    if (group->closed) return;
    auto& scores = group->waiting[score.epoch];
    scores.resize(group->members.size());
    scores[static_cast<std::size_t>(member - group->members.data())] = score;
    tell_means(*group);
  }

  void tell_end(const std::string& trial, TrialState state) override {
    const auto [group, member] = find(trial);
    if (member->end) fail(ExitCode::usage, "the search was told the end of trial ", trial, ", which has ended");
    require(state > TrialState::active, "the search was told that trial ", trial, " ended as ", to_string(state));
    member->end = state;
    member->under_way = false;
    if (group->closed) return;
    if (state == TrialState::failed) group->failed = true;
    if (group->failed && reacts()) return give_up(*group);
    tell_means(*group);
    close_if_all_ended(*group);
  }

  /// A member of a group that failed stops here, and not as soon as it is told of its order's end: it may then be at
  /// its own end, and that is what it is told next.
  std::vector<TrialStop> take_stops() override {
    std::erase_if(failed_, [this](Group* group) { return stop_what_paused(*group); });
    for (const TrialStop& stop : searcher_->take_stops()) {
      Group& group = groups_[places_.at(stop.trial)];
      group.closed = true;
      for (Member& member : group.members) stop_member(member, stop.reason);
    }
    return std::exchange(stops_, {});
  }

  bool finished() const override { return queue_.empty() && searcher_->finished(); }
  bool reacts() const override { return searcher_->reacts(); }

 private:
  struct Place {
    Group* group = nullptr;
    Member* member = nullptr;
  };

  void spread(const TrialOrder& order) {
    const auto [known, is_new] = places_.try_emplace(order.trial.id, groups_.size());
    if (is_new) groups_.push_back(make_group(order.trial));
    Group& group = groups_[known->second];
    for (std::size_t number = 0; number < group.members.size(); ++number) {
      Member& member = group.members[number];
      if (member.end) continue;
      member.until_epoch = order.until_epoch;
      queue_.emplace_back(known->second, number);
    }
  }

  Group make_group(const TrialSpec& spec) {
    const Group* parent = spec.lineage ? &groups_[places_.at(spec.lineage->parent)] : nullptr;
    Group group{spec.id, {}};
    for (const Replicate& replicate : replicates_of(spec.id)) {
      Member member{spec};
      member.spec.replicate = replicate;
      member.spec.id += name_of(replicate);
      member.spec.seed = replicate_seed(spec.seed, replicate.seed);
      if (parent != nullptr) {
        const Member* begin = fellow_of(*parent, member.spec);
        if (begin == nullptr || begin->end) continue;
        member.spec.lineage->parent = begin->spec.id;
        member.epochs = spec.lineage->epochs;
      }
      group.members.push_back(std::move(member));
    }
    require(!group.members.empty(), "the search clones group ", spec.lineage ? spec.lineage->parent : "",
            ", of which nobody is left");
    for (std::size_t number = 0; number < group.members.size(); ++number)
      by_trial_[group.members[number].spec.id] = {groups_.size(), number};
    return group;
  }

  /// Seeds outermost, groups of rows innermost: the members of a run follow each other.
  std::vector<Replicate> replicates_of(const std::string& group) const {
    std::vector<Replicate> all;
    for (std::uint32_t seed = 0; seed < spec_.seeds; ++seed)
      for (std::uint32_t resample = 0; resample < std::max(1u, spec_.resamples); ++resample) {
        Replicate run{group, seed, std::nullopt};
        if (spec_.resamples > 0) run.resample = resample;
        if (spec_.row_groups.empty()) all.push_back(run);
        for (const RowGroup& rows : spec_.row_groups) all.emplace_back(run).row_group = rows.value;
      }
    return all;
  }

  std::string name_of(const Replicate& replicate) const {
    std::string name = ".";
    if (spec_.seeds > 1) name += numbered("s", replicate.seed, spec_.seeds);
    if (replicate.resample) name += numbered("r", *replicate.resample, spec_.resamples);
    if (replicate.row_group) name += row_group_name(*replicate.row_group);
    return name;
  }

  /// As many digits for each, so that ids sort like the values; but for those below 0.
  std::string row_group_name(std::int64_t value) const {
    const std::string digits = std::to_string(value), last = std::to_string(spec_.row_groups.back().value);
    const std::size_t missing = value < 0 || digits.size() > last.size() ? 0 : last.size() - digits.size();
    return "g" + std::string(missing, '0') + digits;
  }

  static const Member* fellow_of(const Group& group, const TrialSpec& spec) {
    const auto found = std::find_if(group.members.begin(), group.members.end(), [&](const Member& member) {
      return same_run(member.spec, spec) && member.spec.replicate->row_group == spec.replicate->row_group;
    });
    return found == group.members.end() ? nullptr : &*found;
  }

  Place find(const std::string& trial) {
    const auto known = by_trial_.find(trial);
    if (known != by_trial_.end()) {
      Group& group = groups_[known->second.first];
      if (Member& member = group.members[known->second.second]; member.asked) return {&group, &member};
    }
    fail(ExitCode::usage, "the search was told of trial '", trial, "', which it never asked for");
  }

  static void refuse_score_out_of_order(const Member& member, const TrialScore& score) {
    if (member.end) fail(ExitCode::usage, "the search was told a score of trial ", score.trial, ", which has ended");
    if (!member.under_way || score.epoch <= member.epochs || score.epoch > member.until_epoch.value_or(score.epoch))
      fail(ExitCode::usage, "the search was told a score of trial ", score.trial, " at epoch ", score.epoch,
           " after one at epoch ", member.epochs, " and had asked for it ",
           member.until_epoch ? text::cat("until epoch ", *member.until_epoch) : "to its end");
  }

  /// Of each epoch that nobody still has to come to, in their order.
  void tell_means(Group& group) {
    while (!group.failed && !group.waiting.empty()) {
      const auto first = group.waiting.begin();
      for (std::size_t i = 0; i < group.members.size(); ++i)
        if (!first->second[i] && !group.members[i].end) return;
      const TrialScore mean = mean_of(group, first->first, first->second);
      group.waiting.erase(first);
      searcher_->tell(mean);
    }
  }

  /// Of the runs of which anybody is left, in the order of the members, so that the bits do not depend on when scores
  /// came.
  TrialScore mean_of(const Group& group, Epochs epoch, const std::vector<std::optional<TrialScore>>& scores) const {
    TrialScore mean;
    mean.trial = group.id;
    mean.epoch = epoch;
    double count = 0;
    for (std::size_t begin = 0, end = 0; begin < scores.size(); begin = end) {
      std::vector<TrialScore> run;
      for (; end < scores.size() && same_run(group.members[begin].spec, group.members[end].spec); ++end)
        if (scores[end]) run.push_back(*scores[end]);
      if (run.empty()) continue;
      mean.train_loss += over_rows("valid/loss", run, &TrialScore::train_loss, &RowGroup::train_rows);
      mean.valid_loss += over_rows("valid/loss", run, &TrialScore::valid_loss, &RowGroup::valid_rows);
      mean.metric += over_rows(spec_.metric, run, &TrialScore::metric, &RowGroup::valid_rows);
      ++count;
    }
    for (double* value : {&mean.train_loss, &mean.valid_loss, &mean.metric}) *value /= count;
    return mean;
  }

  double over_rows(const std::string& metric, const std::vector<TrialScore>& run, double TrialScore::*value,
                   std::uint32_t RowGroup::*rows) const {
    std::vector<RowsScore> parts;
    for (const TrialScore& score : run) {
      const auto& [place, number] = by_trial_.at(score.trial);
      const auto group = groups_[place].members[number].spec.replicate->row_group;
      parts.push_back({score.*value, group ? double(rows_of_.at(*group).*rows) : 1});
    }
    return overall_metric(metric, parts);
  }

  void close_if_all_ended(Group& group) {
    const auto ended_as = [&](TrialState state) {
      return [state](const Member& member) { return member.end == state; };
    };
    const auto& members = group.members;
    if (std::any_of(members.begin(), members.end(), [](const Member& member) { return !member.end; })) return;
    group.closed = true;
    const bool finished = std::any_of(members.begin(), members.end(), ended_as(TrialState::finished));
    searcher_->tell_end(group.id, group.failed ? TrialState::failed
                                  : finished   ? TrialState::finished
                                               : TrialState::stopped);
  }

  /// The group failed: nobody of it is asked for any more.
  void give_up(Group& group) {
    group.closed = true;
    std::erase_if(queue_, [&](const auto& order) { return &groups_[order.first] == &group; });
    failed_.push_back(&group);
    searcher_->tell_end(group.id, TrialState::failed);
  }

  /// Of a group that failed; true when nobody is left.
  bool stop_what_paused(Group& group) {
    const auto culprit = std::find_if(group.members.begin(), group.members.end(),
                                      [](const Member& one) { return one.end == TrialState::failed; });
    const std::string reason = text::cat("its group failed with ", culprit->spec.id);
    for (Member& member : group.members)
      if (!member.under_way) stop_member(member, reason);
    return std::all_of(group.members.begin(), group.members.end(),
                       [](const Member& member) { return member.end.has_value(); });
  }

  void stop_member(Member& member, const std::string& reason) {
    if (member.end) return;
    member.end = TrialState::stopped;
    if (member.asked) stops_.push_back({member.spec.id, reason});
  }

  const std::unique_ptr<Searcher> searcher_;
  const SearchSpec spec_;
  std::map<std::int64_t, RowGroup> rows_of_;                             // by value
  std::uint32_t asked_ = 0;                                              // trials
  std::deque<Group> groups_;                                             // in the order of the inner searcher
  std::map<std::string, std::size_t> places_;                            // of groups, by id
  std::map<std::string, std::pair<std::size_t, std::size_t>> by_trial_;  // group and member
  std::deque<std::pair<std::size_t, std::size_t>> queue_;                // members with an order to be handed out
  std::vector<Group*> failed_;                                           // with members that are not at their end
  std::vector<TrialStop> stops_;
};

}  // namespace

std::uint32_t runs_of_group(const SearchSpec& spec) { return spec.seeds * std::max(1u, spec.resamples); }

std::uint32_t members_of_group(const SearchSpec& spec) {
  return runs_of_group(spec) * std::max<std::uint32_t>(1, static_cast<std::uint32_t>(spec.row_groups.size()));
}

double overall_metric(const std::string& metric, std::span<const RowsScore> groups) {
  if (groups.size() == 1) return groups.front().value;
  const bool of_logarithms = metric == "valid/perplexity";
  double sum = 0, rows = 0;
  for (const RowsScore& group : groups) {
    sum += group.rows * (of_logarithms ? std::log(group.value) : group.value);
    rows += group.rows;
  }
  return of_logarithms ? std::exp(sum / rows) : sum / rows;
}

std::unique_ptr<Searcher> make_grouped(std::unique_ptr<Searcher> searcher, const SearchSpec& spec) {
  require(spec.seeds > 1 || (spec.seeds == 1 && (spec.resamples > 0 || !spec.row_groups.empty())),
          "a group of one needs no grouping");
  return std::make_unique<GroupedSearcher>(std::move(searcher), spec);
}

}  // namespace hopyard
