#include "runtime/sqlite.h"

#include <cerrno>

#include "base/failure.h"

namespace hopyard {

namespace {

[[noreturn]] void out_of_space(const std::string& path) {
  fail(ExitCode::capacity, path, ": no space left for the journal: free some and run the same command again");
}

}  // namespace

Connection::Connection(const std::string& path, int flags, int busy_ms) : path_(path) {
  const int code = sqlite3_open_v2(path.c_str(), &handle_, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
    sqlite3_close_v2(handle_);
    fail(ExitCode::input, path, ": cannot open the journal: ", why);
  }
  sqlite3_busy_timeout(handle_, busy_ms);
}

void Connection::execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) raise();
}

std::int64_t Connection::query_integer(const std::string& sql) {
  std::int64_t value = 0;
  Statement(*this, sql.c_str()).each([&](const Statement& row) { value = row.integer(0); });
  return value;
}

void Connection::damaged(const std::string& what) const {
  fail(ExitCode::input, path_, ": the journal is damaged (", what, "): start again with --fresh");
}

void Connection::raise() const {
  const std::string why = sqlite3_errmsg(handle_);
  const int system_error = sqlite3_system_errno(handle_);
  switch (sqlite3_errcode(handle_) & 0xff) {
    case SQLITE_NOTADB:
      fail(ExitCode::input, path_, ": is not a journal: it is no SQLite database");
    case SQLITE_CORRUPT:
      damaged(why);
    case SQLITE_BUSY:
      fail(ExitCode::input, path_, ": another process is writing to the journal: wait until it is done");
    case SQLITE_FULL:
      out_of_space(path_);
    case SQLITE_IOERR:
      if (system_error == ENOSPC || system_error == EDQUOT) out_of_space(path_);
      [[fallthrough]];
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      fail(ExitCode::input, path_, ": cannot use the journal: ", why);
    default:
      throw std::logic_error(path_ + ": " + why);
  }
}

Statement::Statement(Connection& connection, const char* sql) : connection_(connection) {
  if (sqlite3_prepare_v3(connection.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) != SQLITE_OK)
    connection.raise();
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data == nullptr ? std::string() : std::string(data, sqlite3_column_bytes(statement_, column));
}

Statement::Reset::~Reset() {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
}

void Statement::bind(int index, const std::string& value) {
  if (sqlite3_bind_text64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK)
    connection_.raise();
}

void Statement::bind_integer(int index, std::int64_t value) {
  if (sqlite3_bind_int64(statement_, index, value) != SQLITE_OK) connection_.raise();
}

bool Statement::next() {
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) connection_.raise();
  return code == SQLITE_ROW;
}

Transaction::Transaction(Connection& connection, Kind kind) : connection_(connection) {
  connection_.execute(kind == Kind::write ? "BEGIN IMMEDIATE" : "BEGIN DEFERRED");
}

Transaction::~Transaction() {
  if (!done_) sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  connection_.execute("COMMIT");
  done_ = true;
}

}  // namespace hopyard
