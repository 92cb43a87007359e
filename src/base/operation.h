// What a person asks of an experiment, as the journal keeps it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/trial.h"

namespace hopyard {

/// ask and finish are of searches that are driven from outside; finish: no more will be asked for.
enum class OperationVerb { stop, resume, clone, set, pause, go_on, ask, finish };
std::string to_string(OperationVerb verb);  ///< "stop", …; go_on is "continue"
std::optional<OperationVerb> parse_operation_verb(const std::string& word);

struct OperationRequest {
  OperationVerb verb = OperationVerb::stop;
  std::string trial;             ///< empty: the whole experiment; of ask, a new trial
  std::vector<Setting> changes;  ///< of set and clone; of ask, the new trial's settings
  bool warm = false;             ///< of clone
  std::string reason;
  std::string author;        ///< name of the user, as the system knows it
  std::uint32_t uid = 0;     ///< as the kernel says, not the request
  std::string token;         ///< one for each request: whoever asks twice with one token has asked once
  std::uint32_t epochs = 0;  ///< of ask: that the trial is to have behind it; 0: all that it has
  bool operator==(const OperationRequest&) const = default;
};

/// A request with its number and the boundary at which it takes effect. In the journal before it does.
struct Operation {
  std::uint64_t number = 0;  ///< from 1, rising
  double time_s = 0;         ///< seconds since 1970
  OperationRequest request;
  /// The boundary: so many visits of the trial come before it. Of a warm clone, of its parent. Of ask and finish, which
  /// take effect at once, 0.
  std::uint32_t at_visits = 0;
  std::string clone;  ///< id of the trial that it makes
  /// Nothing while it waits for its boundary; empty when it took effect; else why it never did.
  std::optional<std::string> outcome;
  bool operator==(const Operation&) const = default;
  bool refused() const { return outcome && !outcome->empty(); }
};

/// Trials that a person makes are numbered from here, so that those of the search keep their numbers.
inline constexpr std::uint32_t kFirstCloneIndex = 1u << 30;

/// Values that may differ between a trial and what goes on from its state: they leave the layout of its bytes and the
/// number of its steps as they are.
const std::vector<std::string>& paths_in_flight();
bool changes_in_flight(const std::string& path);

/// The settings with these values in place of theirs, or beside them.
std::vector<Setting> with_changes(std::vector<Setting> settings, const std::vector<Setting>& changes);
/// With which the trial trains after so many visits: those of its spec, and what was set at boundaries until then.
/// Counts the operations whose numbers are below `before`; 0: all.
std::vector<Setting> settings_after(const TrialSpec& spec, const std::vector<Operation>& operations,
                                    std::uint32_t visits, std::uint64_t before = 0);
/// "train.optimizer.lr=1e-05 model.dropout=0.2".
std::string changes_text(const std::vector<Setting>& changes);

}  // namespace hopyard
