#include "runtime/sqlite.h"

#include <cerrno>

#include "base/failure.h"
#include "base/files.h"

namespace hopyard {

namespace {

[[noreturn]] void out_of_space(const std::string& path, const FileKind& kind) {
  fail(ExitCode::capacity, path, ": no space left for the ", kind.name, ": free some and run the same command again");
}

}  // namespace

Connection::Connection(const std::string& path, const FileKind& kind, int flags, int busy_ms)
    : path_(path), kind_(kind) {
  const int code = sqlite3_open_v2(path.c_str(), &handle_, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
    sqlite3_close_v2(handle_);
    fail(ExitCode::input, path, ": cannot open the ", kind.name, ": ", why);
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
  fail(ExitCode::input, path_, ": the ", kind_.name, " is damaged (", what, "): start again with --fresh");
}

bool Connection::has_schema() {
  const std::int64_t version = schema_version();
  const std::int64_t application = query_integer("PRAGMA application_id");
  const std::int64_t tables = query_integer("SELECT count(*) FROM sqlite_master");
  if (version == 0 && application == 0 && tables == 0) return false;
  if (application != kind_.application_id)
    fail(ExitCode::input, path_, ": is not a ", kind_.name, ": it is another program's SQLite database");
  if (version > kind_.version)
    fail(ExitCode::input, path_, ": was written by a newer Hopyard (", kind_.name, " schema ", version,
         ", this one reads up to ", kind_.version, "): use that version");
  return true;
}

void Connection::use_durable_mode() {
  std::string mode;
  Statement(*this, "PRAGMA journal_mode=WAL").each([&](const Statement& row) { mode = row.text(0); });
  if (mode != "wal")
    fail(ExitCode::input, path_, ": this file system cannot keep a SQLite WAL: choose a local folder with --dir");
  execute("PRAGMA synchronous=FULL");
}

void Connection::mark_schema() {
  execute("PRAGMA application_id=" + std::to_string(kind_.application_id));
  execute("PRAGMA user_version=" + std::to_string(kind_.version));
}

void Connection::sync_folder_of_file() const {
  const auto slash = path_.rfind('/');
  sync_folder(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
}

void Connection::raise() const {
  const std::string why = sqlite3_errmsg(handle_);
  const int system_error = sqlite3_system_errno(handle_);
  switch (sqlite3_errcode(handle_) & 0xff) {
    case SQLITE_NOTADB:
      fail(ExitCode::input, path_, ": is not a ", kind_.name, ": it is no SQLite database");
    case SQLITE_CORRUPT:
      damaged(why);
    case SQLITE_BUSY:
      fail(ExitCode::input, path_, ": another process is writing to the ", kind_.name, ": wait until it is done");
    case SQLITE_FULL:
      out_of_space(path_, kind_);
    case SQLITE_IOERR:
      if (system_error == ENOSPC || system_error == EDQUOT) out_of_space(path_, kind_);
      [[fallthrough]];
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      fail(ExitCode::input, path_, ": cannot use the ", kind_.name, ": ", why);
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
