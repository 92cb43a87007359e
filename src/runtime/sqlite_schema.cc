#include "runtime/sqlite_schema.h"

#include <sys/stat.h>

#include <string>

#include "base/failure.h"
#include "base/files.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_operations.h"

namespace hopyard {

namespace {

constexpr int kSchemaVersion = 4;
constexpr int kApplicationId = 0x486f7079;  // "Hopy": tells our files from other programs' databases

// Doubles, seeds and versions are text: SQLite has no NaN, no −0 and no unsigned 64-bit integers.
constexpr const char* kSchema = R"sql(
CREATE TABLE trials(id TEXT PRIMARY KEY, idx INTEGER NOT NULL, seed TEXT NOT NULL, state TEXT NOT NULL,
                    reason TEXT NOT NULL) STRICT;
CREATE TABLE settings(trial TEXT NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL, type TEXT NOT NULL,
                      value TEXT NOT NULL, PRIMARY KEY(trial, position)) STRICT, WITHOUT ROWID;
CREATE TABLE visits(trial TEXT NOT NULL, epoch INTEGER NOT NULL, visit INTEGER NOT NULL, partition INTEGER NOT NULL,
                    steps INTEGER NOT NULL, loss_sum TEXT NOT NULL, loss_items TEXT NOT NULL, digest TEXT NOT NULL,
                    seconds TEXT NOT NULL, PRIMARY KEY(trial, epoch, visit)) STRICT, WITHOUT ROWID;
CREATE TABLE state(trial TEXT NOT NULL, position INTEGER NOT NULL, blob INTEGER NOT NULL, version TEXT NOT NULL,
                   PRIMARY KEY(trial, position)) STRICT, WITHOUT ROWID;
CREATE TABLE scores(trial TEXT NOT NULL, visit_epoch INTEGER NOT NULL, visit INTEGER NOT NULL, epoch INTEGER NOT NULL,
                    train_loss TEXT NOT NULL, valid_loss TEXT NOT NULL, metric TEXT NOT NULL, digest TEXT NOT NULL,
                    PRIMARY KEY(trial, visit_epoch, visit)) STRICT, WITHOUT ROWID;
CREATE TABLE curve(trial TEXT NOT NULL, step INTEGER NOT NULL, loss TEXT NOT NULL,
                   PRIMARY KEY(trial, step)) STRICT, WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
)sql";

/// What versions from 2 on added.
constexpr const char* kLaterTables[] = {
    "replicates(trial TEXT PRIMARY KEY, group_id TEXT NOT NULL, seed_number INTEGER NOT NULL, resample INTEGER NOT "
    "NULL) STRICT, "
    "WITHOUT ROWID",
    "lineage(trial TEXT PRIMARY KEY, parent TEXT NOT NULL, epochs INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "decisions(number INTEGER PRIMARY KEY, kind TEXT NOT NULL, trial TEXT NOT NULL, until_epoch INTEGER NOT NULL, "
    "reason TEXT NOT NULL) STRICT",
    "news(decision INTEGER NOT NULL, position INTEGER NOT NULL, trial TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "metric TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY(decision, position)) STRICT, WITHOUT ROWID"};

/// What versions after the first added.
void create_later_tables(Connection& connection, bool temporary) {
  const std::string create = std::string("CREATE ") + (temporary ? "TEMP " : "") + "TABLE IF NOT EXISTS ";
  for (const char* table : kLaterTables) connection.execute(create + table);
  for (const char* table : kOperationTables) connection.execute(create + table);
}

/// True when the file holds our schema, false when it holds nothing yet.
bool has_schema(Connection& connection) {
  const std::int64_t version = connection.query_integer("PRAGMA user_version");
  const std::int64_t application = connection.query_integer("PRAGMA application_id");
  const std::int64_t tables = connection.query_integer("SELECT count(*) FROM sqlite_master");
  if (version == 0 && application == 0 && tables == 0) return false;
  if (application != kApplicationId)
    fail(ExitCode::input, connection.path(), ": is not a journal: it is another program's SQLite database");
  if (version > kSchemaVersion)
    fail(ExitCode::input, connection.path(), ": was written by a newer Hopyard (journal schema ", version,
         ", this one reads up to ", kSchemaVersion, "): use that version");
  return true;
}

void use_durable_mode(Connection& connection) {
  std::string mode;
  Statement(connection, "PRAGMA journal_mode=WAL").each([&](const Statement& row) { mode = row.text(0); });
  if (mode != "wal")
    fail(ExitCode::input, connection.path(),
         ": this file system cannot keep a SQLite WAL: choose a local folder with --dir");
  connection.execute("PRAGMA synchronous=FULL");
}

std::int64_t schema_version(Connection& connection) { return connection.query_integer("PRAGMA user_version"); }

/// Makes all tables, or those that an older version lacks.
void create_schema(Connection& connection) {
  Transaction transaction(connection, Transaction::Kind::write);
  if (!has_schema(connection)) {
    connection.execute(kSchema);
    connection.execute("PRAGMA application_id=" + std::to_string(kApplicationId));
  }
  create_later_tables(connection, false);
  connection.execute("PRAGMA user_version=" + std::to_string(kSchemaVersion));
  transaction.commit();
  const auto slash = connection.path().rfind('/');
  sync_folder(slash == std::string::npos ? "." : connection.path().substr(0, slash + 1));
}

}  // namespace

std::unique_ptr<Connection> open_writer(const std::string& path) {
  auto connection = std::make_unique<Connection>(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, kJournalBusyMs);
  has_schema(*connection);  // refuses other programs' files before anything is written
  use_durable_mode(*connection);
  if (schema_version(*connection) < kSchemaVersion) create_schema(*connection);
  return connection;
}

std::unique_ptr<Connection> open_reader(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    fail(ExitCode::input, path, ": there is no journal here: name the directory of a run");
  auto connection = std::make_unique<Connection>(path, SQLITE_OPEN_READONLY, kJournalBusyMs);
  if (!has_schema(*connection)) fail(ExitCode::input, path, ": the journal is still empty: has the run begun?");
  if (schema_version(*connection) < kSchemaVersion) create_later_tables(*connection, true);  // stay empty
  return connection;
}

}  // namespace hopyard
