#include "hopper/hopper_simulator.h"

#include <algorithm>
#include <deque>
#include <queue>
#include <utility>

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
  std::uint32_t who = 0;          ///< a trial for trained and moved, else a worker
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
  double rate = 0, seen_s = 0;          ///< of training; until when left_s is right
  std::uint32_t ready = 0;              ///< of its workers, that have a slot for it: all of them train it, or none
  std::optional<std::uint32_t> source;  ///< fetching: from whom
  std::vector<std::uint32_t> targets;   ///< copying: to whom
  std::uint64_t incarnation = 0;
};

struct Worker {
  std::vector<std::uint32_t> training;  // trials that have a slot
  std::deque<std::uint32_t> waiting;    // for a slot, their state here
  bool silent = false;
  std::optional<double> busy_since_s;
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
        if (event.incarnation == flights_[event.who].incarnation) end_training(event.who);
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
      flight.left_s = visit_s(visit);
      if (lacking(visit) == 0)
        arrive(visit.trial);
      else
        fetch(visit.trial);
    }
  }

  /// At speed 1. A trial that its team shares out takes as many times as long alone.
  double visit_s(const PlacedVisit& visit) const {
    const OpenTrial& trial = shop_.trial(visit.trial);
    return trial.visit_s * trial.degree / visit.size();
  }

  /// How many of its workers do not have the state that it begins at.
  std::uint32_t lacking(const PlacedVisit& visit) const {
    const auto members = visit.members();
    const auto& holders = shop_.trial(visit.trial).holders;
    return static_cast<std::uint32_t>(std::count_if(members.begin(), members.end(), [&](std::uint32_t member) {
      return std::find(holders.begin(), holders.end(), member) == holders.end();
    }));
  }

  bool any_silent(const PlacedVisit& visit) const {
    const auto members = visit.members();
    return std::any_of(members.begin(), members.end(), [&](std::uint32_t member) { return workers_[member].silent; });
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
    if (any_silent(flight.visit)) return;
    if (flight.stage == Flight::Stage::fetching) {
      if (flight.source && workers_[*flight.source].silent) return;
      result_.network_bytes += spec_.state_bytes * lacking(flight.visit);
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
    for (const std::uint32_t member : flight.visit.members()) workers_[member].waiting.push_back(trial);
    for (const std::uint32_t member : flight.visit.members()) fill_slots(member);
  }

  bool runs(std::uint32_t trial) const { return flights_[trial].ready == flights_[trial].visit.size(); }

  double rate_at(std::uint32_t worker) const {
    const ShopWorker& at = spec_.workers[worker].worker;
    const auto& training = workers_[worker].training;
    const auto trials = std::count_if(training.begin(), training.end(), [&](auto trial) { return runs(trial); });
    return at.speed * std::min(1.0, at.devices / static_cast<double>(trials));
  }

  /// A step ends when its slowest member has done its share.
  double rate_of(const Flight& flight) const {
    double slowest = std::numeric_limits<double>::infinity();
    for (const std::uint32_t member : flight.visit.members()) slowest = std::min(slowest, rate_at(member));
    return slowest;
  }

  /// What the worker trains goes on at other rates from now on.
  void change_rates(std::uint32_t worker) {
    for (const std::uint32_t trial : workers_[worker].training) {
      Flight& flight = flights_[trial];
      if (!runs(trial)) continue;
      flight.left_s -= flight.rate * (now_s_ - flight.seen_s);
      flight.seen_s = now_s_;
      flight.rate = rate_of(flight);
      const bool is_trained = flight.left_s <= kTrained * visit_s(flight.visit);
      push(now_s_ + (is_trained ? 0 : flight.left_s / flight.rate), Event::Kind::trained, trial, ++flight.incarnation);
    }
    note_busy(worker);
  }

  void note_busy(std::uint32_t number) {
    Worker& worker = workers_[number];
    const bool busy =
        std::any_of(worker.training.begin(), worker.training.end(), [&](auto trial) { return runs(trial); });
    if (busy == worker.busy_since_s.has_value()) return;
    if (busy)
      worker.busy_since_s = now_s_;
    else
      result_.busy_s[number] += now_s_ - *std::exchange(worker.busy_since_s, std::nullopt);
  }

  void fill_slots(std::uint32_t number) {
    Worker& worker = workers_[number];
    if (worker.silent || worker.waiting.empty()) return;
    if (worker.training.size() >= spec_.workers[number].worker.slots) return;
    while (!worker.waiting.empty() && worker.training.size() < spec_.workers[number].worker.slots) {
      const std::uint32_t trial = worker.waiting.front();
      worker.waiting.pop_front();
      worker.training.push_back(trial);
      flights_[trial].stage = Flight::Stage::training;
      ++flights_[trial].ready;
      if (!runs(trial)) continue;
      flights_[trial].seen_s = now_s_;
      for (const std::uint32_t member : flights_[trial].visit.members()) change_rates(member);
    }
  }

  void end_training(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.trained_s = now_s_;
    leave_slots(trial);
    shop_.trained(flight.visit);
    copy(trial);
    for (const std::uint32_t member : flight.visit.members()) fill_slots(member);
  }

  void leave_slots(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.rate = 0;
    flight.ready = 0;
    ++flight.incarnation;
    for (const std::uint32_t member : flight.visit.members()) {
      std::erase(workers_[member].training, trial);
      std::erase(workers_[member].waiting, trial);
      change_rates(member);
    }
  }

  void copy(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    flight.stage = Flight::Stage::copying;
    flight.targets = replica_targets(shop_, scheduler_, flight.visit, spec_.state_replicas);
    flight.targets.empty() ? commit(trial) : move(trial);
  }

  void commit(std::uint32_t trial) {
    Flight& flight = flights_[trial];
    std::vector<std::uint32_t> holders = flight.visit.members();
    holders.insert(holders.end(), flight.targets.begin(), flight.targets.end());
    const std::size_t holders_of_end = holders.size();
    shop_.commit(flight.visit, std::move(holders));
    ++result_.commits;
    result_.makespan_s = now_s_;
    if (spec_.keep_visits) result_.visits.push_back({flight.visit, flight.begin_s, flight.trained_s, now_s_});
    flight.stage = Flight::Stage::none;
    ++flight.incarnation;
    if (!shop_.trial(trial).done()) return;
    ++finished_;
    if (holders_of_end == 1) result_.network_bytes += spec_.state_bytes;
  }

  void fall_silent(std::uint32_t number) {
    Worker& worker = workers_[number];
    worker.silent = true;
    for (const std::uint32_t trial : std::vector(worker.training)) leave_slots(trial);
    worker.waiting.clear();
    push(now_s_ + spec_.detect_s, Event::Kind::heard, number, ++worker.incarnation);
  }

  void hear_of_death(std::uint32_t number) {
    for (const PlacedVisit& visit : shop_.leave(number)) {
      leave_slots(visit.trial);
      drop(visit.trial);
      for (const std::uint32_t member : visit.members()) fill_slots(member);
    }
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
  const auto visits_per_epoch = [&](std::uint32_t trial) {
    const auto& own = spec.trials[trial].own;
    return own.empty() ? partitions : static_cast<std::uint32_t>(own.size());
  };
  const auto whole_epoch = [&](std::uint32_t trial) {
    if (spec.trials[trial].own.empty()) return Bits::all(partitions);
    Bits bits(partitions);
    for (const std::uint32_t partition : spec.trials[trial].own) bits.set(partition);
    return bits;
  };
  std::vector<Seen> trials(spec.trials.size());
  for (const SimVisit& done : result.visits) {
    Seen& seen = trials.at(done.visit.trial);
    const PlacedVisit& visit = done.visit;
    const std::uint32_t per_epoch = visits_per_epoch(done.visit.trial);
    if (seen.visits % per_epoch == 0) seen.left = whole_epoch(done.visit.trial);
    if (visit.epoch != seen.visits / per_epoch || visit.visit != seen.visits % per_epoch)
      return to_string(visit) + " is not the next of its trial";
    if (visit.partition >= partitions || !seen.left.test(visit.partition))
      return to_string(visit) + " is the second one there";
    if (done.begin_s < seen.until_s) return to_string(visit) + " begins before the one before is committed";
    seen.left.reset(visit.partition);
    seen.until_s = done.committed_s;
    ++seen.visits;
  }
  for (std::uint32_t t = 0; t < trials.size(); ++t)
    if (trials[t].visits != std::uint64_t{spec.trials[t].epochs} * visits_per_epoch(t))
      return text::cat("trial ", t, " has ", trials[t].visits, " visits");
  return "";
}

}  // namespace hopyard
