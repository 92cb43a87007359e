// The book of states of a worker in one SQLite file.
#pragma once

#include <memory>
#include <string>

#include "hopper/state_book.h"

namespace hopyard {

/// Opens, or with `read_only` false creates, the book at `path`; durable, and with the same refusals, as the journal
/// (sqlite_journal.h). A read-only one that is missing is Failure(input); its writing calls throw std::logic_error.
std::unique_ptr<StateBook> open_state_book(const std::string& path, bool read_only);

}  // namespace hopyard
