// The journal of a run in one SQLite file.
#pragma once

#include <memory>
#include <string>

#include "base/journal.h"

namespace hopyard {

/// Opens, or with `read_only` false creates, the journal at `path`. WAL, synchronous=FULL: what a call has recorded
/// when it returns survives the loss of power; each call is one transaction. Read-only journals see what another
/// process commits meanwhile, each call one consistent picture; their writing calls throw std::logic_error.
/// Failure(input) when the file is missing (read-only), is no database, is not a journal, was written by a newer
/// Hopyard or is locked by another writer for longer than kJournalBusyMs; Failure(capacity) when the disk is full.
///
/// Contract beyond base/journal.h: a trial that is added again must have the same spec, and a commit must name a
/// recorded trial and come after its last one in (epoch, visit); std::logic_error otherwise, and nothing is recorded. A
/// commit makes a trial active. trials() are in order of their index.
std::unique_ptr<Journal> open_journal(const std::string& path, bool read_only);

inline constexpr int kJournalBusyMs = 10'000;

}  // namespace hopyard
