// Workers that train on paper: a state is a text that says which visits made it. For tests of whoever sends them
// orders.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "base/rng.h"
#include "base/text.h"
#include "fakes/memory_transport.h"
#include "hopper/messages.h"

namespace hopyard::fakes {

/// The digest of a trial's state after visits of these partitions.
inline std::string paper_state(const std::string& trial, const std::vector<std::uint32_t>& visited) {
  std::string state = trial;
  for (const std::uint32_t partition : visited) state += text::cat(" p", partition);
  return state;
}

/// What happens to them, drawn by seed at each step.
struct PaperFaults {
  double death = 0;                             ///< of a worker, which comes back by itself
  double torn_hop = 0;                          ///< of a hop that is about to end
  double torn_team = 0;                         ///< of a visit that a team is about to train
  double wrong_member = 0;                      ///< of a team's member, which ends with another state than the rest
  std::uint32_t patience = 20;                  ///< steps until one that is gone comes back
  double departure = 0;                         ///< as a death, with a good-bye
  std::uint32_t late = 0;                       ///< those but rank 0 first come after up to so many steps
  bool straggler = false;                       ///< the last rank does a twentieth of what others do
  std::optional<std::uint32_t> full_disk = {};  ///< of this rank: no state gets there
  std::set<std::pair<std::uint32_t, std::uint32_t>> cut = {};  ///< links that never open; the lower rank first
};

class PaperWorkers {
 public:
  /// `valid`: homes of the partitions of validation rows; without any, each worker has all.
  PaperWorkers(std::uint32_t count, std::uint32_t partitions, std::uint64_t seed, PaperFaults faults,
               Placement valid = {})
      : partitions_(partitions), workers_(count), random_(seed), faults_(faults), valid_(std::move(valid)) {}

  /// What a state is worth on a partition of validation rows.
  static double paper_loss(const std::string& state, std::uint32_t partition) {
    return 1.0 / (1 + derive(derive(7, state), partition) % 1000);
  }

  /// The first `present` of them find a network, new after the death of a coordinator.
  void join(MemoryNetwork& network, std::uint32_t present) {
    network_ = &network;
    hops_.clear();
    trained_teams_.clear();
    for (std::uint32_t rank = 0; rank < workers_.size(); ++rank) {
      workers_[rank].back_in = 0;
      if (rank >= present) continue;
      if (rank > 0 && faults_.late > 0)
        workers_[rank].back_in = 1 + draw(faults_.late);
      else
        begin(rank);
    }
  }
  void leave() {
    for (auto& worker : workers_) worker.end.reset();
  }
  void kill(std::uint32_t rank) {
    Worker& worker = workers_[rank];
    if (!worker.end) return;
    network_->kill(worker.end->id());
    std::erase_if(hops_, [&](const auto& hop) { return hop.second.from == rank || hop.second.to == rank; });
    worker.end.reset();
    worker.back_in = faults_.patience;
    ++deaths;
  }
  void stay_away(std::uint32_t rank) {
    kill(rank);
    workers_[rank].back_in = 0;
  }
  /// Says why it ends.
  void break_off(std::uint32_t rank, const std::string& sentence, ExitCode code) {
    if (workers_[rank].end) workers_[rank].end->send(encode(ToCoordinator(Broken{sentence, code})));
    stay_away(rank);
  }
  /// Says good-bye, and comes back.
  void depart(std::uint32_t rank) {
    if (!workers_[rank].end) return;
    std::erase_if(hops_, [&](const auto& hop) { return hop.second.from == rank || hop.second.to == rank; });
    workers_[rank].end.reset();
    workers_[rank].back_in = faults_.patience;
  }

  /// Each takes its messages, then one of the things that can happen does.
  void step() {
    for (std::uint32_t rank = 0; rank < workers_.size(); ++rank) {
      Worker& worker = workers_[rank];
      if (!worker.end) {
        if (worker.back_in > 0 && --worker.back_in == 0) begin(rank);
        continue;
      }
      while (auto text = worker.end->receive(0)) take(rank, decode_to_worker(*text, "the coordinator"));
      if (!worker.finished && worker.end->standing().over()) {  // it was expelled
        kill(rank);
        continue;
      }
      if (worker.finished) {
        worker.end.reset();
      } else if (chance(faults_.death)) {
        kill(rank);
      } else if (chance(faults_.departure)) {
        depart(rank);
      }
    }
    for (int i = 0; i < 3; ++i) something_happens();
  }

