#include "runtime/sqlite_schema.h"

#include <sys/stat.h>

#include <string>

#include "base/failure.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_operations.h"

namespace hopyard {

namespace {

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
    "metric TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY(decision, position)) STRICT, WITHOUT ROWID",
    "looks(number INTEGER PRIMARY KEY, trial TEXT NOT NULL, epochs INTEGER NOT NULL, digest TEXT NOT NULL, author TEXT "
    "NOT NULL, uid INTEGER NOT NULL, time TEXT NOT NULL, reason TEXT NOT NULL) STRICT",
    "look_metrics(look INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, "
    "PRIMARY KEY(look, position)) STRICT, WITHOUT ROWID",
    "row_groups(trial TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID"};

/// A column that a later version added, and what it is in rows of older ones.
struct LaterColumn {
  std::string table, name, value;

  std::string defined() const { return text::cat(name, " INTEGER NOT NULL DEFAULT ", value); }
};

/// Version 5 counts epochs in parts: in these tables `epoch`, `until_epoch` or `epochs` is a number of
/// parts, and `parts` of them are an epoch. Version 7 counts skipped steps.
const LaterColumn kLaterColumns[] = {{"scores", "parts", "1"},
                                     {"decisions", "parts", "1"},
                                     {"news", "parts", "1"},
                                     {"looks", "parts", "1"},
                                     {"visits", "skipped_steps", "0"}};

bool has_table(Connection& connection, const std::string& name) {
  return connection.query_integer("SELECT count(*) FROM main.sqlite_master WHERE name='" + name + "'") > 0;
}

bool has_column(Connection& connection, const LaterColumn& column) {
  return connection.query_integer("SELECT count(*) FROM pragma_table_info('" + column.table + "') WHERE name='" +
                                  column.name + "'") > 0;
}

/// What versions after the first added.
void create_later_tables(Connection& connection) {
  for (const char* table : kLaterTables) connection.execute(text::cat("CREATE TABLE IF NOT EXISTS ", table));
  for (const char* table : kOperationTables) connection.execute(text::cat("CREATE TABLE IF NOT EXISTS ", table));
  for (const LaterColumn& column : kLaterColumns)
    if (!has_column(connection, column))
      connection.execute(text::cat("ALTER TABLE ", column.table, " ADD COLUMN ", column.defined()));
}

/// Stands in for what an older file lacks: empty tables, and copies where columns are missing.
void create_stand_ins(Connection& connection) {
  const auto stand_in = [&](const std::string& table) {
    if (!has_table(connection, table.substr(0, table.find('(')))) connection.execute("CREATE TEMP TABLE " + table);
  };
  for (const char* table : kLaterTables) stand_in(table);
  for (const char* table : kOperationTables) stand_in(table);
  for (const LaterColumn& column : kLaterColumns) {
    if (has_column(connection, column)) continue;
    if (has_table(connection, column.table))
      connection.execute(text::cat("CREATE TEMP TABLE ", column.table, " AS SELECT *, ", column.value, " AS ",
                                   column.name, " FROM main.", column.table));
    else
      connection.execute(text::cat("ALTER TABLE ", column.table, " ADD COLUMN ", column.defined()));
  }
}

/// Makes all tables, or those that an older version lacks.
void create_schema(Connection& connection) {
  Transaction transaction(connection, Transaction::Kind::write);
  if (!connection.has_schema()) connection.execute(kSchema);
  create_later_tables(connection);
  connection.mark_schema();
  transaction.commit();
  connection.sync_folder_of_file();
}

}  // namespace

std::unique_ptr<Connection> open_writer(const std::string& path) {
  auto connection =
      std::make_unique<Connection>(path, kJournalFile, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, kJournalBusyMs);
  connection->has_schema();  // refuses other programs' files before anything is written
  connection->use_durable_mode();
  if (connection->schema_version() < kJournalFile.version) create_schema(*connection);
  return connection;
}

std::unique_ptr<Connection> open_reader(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    fail(ExitCode::input, path, ": there is no journal here: name the directory of a run");
  auto connection = std::make_unique<Connection>(path, kJournalFile, SQLITE_OPEN_READONLY, kJournalBusyMs);
  if (!connection->has_schema()) fail(ExitCode::input, path, ": the journal is still empty: has the run begun?");
  if (connection->schema_version() < kJournalFile.version) create_stand_ins(*connection);
  return connection;
}

}  // namespace hopyard
