#include "hopper/hopper_simulator.h"

#include <algorithm>
#include <deque>
#include <queue>

#include "base/failure.h"

namespace hopyard {

namespace {

/// What is left of a visit when it counts as trained: rounding, as a share of it.
constexpr double kTrained = 1e-9;

struct Event {
  enum class Kind { outage, heard, back, trained, moved };
  double at_s = 0;
  std::uint64_t number = 0;  ///< equal times: in the order of being known
  Kind kind = Kind::moved;
  std::uint32_t who = 0;          ///< a trial for moved, else a worker
  std::uint64_t incarnation = 0;  ///< of who: an event of an older one is void
  bool operator>(const Event& other) const { return at_s != other.at_s ? at_s > other.at_s : number > other.number; }
};

/// A visit under way.
struct Flight {
  enum class Stage { none, fetching, waiting, training, copying };
  Stage stage = Stage::none;
  PlacedVisit visit;
  double begin_s = 0, trained_s = 0;
  double left_s = 0;                    ///< of training, at speed 1
  std::optional<std::uint32_t> source;  ///< fetching: from whom
  std::vector<std::uint32_t> targets;   ///< copying: to whom
  std::uint64_t incarnation = 0;
};

struct Worker {
  std::vector<std::uint32_t> training;  // trials
  std::deque<std::uint32_t> waiting;    // for a slot, their state here
  bool silent = false;
  double seen_s = 0;  // until when left_s of its trials is right
  std::uint64_t incarnation = 0;
};

std::vector<ShopWorker> shop_workers(const HopperSimSpec& spec) {
  std::vector<ShopWorker> workers;
  for (const SimWorker& worker : spec.workers) {
    workers.push_back(worker.worker);
    workers.back().alive = worker.outages.empty() || worker.outages.front().begin_s > 0;
  }
  return workers;
}

class Simulation {
 public:
  Simulation(const HopperSimSpec& spec, const VisitScheduler& scheduler)
      : spec_(spec), scheduler_(scheduler), shop_(spec.placement, shop_workers(spec)), workers_(spec.workers.size()) {
    for (const ShopTrial& trial : spec.trials) shop_.add(trial);
    flights_.resize(spec.trials.size());
    result_.busy_s.resize(workers_.size());
    for (std::uint32_t w = 0; w < workers_.size(); ++w) {
      workers_[w].silent = !shop_.workers()[w].alive;
      for (const SimOutage& outage : spec.workers[w].outages) {
        if (outage.begin_s > 0) push(outage.begin_s, Event::Kind::outage, w, 0);
        if (outage.end_s < std::numeric_limits<double>::infinity()) push(outage.end_s, Event::Kind::back, w, 0);
      }
    }
  }

  HopperSimResult run() {
    start(dispatch(shop_, scheduler_));
    while (!events_.empty() && !(wanted_done())) {
      now_s_ = events_.top().at_s;
      while (!events_.empty() && events_.top().at_s == now_s_) {
        const Event event = events_.top();
        events_.pop();
        handle(event);
      }
      start(dispatch(shop_, scheduler_));
    }
    if (!shop_.done()) result_.stuck = why_stuck();
    return std::move(result_);
  }

 private:
  bool wanted_done() const { return finished_ == flights_.size(); }

  void push(double at_s, Event::Kind kind, std::uint32_t who, std::uint64_t incarnation) {
    events_.push({at_s, next_number_++, kind, who, incarnation});
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case Event::Kind::outage:
        return fall_silent(event.who);
      case Event::Kind::heard:
        if (event.incarnation == workers_[event.who].incarnation) hear_of_death(event.who);
        return;
      case Event::Kind::back:
        return come_back(event.who);
      case Event::Kind::trained:
        if (event.incarnation == workers_[event.who].incarnation) end_training(event.who);
        return;
      case Event::Kind::moved:
        if (event.incarnation == flights_[event.who].incarnation) end_move(event.who);
        return;
    }
  }

