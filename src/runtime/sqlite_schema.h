// The journal's tables: made, brought up to date, and told from other programs' files. Private to the journal.
#pragma once

#include <memory>
#include <string>

#include "runtime/sqlite.h"

namespace hopyard {

inline constexpr FileKind kJournalFile{"journal", 0x486f7079 /* "Hopy" */, 7};

/// For the one writer, in durable mode: a new file gets all tables, an older one those that it lacks. Failure(input)
/// when it is another program's, or a newer Hopyard's.
std::unique_ptr<Connection> open_writer(const std::string& path);
/// For reading alone: tables that an older file lacks are there, and empty; those that lack columns are read as they
/// are now. Failure(input) also when there is none yet.
std::unique_ptr<Connection> open_reader(const std::string& path);

}  // namespace hopyard
