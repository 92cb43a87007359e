// What people may ask of a run directory, in the journal's file.
#pragma once

#include <memory>
#include <string>

#include "base/record.h"

namespace hopyard {

/// Opens the record in the journal at `path`; with `read_only` false it creates the journal too. A connection of its
/// own: a journal of the same file may be open, in this process or another. Durability and failures as open_journal();
/// a look names a trial that is recorded.
std::unique_ptr<RunRecord> open_record(const std::string& path, bool read_only);

}  // namespace hopyard
