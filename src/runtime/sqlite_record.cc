#include "runtime/sqlite_record.h"

#include <map>
#include <mutex>

#include "base/failure.h"
#include "runtime/sqlite.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_operations.h"
#include "runtime/sqlite_schema.h"

namespace hopyard {

namespace {

class SqliteRecord final : public RunRecord {
 public:
  SqliteRecord(const std::string& path, bool read_only)
      : read_only_(read_only), connection_(read_only ? open_reader(path) : open_writer(path)) {}

  std::vector<VisitDigest> visit_digests(const std::string& trial) const override {
    const std::lock_guard lock(mutex_);
    std::vector<VisitDigest> all;
    trials_visits_.each(
        [&](const Statement& row) {
          all.push_back({row.small(0), row.small(1), row.small(2), row.text(3)});
        },
        trial);
    return all;
  }

  std::optional<TrialStanding> standing(const std::string& trial) const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    std::optional<TrialStanding> found;
    one_trial_.each(
        [&](const Statement& row) {
          found = TrialStanding{read_state(*connection_, row.text(0)), row.text(1), {}};
        },
        trial);
    if (found)
      trials_scores_.each(
          [&](const Statement& row) {
            found->scores.push_back(
                {trial, read_epochs(*connection_, row, 0, 5), row.real(1), row.real(2), row.real(3), row.text(4)});
          },
          trial);
    picture.commit();
    return found;
  }

  std::uint32_t add_look(const TestLook& look) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    const std::int64_t number = connection_->query_integer("SELECT max(number) FROM looks") + 1;
    add_look_.run(number, look.trial, look.epochs.count(), look.digest, look.by.author, look.by.uid, look.by.time_s,
                  look.reason, look.epochs.parts());
    transaction.commit();
    return static_cast<std::uint32_t>(number);
  }

  void finish_look(std::uint32_t number, const std::vector<std::pair<std::string, double>>& metrics) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    for (std::size_t i = 0; i < metrics.size(); ++i) add_metric_.run(number, i, metrics[i].first, metrics[i].second);
    transaction.commit();
  }

  std::vector<TestLook> looks() const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    std::vector<TestLook> all;
    std::map<std::int64_t, std::size_t> places;
    all_looks_.each([&](const Statement& row) {
      places[row.integer(0)] = all.size();
      all.push_back({row.text(1),
                     read_epochs(*connection_, row, 2, 8),
                     row.text(3),
                     {row.text(4), row.small(5), row.real(6)},
                     row.text(7),
                     {}});
    });
    all_metrics_.each([&](const Statement& row) {
      const auto place = places.find(row.integer(0));
      if (place == places.end()) connection_->damaged("a metric of an unknown look");
      all[place->second].metrics.emplace_back(row.text(1), row.real(2));
    });
    picture.commit();
    return all;
  }

 private:
  Transaction writing() {
    require(!read_only_, connection_->path(), ": the record was opened to be read only");
    return Transaction(*connection_, Transaction::Kind::write);
  }

  const bool read_only_;
  mutable std::mutex mutex_;  // guards all below
  std::unique_ptr<Connection> connection_;
  Statement add_look_{*connection_, "INSERT INTO looks VALUES(?,?,?,?,?,?,?,?,?)"};
  Statement add_metric_{*connection_, "INSERT INTO look_metrics VALUES(?,?,?,?)"};
  mutable Statement trials_visits_{
      *connection_, "SELECT epoch, visit, partition, digest FROM visits WHERE trial=? ORDER BY epoch, visit"};
  mutable Statement one_trial_{*connection_, "SELECT state, reason FROM trials WHERE id=?"};
  mutable Statement trials_scores_{
      *connection_,
      "SELECT epoch, train_loss, valid_loss, metric, digest, parts FROM scores WHERE trial=? "
      "ORDER BY visit_epoch, visit"};
  mutable Statement all_looks_{*connection_, "SELECT * FROM looks ORDER BY number"};
  mutable Statement all_metrics_{*connection_, "SELECT look, name, value FROM look_metrics ORDER BY look, position"};
};

}  // namespace

std::unique_ptr<RunRecord> open_record(const std::string& path, bool read_only) {
  return std::make_unique<SqliteRecord>(path, read_only);
}

}  // namespace hopyard
