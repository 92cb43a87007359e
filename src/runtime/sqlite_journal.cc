#include "runtime/sqlite_journal.h"

#include <map>
#include <mutex>
#include <utility>

#include "base/failure.h"
#include "runtime/sqlite.h"
#include "runtime/sqlite_operations.h"
#include "runtime/sqlite_schema.h"

namespace hopyard {

namespace {

// Kinds of decisions, and the state that stands for a score.
constexpr const char* kStop = "stop";
constexpr const char* kUntil = "until";
constexpr const char* kWhole = "whole";
constexpr const char* kScore = "score";

constexpr std::int64_t kAllRows = -1;  // instead of the number of a resample

std::int64_t resample_number(const Replicate& replicate) {
  return replicate.resample ? std::int64_t{*replicate.resample} : kAllRows;
}

/// group_id, seed_number and resample from this column on; groups of rows have a table of their own.
Replicate read_replicate(const Statement& row, int column) {
  Replicate replicate{row.text(column), row.small(column + 1), std::nullopt};
  if (row.integer(column + 2) != kAllRows) replicate.resample = row.small(column + 2);
  return replicate;
}

/// Records by trial id while trials() puts them together.
class Records {
 public:
  Records(const Connection& connection, std::vector<TrialRecord>& records)
      : connection_(connection), records_(records) {}
  void add(TrialRecord record) {
    positions_[record.spec.id] = records_.size();
    records_.push_back(std::move(record));
  }
  TrialRecord& of(const Statement& row) {
    const auto found = positions_.find(row.text(0));
    if (found == positions_.end()) connection_.damaged("rows of the unknown trial '" + row.text(0) + "'");
    return records_[found->second];
  }

 private:
  const Connection& connection_;
  std::vector<TrialRecord>& records_;
  std::map<std::string, std::size_t> positions_;
};

class SqliteJournal final : public Journal {
 public:
  SqliteJournal(const std::string& path, bool read_only)
      : read_only_(read_only), connection_(read_only ? open_reader(path) : open_writer(path)) {}

  void add_trial(const TrialSpec& spec) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    if (const auto known = find_spec(spec.id)) {
      require(*known == spec, "trial ", spec.id, " is already recorded with other settings");
      return;
    }
    add_trial_.run(spec.id, spec.index, number_text(spec.seed), to_string(TrialState::waiting), std::string());
    for (std::size_t i = 0; i < spec.settings.size(); ++i) {
      const Setting& setting = spec.settings[i];
      add_setting_.run(spec.id, i, setting.path, std::string(type_word(setting.value)), to_string(setting.value));
    }
    if (spec.lineage) add_lineage_.run(spec.id, spec.lineage->parent, spec.lineage->epochs);
    if (const auto& own = spec.replicate) {
      add_replicate_.run(spec.id, own->group, own->seed, resample_number(*own));
      if (own->row_group) add_row_group_.run(spec.id, *own->row_group);
    }
    transaction.commit();
  }

  void commit(const VisitCommit& commit, const std::vector<CurvePoint>& curve) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    require_next(commit, curve);
    add_visit_.run(commit.trial, commit.epoch, commit.visit, commit.partition, commit.steps, commit.loss_sum,
                   commit.loss_items, commit.digest, commit.seconds, commit.skipped_steps);
    drop_state_.run(commit.trial);
    for (std::size_t i = 0; i < commit.state.size(); ++i)
      add_state_.run(commit.trial, i, commit.state[i].blob, number_text(commit.state[i].version));
    for (const CurvePoint& point : curve) add_point_.run(commit.trial, point.step, point.loss);
    if (const auto& score = commit.score)
      add_score_.run(commit.trial, commit.epoch, commit.visit, score->epoch.count(), score->train_loss,
                     score->valid_loss, score->metric, score->digest, score->epoch.parts());
    set_state_.run(to_string(TrialState::active), std::string(), commit.trial);
    transaction.commit();
  }

