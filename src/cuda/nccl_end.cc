#include "cuda/nccl_end.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

#include "base/clock.h"
#include "base/failure.h"
#include "cuda/nccl_group.h"
#include "cuda/nccl_link.h"
#include "transport/traffic_counter.h"

namespace hopyard {

namespace {

/// So much of `stall_s` the members have to meet: who waits for the outcome waits for `stall_s`.
constexpr double kShareToConnect = 0.8;
/// And no longer than this: nobody can call them off meanwhile, nor does NCCL see that one of them died.
constexpr double kConnectSeconds = 10;

/// What each end tells the others after each step towards a communicator. Zeros behind the texts.
struct Readiness {
  std::array<char, 96> card{};
  std::array<char, 256> why_not{};
  std::array<NcclId, 2> ids{};  ///< of member 0: of its way to member 1, or of the group, and the way back
};

template <std::size_t N>
void put(std::array<char, N>& to, const std::string& text) {
  std::copy_n(text.begin(), std::min(text.size(), N - 1), to.begin());
}
template <std::size_t N>
std::string get(const std::array<char, N>& from) {
  return {from.begin(), std::find(from.begin(), from.end(), '\0')};
}

/// Who has what of it, in the order of members.
using Told = std::vector<Readiness>;

/// Why they cannot speak by NCCL, the same at all; empty when they can.
std::string why_none(const std::vector<WorkerId>& members, const Told& told) {
  for (std::size_t i = 0; i < told.size(); ++i)
    if (const std::string why = get(told[i].why_not); !why.empty()) return text::cat(to_string(members[i]), ": ", why);
  for (std::size_t i = 0; i < told.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (told[i].card == told[j].card)
        return text::cat(to_string(members[j]), " and ", to_string(members[i]), " use the same card (",
                         get(told[i].card), "), between whom NCCL does not go");
  return "";
}

Told tell_over_link(Link& link, bool first, const Readiness& mine) {
  if (first) {
    say(link, 0, mine);
    return {mine, hear<Readiness>(link, 0)};
  }
  const auto theirs = hear<Readiness>(link, 0);
  say(link, 0, mine);
  return {theirs, mine};
}

/// As sums of numbers of which all but one are zero.
Told tell_over_group(Group& group, std::size_t member, std::size_t members, const Readiness& mine) {
  std::vector<double> values(members * sizeof mine);
  std::array<unsigned char, sizeof mine> bytes{};
  std::memcpy(bytes.data(), &mine, sizeof mine);
  std::copy(bytes.begin(), bytes.end(), values.begin() + static_cast<std::ptrdiff_t>(member * sizeof mine));
  if (const auto result = group.all_reduce(values); !result.ok()) throw std::runtime_error(result.error);
  Told told(members);
  for (std::size_t i = 0; i < members; ++i) {
    for (std::size_t b = 0; b < sizeof mine; ++b) bytes[b] = static_cast<unsigned char>(values[i * sizeof mine + b]);
    std::memcpy(&told[i], bytes.data(), sizeof mine);
  }
  return told;
}

class NcclEnd final : public WorkerEnd {
 public:
  NcclEnd(std::unique_ptr<WorkerEnd> inner, NcclParts parts, std::function<void(const std::string&)> warn)
      : inner_(std::move(inner)),
        parts_(std::move(parts)),
        warn_(std::move(warn)),
        stagings_(parts_.why_not.empty() ? std::make_shared<NcclStagings>(parts_.calls) : nullptr),
        traffic_(std::make_shared<TrafficCounter>()) {}

  WorkerId id() const override { return inner_->id(); }
  SendStatus send(std::string message) override { return inner_->send(std::move(message)); }
  std::optional<std::string> receive(double timeout_s) override { return inner_->receive(timeout_s); }
  WorkerStanding standing() const override { return inner_->standing(); }

  OpenedLink open_link(const LinkOrder& order) override {
    Own own = prepare(2);
    auto opened = inner_->open_link(order);
    if (opened.link == nullptr) return opened;
    std::vector<WorkerId> members{id(), order.peer};
    std::sort(members.begin(), members.end());
    const int member = id() == members[0] ? 0 : 1;
    const auto tell = [&](const Readiness& mine) { return tell_over_link(*opened.link, member == 0, mine); };
    try {
      auto lanes = open_lanes(std::move(own), members, member, order.stall_s, tell);
      if (lanes.empty()) return opened;
      NcclLane &forth = lanes[0], &back = lanes[1];  // of member 0
      if (member == 1) std::swap(forth, back);
      return {make_nccl_link(std::move(opened.link), {std::move(forth), std::move(back)}, order, 1 - member, traffic_),
              ""};
    } catch (const std::exception& problem) {
      return {nullptr, text::cat("no link to ", to_string(order.peer), ": ", problem.what())};
    }
  }

  OpenedGroup open_group(const GroupOrder& order) override {
    Own own = prepare(1);
    auto opened = inner_->open_group(order);
    if (opened.group == nullptr) return opened;
    const auto member =
        static_cast<std::size_t>(std::find(order.members.begin(), order.members.end(), id()) - order.members.begin());
    const auto tell = [&](const Readiness& mine) {
      return tell_over_group(*opened.group, member, order.members.size(), mine);
    };
    try {
      auto lanes = open_lanes(std::move(own), order.members, static_cast<int>(member), order.stall_s, tell);
      if (lanes.empty()) return opened;
      return {make_nccl_group(std::move(opened.group), std::move(lanes[0]), order.stall_s), ""};
    } catch (const std::exception& problem) {
      return {nullptr, text::cat("no group of ", order.members.size(), ": ", problem.what())};
    }
  }

  TrafficByRank traffic() const override {
    TrafficByRank counts = inner_->traffic();
    for (const auto& [rank, more] : traffic_->counts()) {
      counts[rank].bulk_sent += more.bulk_sent;
      counts[rank].bulk_received += more.bulk_received;
    }
    return counts;
  }

 private:
  using Tell = std::function<Told(const Readiness&)>;

  /// What this end has for a link or a group, and what it says of that.
  struct Own {
    std::vector<NcclLane> lanes;
    Readiness mine;
  };
  /// Takes its time, so before others wait.
  Own prepare(std::size_t lanes) {
    Own own{std::vector<NcclLane>(lanes), {}};
    attempt(own.mine, [&] {
      if (!parts_.why_not.empty()) throw std::runtime_error(parts_.why_not);
      put(own.mine.card, parts_.card);
      for (auto& lane : own.lanes) {
        lane.staging = NcclStagings::take(stagings_);
        if (lane.staging == nullptr) throw std::runtime_error("all memory for chunks is in use");
      }
    });
    return own;
  }

  /// Connected, or none where all are to use what is beneath. Throws what `tell` does.
  std::vector<NcclLane> open_lanes(Own own, const std::vector<WorkerId>& members, int member, double stall_s,
                                   const Tell& tell) {
    Told told;
    // An id that nobody uses keeps a thread of NCCL's.
    const std::function<void()> steps[] = {
        [&] { refuse_apart(members); }, [&] { make_ids(own.mine, member == 0 ? own.lanes.size() : 0); },
        [&] {
          connect(own.lanes, told[0].ids, members.size(), member, std::min(kConnectSeconds, stall_s * kShareToConnect));
        }};
    for (const auto& step : steps) {
      attempt(own.mine, step);
      told = tell(own.mine);
      const std::string why = why_none(members, told);
      if (why.empty()) continue;
      fall_back(members, why, &step == std::end(steps) - 1);
      return {};
    }
    return std::move(own.lanes);
  }

  /// What keeps NCCL from being used here is told to the others.
  template <class Work>
  static void attempt(Readiness& mine, const Work& work) {
    try {
      work();
    } catch (const c10::OutOfMemoryError&) {
      put(mine.why_not, "the card has no memory left for chunks");
    } catch (const std::logic_error&) {
      throw;
    } catch (const std::exception& problem) {
      put(mine.why_not, problem.what());
    }
  }

  void make_ids(Readiness& mine, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) mine.ids[i] = parts_.nccl->make_id();
  }

  void connect(std::vector<NcclLane>& lanes, const std::array<NcclId, 2>& ids, std::size_t members, int member,
               double seconds) {
    const double until_s = monotonic_seconds() + seconds;
    for (std::size_t i = 0; i < lanes.size(); ++i)  // all at once
      lanes[i].communicator =
          std::make_unique<NcclCommunicator>(parts_.nccl, ids[i], static_cast<int>(members), member);
    for (auto& lane : lanes) lane.communicator->connect(std::max(0.0, until_s - monotonic_seconds()));
  }

  /// Those who could not connect do not wait for it again. All of them heard so, and one that missed it hears it now.
  void refuse_apart(const std::vector<WorkerId>& members) {
    const std::lock_guard lock(mutex_);
    if (apart_.contains(members)) throw std::runtime_error("they could not connect before");
  }

  void fall_back(const std::vector<WorkerId>& members, const std::string& why, bool while_connecting) {
    const std::lock_guard lock(mutex_);
    if (apart_.contains(members)) return;  // which was said
    if (while_connecting && apart_.size() < kReasonsMax) apart_.insert(members);
    if (told_.size() < kReasonsMax && told_.insert(why).second)
      warn_(text::cat("workers.links: nccl: bulk bytes go over Gloo: ", why));
  }

  static constexpr std::size_t kReasonsMax = 100;

  const std::unique_ptr<WorkerEnd> inner_;
  const NcclParts parts_;
  const std::function<void(const std::string&)> warn_;
  const std::shared_ptr<NcclStagings> stagings_;  ///< null where NCCL lacks
  const std::shared_ptr<TrafficCounter> traffic_;
  std::mutex mutex_;  // guards all below
  std::set<std::string> told_;
  std::set<std::vector<WorkerId>> apart_;  // a worker that comes back is another
};

}  // namespace

std::unique_ptr<WorkerEnd> make_nccl_end(std::unique_ptr<WorkerEnd> inner, NcclParts parts,
                                         std::function<void(const std::string&)> warn) {
  return std::make_unique<NcclEnd>(std::move(inner), std::move(parts), std::move(warn));
}

}  // namespace hopyard
