// The journal's tables of operations. Private to the journal, whose lock and transactions guard it.
#pragma once

#include <vector>

#include "base/operation.h"
#include "runtime/sqlite.h"

namespace hopyard {

/// "name(columns)" of each table: created where they are missing.
inline constexpr const char* kOperationTables[] = {
    "operations(number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, time TEXT NOT NULL, uid INTEGER NOT NULL, "
    "author TEXT NOT NULL, verb TEXT NOT NULL, trial TEXT NOT NULL, warm INTEGER NOT NULL, reason TEXT NOT NULL, "
    "at_visits INTEGER NOT NULL, clone TEXT NOT NULL, outcome TEXT) STRICT",
    "operation_changes(operation INTEGER NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL, type TEXT NOT NULL, "
    "value TEXT NOT NULL, PRIMARY KEY(operation, position)) STRICT, WITHOUT ROWID",
    "operation_epochs(operation INTEGER PRIMARY KEY, epochs INTEGER NOT NULL) STRICT"};

/// How settings are written: the word of a value's type, and the value that goes with word and text.
const char* type_word(const SettingValue& value);
SettingValue read_setting(const Connection& connection, const Statement& row, int type_column, int value_column);
TrialState read_state(const Connection& connection, const std::string& word);
Epochs read_epochs(const Connection& connection, const Statement& row, int count_column, int parts_column);

class OperationTable {
 public:
  explicit OperationTable(Connection& connection) : connection_(connection) {}
  void add(const Operation& operation);
  void settle(std::uint64_t number, const std::string& outcome);
  std::vector<Operation> all();

 private:
  Connection& connection_;
  Statement add_{connection_, "INSERT INTO operations VALUES(?,?,?,?,?,?,?,?,?,?,?,NULL)"};
  Statement add_change_{connection_, "INSERT INTO operation_changes VALUES(?,?,?,?,?)"};
  Statement add_epochs_{connection_, "INSERT INTO operation_epochs VALUES(?,?)"};
  Statement settle_{connection_, "UPDATE operations SET outcome=? WHERE number=? AND outcome IS NULL"};
  Statement known_{connection_, "SELECT count(*) FROM operations WHERE number=?"};
  Statement conflicts_{connection_, "SELECT count(*) FROM operations WHERE number>=? OR token=?"};
  Statement all_{connection_,
                 "SELECT number, token, time, uid, author, verb, trial, warm, reason, at_visits, clone, "
                 "outcome IS NOT NULL, coalesce(outcome, '') FROM operations ORDER BY number"};
  Statement all_changes_{connection_,
                         "SELECT operation, path, type, value FROM operation_changes ORDER BY operation, position"};
  Statement all_epochs_{connection_, "SELECT operation, epochs FROM operation_epochs"};
};

}  // namespace hopyard