  /// Digests of what a worker holds, by trial and visits.
  const std::map<std::string, std::map<std::uint32_t, std::string>>& held(std::uint32_t rank) const {
    return workers_[rank].held;
  }
  std::uint32_t deaths = 0;
  std::uint32_t missing = 0;  ///< orders whose state was neither there nor coming
  std::uint32_t parted = 0;   ///< teams that were torn
  std::uint32_t left = 0;     ///< hops with which a trial leaves
  std::uint32_t crowded = 0;  ///< orders for a trial that had one at that worker
  std::uint32_t strays = 0;   ///< orders to judge on rows that are not here
  std::uint32_t judged = 0;   ///< by how many orders that trained nothing

 private:
  struct Worker {
    std::unique_ptr<WorkerEnd> end;
    std::map<std::string, std::map<std::uint32_t, std::string>> held;  // its disk: outlives its deaths
    std::vector<Train> to_train;
    std::uint32_t back_in = 0;
    bool finished = false;
  };
  struct PaperHop {
    std::optional<std::uint32_t> from, to;
    Hop hop;
  };

  bool chance(double share) { return random_.uniform() < share; }
  std::uint32_t draw(std::size_t below) { return static_cast<std::uint32_t>(random_.below(below)); }

  static bool has(const Worker& worker, const Train& train) {
    const auto states = worker.held.find(train.spec.id);
    if (states == worker.held.end()) return false;
    const auto state = states->second.find(train.visits);
    return state != states->second.end() && state->second == train.digest;
  }

  static std::vector<HeldBlob> blobs() { return {{0, 100, 0}, {1, 0, 0}}; }

  void begin(std::uint32_t rank) {
    Worker& worker = workers_[rank];
    worker.end = network_->join(rank);
    worker.to_train.clear();
    worker.finished = false;
    Hello hello;
    for (const auto& [trial, states] : worker.held)
      for (const auto& [visits, digest] : states) hello.held.push_back({trial, visits, digest, blobs()});
    worker.end->send(encode(ToCoordinator(hello)));
  }

  void take(std::uint32_t rank, const ToWorker& message) {
    Worker& worker = workers_[rank];
    if (const auto* train = std::get_if<Train>(&message)) {
      const bool coming = std::any_of(hops_.begin(), hops_.end(), [&](const auto& hop) {
        return hop.second.to == rank && hop.second.hop.digest == train->digest;
      });
      if (train->visits > 0 && !coming && !has(worker, *train)) {
        worker.end->send(encode(ToCoordinator(Missing{train->number, train->spec.id})));
        ++missing;
      } else {
        crowded += std::any_of(worker.to_train.begin(), worker.to_train.end(),
                               [&](const Train& other) { return other.spec.id == train->spec.id; });
        worker.to_train.push_back(*train);
      }
    } else if (const auto* abandon = std::get_if<Abandon>(&message)) {
      std::erase_if(worker.to_train, [&](const Train& one) { return one.spec.id == abandon->trial; });
    } else if (const auto* hop = std::get_if<Hop>(&message)) {
      PaperHop& known = hops_[hop->number];
      (hop->send ? known.from : known.to) = rank;
      known.hop = *hop;
      left += hop->leaves;
    } else if (const auto* keep = std::get_if<Keep>(&message)) {
      auto& states = worker.held[keep->trial];
      std::erase_if(states, [&](const auto& state) { return state.first != keep->visits; });
      if (states.empty()) worker.held.erase(keep->trial);
    } else if (const auto* off = std::get_if<CallOff>(&message)) {
      hops_.erase(off->number);
    } else if (const auto* share = std::get_if<Share>(&message)) {
      const auto parent = worker.held.find(share->parent);
      if (parent != worker.held.end() && parent->second.contains(share->visits))
        worker.held[share->clone][share->visits] = parent->second.at(share->visits);
    } else {
      worker.finished = true;
    }
  }

  void something_happens() {
    const std::uint32_t rank = draw(workers_.size());
    if (faults_.straggler && rank + 1 == workers_.size() && !chance(0.05)) return;
    if (hops_.empty() || chance(0.5)) return train_one(rank);
    auto at = hops_.begin();
    std::advance(at, draw(hops_.size()));
    end_hop(at);
  }

