#include "runtime/sqlite_state_book.h"

#include <mutex>

#include "base/failure.h"
#include "runtime/sqlite.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

constexpr FileKind kBookFile{"book of states", 0x486f7073 /* "Hops" */, 1};

// Bytes and versions are text: SQLite has no unsigned 64-bit integers.
constexpr const char* kTables = R"sql(
CREATE TABLE states(trial TEXT NOT NULL, visits INTEGER NOT NULL, digest TEXT NOT NULL,
                    PRIMARY KEY(trial, visits)) STRICT, WITHOUT ROWID;
CREATE TABLE blobs(trial TEXT NOT NULL, visits INTEGER NOT NULL, blob INTEGER NOT NULL, bytes TEXT NOT NULL,
                   version TEXT NOT NULL, PRIMARY KEY(trial, visits, blob)) STRICT, WITHOUT ROWID;
)sql";

std::unique_ptr<Connection> open_file(const std::string& path, bool read_only) {
  const int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  auto connection = std::make_unique<Connection>(path, kBookFile, flags, kJournalBusyMs);
  const bool known = connection->has_schema();
  if (read_only && !known) fail(ExitCode::input, path, ": the book of states is still empty: has the run begun?");
  if (read_only) return connection;
  connection->use_durable_mode();
  if (known) return connection;
  Transaction transaction(*connection, Transaction::Kind::write);
  if (!connection->has_schema()) connection->execute(kTables);
  connection->mark_schema();
  transaction.commit();
  connection->sync_folder_of_file();
  return connection;
}

class SqliteStateBook final : public StateBook {
 public:
  SqliteStateBook(const std::string& path, bool read_only)
      : read_only_(read_only), connection_(open_file(path, read_only)) {}

  std::vector<HeldState> all() const override {
    const std::lock_guard lock(mutex_);
    Transaction picture(*connection_, Transaction::Kind::read);
    std::vector<HeldState> states;
    all_states_.each([&](const Statement& row) { states.push_back({row.text(0), row.small(1), row.text(2), {}}); });
    auto state = states.begin();
    all_blobs_.each([&](const Statement& row) {
      while (state != states.end() && (state->trial != row.text(0) || state->visits != row.small(1))) ++state;
      if (state == states.end()) connection_->damaged("blobs of an unknown state of trial '" + row.text(0) + "'");
      state->blobs.push_back({row.small(2), row.number<Bytes>(3), row.number<std::uint64_t>(4)});
    });
    picture.commit();
    return states;
  }

  void put(const HeldState& state) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    drop(state.trial, state.visits);
    add_state_.run(state.trial, state.visits, state.digest);
    for (const HeldBlob& blob : state.blobs)
      add_blob_.run(state.trial, state.visits, blob.blob, number_text(blob.bytes), number_text(blob.version));
    transaction.commit();
  }

  void remove(const std::string& trial, std::uint32_t visits) override {
    const std::lock_guard lock(mutex_);
    Transaction transaction = writing();
    drop(trial, visits);
    transaction.commit();
  }

 private:
  Transaction writing() {
    require(!read_only_, connection_->path(), ": the book of states was opened to be read only");
    return Transaction(*connection_, Transaction::Kind::write);
  }

  void drop(const std::string& trial, std::uint32_t visits) {
    drop_state_.run(trial, visits);
    drop_blobs_.run(trial, visits);
  }

  const bool read_only_;
  mutable std::mutex mutex_;  // guards all below
  std::unique_ptr<Connection> connection_;

  Statement add_state_{*connection_, "INSERT INTO states VALUES(?,?,?)"};
  Statement add_blob_{*connection_, "INSERT INTO blobs VALUES(?,?,?,?,?)"};
  Statement drop_state_{*connection_, "DELETE FROM states WHERE trial=? AND visits=?"};
  Statement drop_blobs_{*connection_, "DELETE FROM blobs WHERE trial=? AND visits=?"};
  mutable Statement all_states_{*connection_, "SELECT trial, visits, digest FROM states ORDER BY trial, visits"};
  mutable Statement all_blobs_{*connection_,
                               "SELECT trial, visits, blob, bytes, version FROM blobs ORDER BY trial, visits, blob"};
};

}  // namespace

std::unique_ptr<StateBook> open_state_book(const std::string& path, bool read_only) {
  return std::make_unique<SqliteStateBook>(path, read_only);
}

}  // namespace hopyard
