#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <tuple>
#include <variant>
#include <vector>

#include "base/failure.h"
#include "select/search.h"

namespace hopyard {
namespace {

struct End {
  std::string trial;
  TrialState state = TrialState::finished;
};
using Message = std::variant<TrialScore, End>;

/// An order that the wrapped searcher still thinks of as under way.
struct UnderWay {
  std::string trial;
  std::uint64_t number = 0;  // in the order of asking
  std::optional<Epochs> until_epoch;
  Epochs next_score, next_time;       // which one takes effect next, and when: virtual
  std::deque<Message> messages = {};  // that wait for their time

  /// The score after one that took effect, or after the beginning, at that time.
  void await_score(const Epochs& epoch, const Epochs& now) {
    next_score = std::min(epoch.next_whole(), until_epoch.value_or(epoch.next_whole()));
    next_time = now + (next_score - epoch);
  }
};

class CanonicalSearcher final : public Searcher {
 public:
  CanonicalSearcher(std::unique_ptr<Searcher> searcher, std::uint32_t workers)
      : searcher_(std::move(searcher)), workers_(workers) {
    require(workers > 0, "a searcher needs at least one worker");
    ask_for_workers();
  }

  std::optional<TrialOrder> ask() override {
    if (ready_.empty()) return std::nullopt;
    TrialOrder order = std::move(ready_.front());
    ready_.pop_front();
    return order;
  }

  void tell(const TrialScore& score) override { receive(score.trial, score); }
  void tell_end(const std::string& trial, TrialState state) override { receive(trial, End{trial, state}); }
  std::vector<TrialStop> take_stops() override { return searcher_->take_stops(); }
  bool finished() const override { return ready_.empty() && searcher_->finished(); }
  bool reacts() const override { return searcher_->reacts(); }

 private:
  void receive(const std::string& trial, Message message) {
    const auto found =
        std::find_if(under_way_.begin(), under_way_.end(), [&](const UnderWay& order) { return order.trial == trial; });
    if (found == under_way_.end())
      return hand_on(message);  // the end of a trial that pauses, or an error to be refused
    found->messages.push_back(std::move(message));
    while (deliver_next()) ask_for_workers();
  }

  void ask_for_workers() {
    while (under_way_.size() < workers_) {
      auto order = searcher_->ask();
      if (!order) return;
      const auto& lineage = order->trial.lineage;
      const auto begun = paused_.try_emplace(order->trial.id, lineage ? lineage->epochs : 0).first;
      under_way_.push_back({order->trial.id, asked_++, order->until_epoch});
      under_way_.back().await_score(begun->second, now_);
      ready_.push_back(std::move(*order));
    }
  }

  /// Hands on the message that comes first in virtual time, if it is there.
  bool deliver_next() {
    const auto next = std::min_element(under_way_.begin(), under_way_.end(), [](const auto& a, const auto& b) {
      return std::tie(a.next_time, a.number) < std::tie(b.next_time, b.number);
    });
    if (next == under_way_.end() || next->messages.empty()) return false;
    now_ = next->next_time;
    const Message message = std::move(next->messages.front());
    next->messages.pop_front();
    const auto* score = std::get_if<TrialScore>(&message);
    if (score != nullptr && score->epoch != next->until_epoch) {
      next->await_score(score->epoch, now_);
      hand_on(message);
      return true;
    }
    const std::deque<Message> later = std::move(next->messages);
    if (score != nullptr) paused_[next->trial] = score->epoch;
    under_way_.erase(next);
    hand_on(message);
    for (const Message& after : later) hand_on(after);  // the end of a trial that has all its epochs
    return true;
  }

  void hand_on(const Message& message) {
    if (const auto* score = std::get_if<TrialScore>(&message)) return searcher_->tell(*score);
    const auto& end = std::get<End>(message);
    searcher_->tell_end(end.trial, end.state);
  }

  const std::unique_ptr<Searcher> searcher_;
  const std::uint32_t workers_;
  Epochs now_;
  std::uint64_t asked_ = 0;               // orders
  std::map<std::string, Epochs> paused_;  // where trials were before their order, by id
  std::vector<UnderWay> under_way_;
  std::deque<TrialOrder> ready_;  // asked of the searcher and not yet by the loop
};

}  // namespace

std::unique_ptr<Searcher> make_canonical(std::unique_ptr<Searcher> searcher, std::uint32_t workers) {
  return std::make_unique<CanonicalSearcher>(std::move(searcher), workers);
}

}  // namespace hopyard
