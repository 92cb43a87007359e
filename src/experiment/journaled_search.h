// A searcher whose decisions survive a crash.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "select/search.h"

namespace hopyard {

/// The searcher as the loop sees it. When it reacts to scores, each order and each stop is journaled, with the news
/// that it was told before, and only then handed out; after a restart it is led through the journal's sequence again.
/// One that does not react asks for the same again by itself, and nothing is journaled. Not thread-safe; both outlive
/// it.
class JournaledSearch {
 public:
  JournaledSearch(Searcher& searcher, Journal& journal) : searcher_(searcher), journal_(journal) {}

  /// Calls `on_order` and `on_stop` for what had been decided, in its order, and tells the searcher what the records
  /// say beyond that. Call first, once. Throws when the searcher decides otherwise than it had.
  void take_up(const std::vector<TrialRecord>& records, const std::function<void(const TrialOrder&)>& on_order,
               const std::function<void(const TrialStop&)>& on_stop);

  std::optional<TrialOrder> ask();
  void tell(const TrialScore& score);
  void tell_end(const std::string& trial, TrialState state);
  /// Trials to be stopped, one at a time.
  std::optional<TrialStop> take_stop();
  bool finished() const { return stops_.empty() && searcher_.finished(); }
  bool reacts() const { return searcher_.reacts(); }
  TrialRequests* requests() const { return searcher_.requests(); }

 private:
  /// How far a trial's records have been told while the journal is taken up.
  struct Told {
    Epochs epoch;
    bool ended = false;
  };
  void tell_again(const SearchNews& news, const std::map<std::string, const TrialRecord*>& records);
  TrialOrder order_again(const SearchDecision& decision);
  TrialStop stop_again(const SearchDecision& decision);
  void tell_rest(const TrialRecord& record);
  std::optional<TrialStop> next_stop();

  Searcher& searcher_;
  Journal& journal_;
  std::vector<SearchNews> news_;      // told since the last decision
  std::vector<TrialStop> stops_;      // taken from the searcher and not yet handed out
  std::map<std::string, Told> told_;  // by trial; while the journal is taken up
};

}  // namespace hopyard
