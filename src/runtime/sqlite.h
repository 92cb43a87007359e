// The little of SQLite that our files need: a connection, prepared statements, transactions. Not thread-safe.
#pragma once

#include <sqlite3.h>

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

namespace hopyard {

/// Digits that read back to the same bits, also for NaN and −0, which SQLite's REAL does not keep.
template <class Number>
std::string number_text(Number value) {
  char buffer[40];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

/// What a file of ours is: tells it from other programs' databases, and from what a newer Hopyard wrote.
struct FileKind {
  const char* name;  ///< in sentences: "journal"
  int application_id;
  int version;  ///< of its schema
};

/// One open database file; throws what a user can put right as Failure.
class Connection {
 public:
  /// `flags`: SQLITE_OPEN_…; waits for `busy_ms` for other writers.
  Connection(const std::string& path, const FileKind& kind, int flags, int busy_ms);
  Connection(const Connection&) = delete;
  ~Connection() { sqlite3_close_v2(handle_); }

  sqlite3* handle() const { return handle_; }
  const std::string& path() const { return path_; }
  void execute(const std::string& sql);
  /// The first column of the last row; 0 without rows.
  std::int64_t query_integer(const std::string& sql);

  /// True when the file is of its kind, false when it holds nothing yet. Failure(input) for any other.
  bool has_schema();
  std::int64_t schema_version() { return query_integer("PRAGMA user_version"); }
  /// WAL, synchronous=FULL: what is committed survives the loss of power.
  void use_durable_mode();
  /// Within a transaction that makes what the newest version has.
  void mark_schema();
  /// Makes the name of a new file durable.
  void sync_folder_of_file() const;

  /// Throws Failure(input): the content is not what we have written.
  [[noreturn]] void damaged(const std::string& what) const;
  /// Throws SQLite's newest error.
  [[noreturn]] void raise() const;

 private:
  const std::string path_;
  const FileKind kind_;
  sqlite3* handle_ = nullptr;
};

/// A prepared statement; values are bound in order, rows come one at a time.
class Statement {
 public:
  Statement(Connection& connection, const char* sql);
  Statement(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  template <class... Values>
  void run(const Values&... values) {
    each([](const Statement&) {}, values...);
  }
  /// Calls `on_row` with this statement for each row.
  template <class OnRow, class... Values>
  void each(OnRow&& on_row, const Values&... values) {
    const Reset reset{statement_};
    [[maybe_unused]] int index = 0;
    (bind(++index, values), ...);
    while (next()) on_row(std::as_const(*this));
  }

  std::string text(int column) const;
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::uint32_t small(int column) const { return static_cast<std::uint32_t>(integer(column)); }
  /// A number that was written by number_text.
  template <class Number>
  Number number(int column) const {
    const std::string written = text(column);
    const char* const last = written.data() + written.size();
    Number value{};
    const auto [end, error] = std::from_chars(written.data(), last, value);
    if (error != std::errc() || end != last) connection_.damaged("'" + written + "' is no number");
    return value;
  }
  double real(int column) const { return number<double>(column); }

 private:
  struct Reset {
    sqlite3_stmt* statement;
    ~Reset();
  };
  void bind(int index, const std::string& value);
  void bind(int index, std::integral auto value) { bind_integer(index, static_cast<std::int64_t>(value)); }
  void bind(int index, double value) { bind(index, number_text(value)); }
  void bind_integer(int index, std::int64_t value);
  bool next();

  Connection& connection_;
  sqlite3_stmt* statement_ = nullptr;
};

/// Rolled back unless commit() is called.
class Transaction {
 public:
  enum class Kind { read, write };
  Transaction(Connection& connection, Kind kind);
  Transaction(const Transaction&) = delete;
  ~Transaction();
  void commit();

 private:
  Connection& connection_;
  bool done_ = false;
};

}  // namespace hopyard