  void start(const std::vector<PlacedVisit>& begun) {
    for (const PlacedVisit& visit : begun) {
      Flight& flight = flights_[visit.trial];
      flight = {.visit = visit, .begin_s = now_s_, .incarnation = flight.incarnation + 1};
      flight.left_s = shop_.trial(visit.trial).visit_s;
      const auto& holders = shop_.trial(visit.trial).holders;
      if (std::find(holders.begin(), holders.end(), visit.worker) != holders.end())
        arrive(visit.trial);
      else
        fetch(visit.trial);
    }
  }

  void fetch(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.stage = Flight::Stage::fetching;
    flight.source = shop_.source(trial);
    move(trial);
  }

  void move(std::uint32_t trial) {
    push(now_s_ + spec_.hop_s, Event::Kind::moved, trial, ++flights_[trial].incarnation);
  }

  /// Nothing comes from or to a silent worker: what depends on it waits until the death is heard of.
  void end_move(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    if (workers_[flight.visit.worker].silent) return;
    if (flight.stage == Flight::Stage::fetching) {
      if (flight.source && workers_[*flight.source].silent) return;
      result_.network_bytes += spec_.state_bytes;
      return arrive(trial);
    }
    for (const std::uint32_t target : flight.targets)
      if (workers_[target].silent) return;
    result_.network_bytes += spec_.state_bytes * flight.targets.size();
    commit(trial);
  }

  void arrive(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.stage = Flight::Stage::waiting;
    workers_[flight.visit.worker].waiting.push_back(trial);
    fill_slots(flight.visit.worker);
  }

  double rate(std::uint32_t worker) const {
    const ShopWorker& at = spec_.workers[worker].worker;
    const auto trials = static_cast<double>(workers_[worker].training.size());
    return at.speed * std::min(1.0, at.devices / trials);
  }

  /// Brings left_s of what the worker trains up to now.
  void advance(std::uint32_t number) {
    Worker& worker = workers_[number];
    if (!worker.training.empty() && !worker.silent) {
      for (const std::uint32_t trial : worker.training)
        flights_[trial].left_s -= rate(number) * (now_s_ - worker.seen_s);
      result_.busy_s[number] += now_s_ - worker.seen_s;
    }
    worker.seen_s = now_s_;
  }

  void fill_slots(std::uint32_t number) {
    Worker& worker = workers_[number];
    if (worker.silent || worker.waiting.empty()) return;
    if (worker.training.size() >= spec_.workers[number].worker.slots) return;
    advance(number);
    while (!worker.waiting.empty() && worker.training.size() < spec_.workers[number].worker.slots) {
      const std::uint32_t trial = worker.waiting.front();
      worker.waiting.pop_front();
      flights_[trial].stage = Flight::Stage::training;
      worker.training.push_back(trial);
    }
    expect_end(number);
  }

  void expect_end(std::uint32_t number) {
    Worker& worker = workers_[number];
    ++worker.incarnation;
    if (worker.training.empty()) return;
    double least = std::numeric_limits<double>::infinity();
    for (const std::uint32_t trial : worker.training) least = std::min(least, flights_[trial].left_s);
    push(now_s_ + std::max(0.0, least) / rate(number), Event::Kind::trained, number, worker.incarnation);
  }

  void end_training(std::uint32_t number) {
    Worker& worker = workers_[number];
    advance(number);
    const auto runs = [&](std::uint32_t trial) {
      return flights_[trial].left_s > kTrained * shop_.trial(trial).visit_s;
    };
    const auto ended = std::stable_partition(worker.training.begin(), worker.training.end(), runs);
    const std::vector<std::uint32_t> trained(ended, worker.training.end());
    worker.training.erase(ended, worker.training.end());
    for (const std::uint32_t trial : trained) {
      flights_[trial].trained_s = now_s_;
      shop_.trained(flights_[trial].visit);
      copy(trial);
    }
    expect_end(number);
    fill_slots(number);
  }

  void copy(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.stage = Flight::Stage::copying;
    flight.targets = replica_targets(shop_, scheduler_, flight.visit, spec_.state_replicas);
    flight.targets.empty() ? commit(trial) : move(trial);
  }