  void end_trial(const std::string& trial, TrialState state, const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    require(find_spec(trial).has_value(), "trial ", trial, " is not recorded");
    set_state_.run(to_string(state), reason, trial);
    transaction.commit();
  }

  std::vector<TrialRecord> trials() const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    std::vector<TrialRecord> all;
    Records records(*connection_, all);
    read_specs(records);
    read_visits(records);
    read_scores(records);
    all_points_.each([&](const Statement& row) {
      records.of(row).curve.push_back({static_cast<std::uint64_t>(row.integer(1)), row.real(2)});
    });
    picture.commit();
    return all;
  }

  void add_decision(const SearchDecision& decision) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    const std::int64_t number = connection_->query_integer("SELECT max(number) FROM decisions") + 1;
    const std::string kind = decision.stop_reason ? kStop : decision.until_epoch ? kUntil : kWhole;
    const Epochs until = decision.until_epoch.value_or(0);
    add_decision_.run(number, kind, decision.trial, until.count(), decision.stop_reason.value_or(""), until.parts());
    for (std::size_t i = 0; i < decision.news.size(); ++i) {
      const SearchNews& news = decision.news[i];
      add_news_.run(number, i, news.trial, news.epoch.count(), news.metric, news.end ? to_string(*news.end) : kScore,
                    news.epoch.parts());
    }
    transaction.commit();
  }

  std::vector<SearchDecision> decisions() const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    std::vector<SearchDecision> all;
    std::map<std::int64_t, std::size_t> places;
    all_decisions_.each([&](const Statement& row) {
      places[row.integer(0)] = all.size();
      SearchDecision& decision = all.emplace_back();
      decision.trial = row.text(2);
      if (row.text(1) == kUntil) decision.until_epoch = read_epochs(*connection_, row, 3, 5);
      if (row.text(1) == kStop) decision.stop_reason = row.text(4);
    });
    all_news_.each([&](const Statement& row) {
      const auto place = places.find(row.integer(0));
      if (place == places.end()) connection_->damaged("news of an unknown decision");
      SearchNews news{row.text(1), read_epochs(*connection_, row, 2, 5), row.real(3), std::nullopt};
      if (const auto state = row.text(4); state != kScore) news.end = read_state(*connection_, state);
      all[place->second].news.push_back(std::move(news));
    });
    picture.commit();
    return all;
  }

  void add_operation(const Operation& operation) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    operations_.add(operation);
    transaction.commit();
  }

  void settle_operation(std::uint64_t number, const std::string& outcome) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    operations_.settle(number, outcome);
    transaction.commit();
  }

  std::vector<Operation> operations() const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    auto all = operations_.all();
    picture.commit();
    return all;
  }

  void put_fact(const std::string& name, const std::string& json) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    put_fact_.run(name, json);
    transaction.commit();
  }

  std::optional<std::string> fact(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    std::optional<std::string> found;
    fact_.each([&](const Statement& row) { found = row.text(0); }, name);
    return found;
  }

 private:
  Transaction writing() {
    require(!read_only_, connection_->path(), ": the journal was opened to be read only");
    return Transaction(*connection_, Transaction::Kind::write);
  }

  std::optional<TrialSpec> find_spec(const std::string& id) {
    std::optional<TrialSpec> spec;
    one_trial_.each(
        [&](const Statement& row) {
          spec = TrialSpec{id, row.small(0), row.number<std::uint64_t>(1), {}};
        },
        id);
    if (!spec) return spec;
    one_settings_.each(
        [&](const Statement& row) {
          spec->settings.push_back({row.text(0), read_setting(*connection_, row, 1, 2)});
        },
        id);
    one_lineage_.each([&](const Statement& row) { spec->lineage = Lineage{row.text(0), row.small(1)}; }, id);
    one_replicate_.each([&](const Statement& row) { spec->replicate = read_replicate(row, 0); }, id);
    one_row_group_.each([&](const Statement& row) { add_row_group(*spec, row.integer(0)); }, id);
    return spec;
  }

  void require_next(const VisitCommit& commit, const std::vector<CurvePoint>& curve) {
    require(find_spec(commit.trial).has_value(), "trial ", commit.trial, " is not recorded");
    require(!commit.score || commit.score->trial == commit.trial, "a commit of trial ", commit.trial,
            " has a score of another");
    last_visit_.each(
        [&](const Statement& row) {
          require(std::pair(row.small(0), row.small(1)) < std::pair(commit.epoch, commit.visit), "trial ", commit.trial,
                  ": visit (", commit.epoch, ", ", commit.visit, ") is committed after (", row.small(0), ", ",
                  row.small(1), ")");
        },
        commit.trial);
    std::int64_t last = -1;
    last_point_.each([&](const Statement& row) { last = row.integer(0); }, commit.trial);
    for (const CurvePoint& point : curve) {
      const auto step = static_cast<std::int64_t>(point.step);
      require(step > last, "trial ", commit.trial, ": the curve has step ", step, " after ", last);
      last = step;
    }
  }

  void read_specs(Records& records) const {
    all_trials_.each([&](const Statement& row) {
      TrialRecord record;
      record.spec = {row.text(0), row.small(1), row.number<std::uint64_t>(2), {}};
      record.state = read_state(*connection_, row.text(3));
      record.reason = row.text(4);
      records.add(std::move(record));
    });
    all_settings_.each([&](const Statement& row) {
      records.of(row).spec.settings.push_back({row.text(1), read_setting(*connection_, row, 2, 3)});
    });
    all_lineages_.each([&](const Statement& row) {
      records.of(row).spec.lineage = Lineage{row.text(1), row.small(2)};
    });
    all_replicates_.each([&](const Statement& row) { records.of(row).spec.replicate = read_replicate(row, 1); });
    all_row_groups_.each([&](const Statement& row) { add_row_group(records.of(row).spec, row.integer(1)); });
  }

  void add_row_group(TrialSpec& spec, std::int64_t value) const {
    if (!spec.replicate) connection_->damaged("a group of rows of trial '" + spec.id + "', which is of no group");
    spec.replicate->row_group = value;
  }

  void read_visits(Records& records) const {
    all_visits_.each([&](const Statement& row) {
      TrialRecord& record = records.of(row);
      if (record.last && record.last->epoch != row.small(1)) record.visited.clear();
      record.visited.push_back(row.small(3));
      record.last = VisitCommit{row.text(0),
                                row.small(1),
                                row.small(2),
                                row.small(3),
                                static_cast<std::uint64_t>(row.integer(4)),
                                row.real(5),
                                row.real(6),
                                row.text(7),
                                {},
                                std::nullopt,
                                row.real(8),
                                static_cast<std::uint64_t>(row.integer(9))};
      record.seconds += record.last->seconds;
      record.skipped_steps += record.last->skipped_steps;
    });
    all_state_.each([&](const Statement& row) {
      auto& last = records.of(row).last;
      if (!last) connection_->damaged("state of trial '" + row.text(0) + "' without a visit");
      last->state.push_back({row.small(1), row.number<std::uint64_t>(2)});
    });
  }

  void read_scores(Records& records) const {
    all_scores_.each([&](const Statement& row) {
      TrialRecord& record = records.of(row);
      record.scores.push_back(
          {row.text(0), read_epochs(*connection_, row, 3, 8), row.real(4), row.real(5), row.real(6), row.text(7)});
      if (record.last && record.last->epoch == row.small(1) && record.last->visit == row.small(2))
        record.last->score = record.scores.back();
    });
  }

  const bool read_only_;
  mutable std::mutex mutex_;  // guards all below
  std::unique_ptr<Connection> connection_;

  mutable OperationTable operations_{*connection_};
  Statement add_trial_{*connection_, "INSERT INTO trials VALUES(?,?,?,?,?)"};
  Statement add_setting_{*connection_, "INSERT INTO settings VALUES(?,?,?,?,?)"};
  Statement add_lineage_{*connection_, "INSERT INTO lineage VALUES(?,?,?)"};
  Statement add_replicate_{*connection_, "INSERT INTO replicates VALUES(?,?,?,?)"};
  Statement add_row_group_{*connection_, "INSERT INTO row_groups VALUES(?,?)"};
  Statement add_decision_{*connection_, "INSERT INTO decisions VALUES(?,?,?,?,?,?)"};
  Statement add_news_{*connection_, "INSERT INTO news VALUES(?,?,?,?,?,?,?)"};
  Statement add_visit_{*connection_, "INSERT INTO visits VALUES(?,?,?,?,?,?,?,?,?,?)"};
  Statement drop_state_{*connection_, "DELETE FROM state WHERE trial=?"};
  Statement add_state_{*connection_, "INSERT INTO state VALUES(?,?,?,?)"};
  Statement add_point_{*connection_, "INSERT INTO curve VALUES(?,?,?)"};
  Statement add_score_{*connection_, "INSERT INTO scores VALUES(?,?,?,?,?,?,?,?,?)"};
  Statement set_state_{*connection_, "UPDATE trials SET state=?, reason=? WHERE id=?"};
  Statement put_fact_{*connection_, "INSERT OR REPLACE INTO facts VALUES(?,?)"};
  Statement one_trial_{*connection_, "SELECT idx, seed FROM trials WHERE id=?"};
  Statement one_settings_{*connection_, "SELECT path, type, value FROM settings WHERE trial=? ORDER BY position"};
  Statement one_lineage_{*connection_, "SELECT parent, epochs FROM lineage WHERE trial=?"};
  Statement one_replicate_{*connection_, "SELECT group_id, seed_number, resample FROM replicates WHERE trial=?"};
  Statement one_row_group_{*connection_, "SELECT value FROM row_groups WHERE trial=?"};
  Statement last_visit_{*connection_,
                        "SELECT epoch, visit FROM visits WHERE trial=? ORDER BY epoch DESC, visit DESC LIMIT 1"};
  Statement last_point_{*connection_, "SELECT step FROM curve WHERE trial=? ORDER BY step DESC LIMIT 1"};
  mutable Statement fact_{*connection_, "SELECT json FROM facts WHERE name=?"};
  mutable Statement all_trials_{*connection_, "SELECT id, idx, seed, state, reason FROM trials ORDER BY idx, id"};
  mutable Statement all_settings_{*connection_,
                                  "SELECT trial, path, type, value FROM settings ORDER BY trial, position"};
  mutable Statement all_lineages_{*connection_, "SELECT trial, parent, epochs FROM lineage"};
  mutable Statement all_replicates_{*connection_, "SELECT trial, group_id, seed_number, resample FROM replicates"};
  mutable Statement all_row_groups_{*connection_, "SELECT trial, value FROM row_groups"};
  mutable Statement all_decisions_{*connection_, "SELECT * FROM decisions ORDER BY number"};
  mutable Statement all_news_{
      *connection_, "SELECT decision, trial, epoch, metric, state, parts FROM news ORDER BY decision, position"};
  mutable Statement all_visits_{*connection_, "SELECT * FROM visits ORDER BY trial, epoch, visit"};
  mutable Statement all_state_{*connection_, "SELECT trial, blob, version FROM state ORDER BY trial, position"};
  mutable Statement all_scores_{*connection_, "SELECT * FROM scores ORDER BY trial, visit_epoch, visit"};
  mutable Statement all_points_{*connection_, "SELECT trial, step, loss FROM curve ORDER BY trial, step"};
};

}  // namespace

std::unique_ptr<Journal> open_journal(const std::string& path, bool read_only) {
  return std::make_unique<SqliteJournal>(path, read_only);
}

}  // namespace hopyard