  void train_one(std::uint32_t rank) {
    Worker& worker = workers_[rank];
    if (!worker.end || worker.to_train.empty()) return;
    const Train order = worker.to_train[draw(worker.to_train.size())];
    const auto& id = order.spec.id;
    if (!is_ready(worker, order)) return;  // its state is on its way
    std::string state = order.visits > 0 ? order.digest : id;
    if (order.team && !team_trained(rank, order)) return;
    std::erase(worker.to_train, order);
    if (!order.judge_on.empty()) return judge(rank, order);
    state += text::cat(" p", order.partition);
    if (order.team && chance(faults_.wrong_member)) state += "?";
    worker.held[id][order.visits + 1] = state;
    Trained end;
    end.number = order.number;
    end.commit.trial = id;
    end.commit.epoch = order.visits / partitions_;
    end.commit.visit = order.visits % partitions_;
    end.commit.partition = order.partition;
    end.commit.steps = order.steps + 1;
    end.commit.digest = state;
    if (order.evaluate) {
      end.commit.score = TrialScore{id, Epochs::of_visits(order.visits + 1, partitions_), 1, 1, 0.5, state};
      end.rows = RowOutcomes();
    }
    end.blobs = blobs();
    worker.end->send(encode(ToCoordinator(TrainedPart{order.number, id, {{2 * order.steps, 1}}, {}})));
    end.curve = {{2 * order.steps + 1, 1}};
    worker.end->send(encode(ToCoordinator(end)));
  }

  static bool is_ready(const Worker& worker, const Train& order) { return order.visits == 0 || has(worker, order); }

  /// Once all members have been ready, each ends by itself. Who misses one, or its link, says so.
  bool team_trained(std::uint32_t rank, const Train& order) {
    if (trained_teams_.contains(order.team->number)) return true;
    bool all_ready = true, all_here = true;
    for (const WorkerId& member : order.team->members) {
      const Worker& worker = workers_[member.rank];
      all_here = all_here && worker.end && worker.end->id() == member;
      all_ready = all_ready && std::any_of(worker.to_train.begin(), worker.to_train.end(), [&](const Train& one) {
                    return one.team && one.team->number == order.team->number && is_ready(worker, one);
                  });
    }
    if (all_here && !is_cut(order.team->members) && !chance(faults_.torn_team)) {
      if (all_ready) trained_teams_.insert(order.team->number);
      return all_ready;
    }
    ++parted;
    workers_[rank].end->send(encode(ToCoordinator(Parted{order.number, order.spec.id, "a link was torn"})));
    std::erase(workers_[rank].to_train, Train(order));
    return false;
  }

  /// Whether a link between two of them is.
  bool is_cut(const std::vector<WorkerId>& members) const {
    return std::any_of(faults_.cut.begin(), faults_.cut.end(), [&](const auto& link) {
      const auto count = std::count_if(members.begin(), members.end(), [&](const WorkerId& member) {
        return member.rank == link.first || member.rank == link.second;
      });
      return count == 2;
    });
  }

  void judge(std::uint32_t rank, const Train& order) {
    Evaluated end{order.number, order.spec.id, {}};
    for (const std::uint32_t partition : order.judge_on) {
      const auto& homes = valid_.homes.at(partition);
      strays += !std::binary_search(homes.begin(), homes.end(), rank);
      Judged on_rows{{paper_loss(order.digest, partition), 0, 0, 1}, {}};
      on_rows.rows.losses = {static_cast<float>(partition)};
      end.judged.push_back({partition, std::move(on_rows)});
    }
    ++judged;
    workers_[rank].end->send(encode(ToCoordinator(end)));
  }

  void end_hop(std::map<std::uint64_t, PaperHop>::iterator at) {
    const PaperHop known = at->second;
    if (!known.from || !known.to) return;
    Worker &from = workers_[*known.from], &to = workers_[*known.to];
    const auto& held = from.held[known.hop.trial];
    const auto state = held.find(known.hop.visits);
    hops_.erase(at);
    HopEnd sent{known.hop.number, true, "digest", "", false, false, 0.1};
    HopEnd received{known.hop.number, false, "digest", "", false, false, 0.1};
    if (faults_.cut.contains(std::minmax(*known.from, *known.to)))
      sent.error = received.error = "no link",
      sent.no_link = received.no_link = sent.link_broke = received.link_broke = true;
    else if (state == held.end() || state->second != known.hop.digest)
      sent.error = received.error = "it is not there";
    else if (*known.to == faults_.full_disk)
      std::tie(sent.error, sent.link_broke, received.error) = std::tuple("closed by the other end", true, "disk full");
    else if (chance(faults_.torn_hop))
      received.error = "the link was torn";
    else
      to.held[known.hop.trial][known.hop.visits] = state->second;
    from.end->send(encode(ToCoordinator(sent)));
    to.end->send(encode(ToCoordinator(received)));
  }

  const std::uint32_t partitions_;
  std::vector<Worker> workers_;
  std::map<std::uint64_t, PaperHop> hops_;
  std::set<std::uint64_t> trained_teams_;
  MemoryNetwork* network_ = nullptr;
  KeyedStream random_;
  PaperFaults faults_;
  const Placement valid_;
};

}  // namespace hopyard::fakes