  void commit(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    std::vector<std::uint32_t> holders{flight.visit.worker};
    holders.insert(holders.end(), flight.targets.begin(), flight.targets.end());
    shop_.commit(flight.visit, std::move(holders));
    ++result_.commits;
    result_.makespan_s = now_s_;
    if (spec_.keep_visits) result_.visits.push_back({flight.visit, flight.begin_s, flight.trained_s, now_s_});
    flight.stage = Flight::Stage::none;
    ++flight.incarnation;
    if (!shop_.trial(trial).done()) return;
    ++finished_;
    if (flight.targets.empty()) result_.network_bytes += spec_.state_bytes;
  }

  void fall_silent(std::uint32_t number) {
    Worker& worker = workers_[number];
    advance(number);
    worker.silent = true;
    worker.training.clear();
    worker.waiting.clear();
    push(now_s_ + spec_.detect_s, Event::Kind::heard, number, ++worker.incarnation);
  }

  void hear_of_death(std::uint32_t number) {
    for (const PlacedVisit& visit : shop_.leave(number)) drop(visit.trial);
    for (std::uint32_t trial = 0; trial < flights_.size(); ++trial) {
      Flight& flight = flights_[trial];
      const auto& to = flight.targets;
      if (flight.stage == Flight::Stage::copying && std::find(to.begin(), to.end(), number) != to.end()) copy(trial);
      if (flight.stage != Flight::Stage::fetching || flight.source != number) continue;
      if (shop_.source(trial)) {
        fetch(trial);
      } else {
        shop_.give_up(flight.visit);
        drop(trial);
      }
    }
  }

  void drop(std::uint32_t trial) {
    flights_[trial].stage = Flight::Stage::none;
    ++flights_[trial].incarnation;
    ++result_.given_up;
  }

  void come_back(std::uint32_t number) {
    if (shop_.workers()[number].alive) hear_of_death(number);
    Worker& worker = workers_[number];
    worker.silent = false;
    worker.waiting.clear();  // what was sent to it while nobody knew
    worker.seen_s = now_s_;
    ++worker.incarnation;
    shop_.join(number);
  }

  std::string why_stuck() const {
    if (const std::string homeless = describe_homeless(spec_.placement, shop_.living()); !homeless.empty())
      return homeless;
    const auto stranded = shop_.stranded();
    if (stranded.empty()) return "visits are left, but the scheduler begins none";
    return text::cat("trial ", stranded.front(), " has no living holder of its state");
  }

  const HopperSimSpec& spec_;
  const VisitScheduler& scheduler_;
  OpenShop shop_;
  std::vector<Worker> workers_;
  std::vector<Flight> flights_;  // by trial
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t next_number_ = 0;
  std::size_t finished_ = 0;
  double now_s_ = 0;
  HopperSimResult result_;
};

}  // namespace

HopperSimResult simulate_hopper(const HopperSimSpec& spec, const VisitScheduler& scheduler) {
  require(spec.workers.size() == spec.placement.workers, spec.workers.size(), " workers for a placement on ",
          spec.placement.workers);
  return Simulation(spec, scheduler).run();
}

std::string exactly_once_fault(const HopperSimSpec& spec, const HopperSimResult& result) {
  const auto partitions = static_cast<std::uint32_t>(spec.placement.homes.size());
  struct Seen {
    std::uint64_t visits = 0;
    double until_s = 0;
    Bits left;
  };
  std::vector<Seen> trials(spec.trials.size());
  for (const SimVisit& done : result.visits) {
    Seen& seen = trials.at(done.visit.trial);
    const PlacedVisit& visit = done.visit;
    if (seen.visits % partitions == 0) seen.left = Bits::all(partitions);
    if (visit.epoch != seen.visits / partitions || visit.visit != seen.visits % partitions)
      return to_string(visit) + " is not the next of its trial";
    if (visit.partition >= partitions || !seen.left.test(visit.partition))
      return to_string(visit) + " is the second one there";
    if (done.begin_s < seen.until_s) return to_string(visit) + " begins before the one before is committed";
    seen.left.reset(visit.partition);
    seen.until_s = done.committed_s;
    ++seen.visits;
  }
  for (std::uint32_t t = 0; t < trials.size(); ++t)
    if (trials[t].visits != std::uint64_t{spec.trials[t].epochs} * partitions)
      return text::cat("trial ", t, " has ", trials[t].visits, " visits");
  return "";
}

}  // namespace hopyard
