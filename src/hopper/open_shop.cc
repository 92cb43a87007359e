#include "hopper/open_shop.h"

#include <algorithm>

#include "base/failure.h"
#include "hopper/visit_order.h"

namespace hopyard {

namespace {

constexpr Place kPlaces[] = {Place::train, Place::fetch};

std::vector<std::uint32_t> members(Bits& bits) {
  std::vector<std::uint32_t> found;
  bits.for_each([&](std::uint32_t i) { found.push_back(i); });
  bits = Bits(bits.size());
  return found;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const PlacedVisit& visit) {
  return out << "trial " << visit.trial << ", epoch " << visit.epoch << ", visit " << visit.visit << ": partition "
             << visit.partition << " on worker " << visit.worker;
}

std::string to_string(const PlacedVisit& visit) { return text::cat(visit); }

std::uint64_t OpenTrial::visits_left() const {
  return done() ? 0 : std::uint64_t{epochs - epoch} * to_visit.size() - visit;
}

std::uint32_t OpenTrial::next_in_order() const { return rotated_partition(rotation, epoch, visit, to_visit.size()); }

OpenShop::OpenShop(const Placement& placement, std::vector<ShopWorker> workers)
    : placement_(placement), workers_(std::move(workers)), occupied_(workers_.size()), queued_s_(workers_.size()) {
  require(workers_.size() == placement.workers, workers_.size(), " workers for a placement on ", placement.workers);
  const auto count = static_cast<std::uint32_t>(workers_.size());
  partitions_of_.resize(count);
  for (std::uint32_t p = 0; p < partitions(); ++p)
    for (const std::uint32_t home : homes(p)) partitions_of_.at(home).push_back(p);
  for (const ShopWorker& worker : workers_)
    require(worker.slots > 0 && worker.devices > 0 && worker.speed > 0, "a worker has ", worker.slots, " slots, ",
            worker.devices, " devices and speed ", worker.speed);
  wanting_.resize(partitions());
  in_order_.resize(partitions());
  changed_workers_ = Bits(count);
  for (const Place place : kPlaces) {
    is_open_[index(place)] = Bits(count);
    open_partitions_[index(place)] = Bits(partitions());
    open_homes_[index(place)].resize(partitions());
  }
  for (std::uint32_t worker = 0; worker < count; ++worker) update_open(worker);
}

std::uint32_t OpenShop::add(const ShopTrial& trial) {
  require(trial.visit_s > 0, "a visit takes ", trial.visit_s, " s");
  const std::uint32_t number = trial_count();
  OpenTrial progress{.epochs = trial.epochs,
                     .rotation = trial.rotation,
                     .visit_s = trial.visit_s,
                     .epoch = trial.epoch,
                     .to_visit = Bits::all(partitions()),
                     .holders = trial.holders};
  for (const std::uint32_t partition : trial.visited) {
    require(partition < partitions() && progress.to_visit.test(partition), "trial ", number, " visited partition ",
            partition, " twice, or there is none");
    progress.to_visit.reset(partition);
    ++progress.visit;
  }
  require(progress.visit < partitions(), "trial ", number, " has an epoch with no visit left");
  trials_.push_back(std::move(progress));
  idle_.resize(trial_count());
  changed_trials_.resize(trial_count());
  for (Bits& trials : wanting_) trials.resize(trial_count());
  for (Bits& trials : in_order_) trials.resize(trial_count());
  want_all(number);
  put_in_order(number, true);
  refresh_idle(number);
  return number;
}

void OpenShop::want_all(std::uint32_t trial) {
  for (std::uint32_t p = 0; p < partitions(); ++p) wanting_[p].put(trial, trials_[trial].to_visit.test(p));
}

void OpenShop::put_in_order(std::uint32_t trial, bool there) {
  const OpenTrial& progress = trials_[trial];
  const std::uint32_t next = progress.next_in_order();
  in_order_[next].put(trial, there && progress.to_visit.test(next));
}

void OpenShop::want(std::uint32_t trial, std::uint32_t epochs) {
  trials_.at(trial).epochs = epochs;
  refresh_idle(trial);
}

void OpenShop::hold(std::uint32_t trial, bool held) {
  trials_.at(trial).held = held;
  refresh_idle(trial);
}

void OpenShop::held_by(std::uint32_t trial, std::vector<std::uint32_t> holders) {
  trials_.at(trial).holders = std::move(holders);
  refresh_idle(trial);
}

void OpenShop::predict(std::uint32_t trial, double visit_s) {
  require(visit_s > 0, "a visit takes ", visit_s, " s");
  OpenTrial& progress = trials_.at(trial);
  if (progress.under_way && !progress.trained) queued_s_[progress.under_way->worker] += visit_s - progress.visit_s;
  progress.visit_s = visit_s;
}

void OpenShop::join(std::uint32_t worker) {
  require(!workers_.at(worker).alive, "worker ", worker, " joins twice");
  workers_[worker].alive = true;
  update_open(worker);
  for (std::uint32_t trial = 0; trial < trial_count(); ++trial) refresh_idle(trial);
}

std::vector<PlacedVisit> OpenShop::leave(std::uint32_t worker) {
  require(workers_.at(worker).alive, "worker ", worker, " leaves twice");
  workers_[worker].alive = false;
  std::vector<PlacedVisit> lost;
  for (const OpenTrial& trial : trials_)
    if (trial.under_way && trial.under_way->worker == worker) lost.push_back(*trial.under_way);
  for (const PlacedVisit& visit : lost) give_up(visit);
  update_open(worker);
  for (std::uint32_t trial = 0; trial < trial_count(); ++trial) refresh_idle(trial);
  idle_.for_each([&](std::uint32_t trial) { changed_trials_.set(trial); });  // what waited for that worker
  return lost;
}

void OpenShop::begin(const PlacedVisit& visit) {
  OpenTrial& trial = trials_.at(visit.trial);
  require(idle_.test(visit.trial), visit, " begins, but its trial is not idle");
  require(visit.epoch == trial.epoch && visit.visit == trial.visit, visit, " begins, but visit ", trial.visit,
          " of epoch ", trial.epoch, " is next");
  require(visit.partition < partitions() && trial.to_visit.test(visit.partition), visit,
          " begins, but that partition is not left");
  const auto& at = homes(visit.partition);
  require(std::binary_search(at.begin(), at.end(), visit.worker), visit, " begins, but that is no home");
  require(open(visit.worker, Place::fetch), visit, " begins, but that worker has no place");
  ++begun_;
  trial.under_way = visit;
  trial.trained = false;
  occupy(visit, true);
  refresh_idle(visit.trial);
}

void OpenShop::require_under_way(const PlacedVisit& visit) const {
  require(visit.trial < trial_count() && trials_[visit.trial].under_way == visit, visit, " is not under way");
}

void OpenShop::trained(const PlacedVisit& visit) {
  require_under_way(visit);
  OpenTrial& trial = trials_[visit.trial];
  require(!trial.trained, visit, " is trained twice");
  trial.trained = true;
  occupy(visit, false);
}

void OpenShop::commit(const PlacedVisit& visit, std::vector<std::uint32_t> holders) {
  require_under_way(visit);
  require(!holders.empty(), visit, " is committed, but nobody holds it");
  OpenTrial& trial = trials_[visit.trial];
  if (!trial.trained) trained(visit);
  trial.under_way.reset();
  trial.holders = std::move(holders);
  put_in_order(visit.trial, false);
  trial.to_visit.reset(visit.partition);
  wanting_[visit.partition].reset(visit.trial);
  if (++trial.visit == partitions()) {
    ++trial.epoch;
    trial.visit = 0;
    trial.to_visit = Bits::all(partitions());
    want_all(visit.trial);
  }
  put_in_order(visit.trial, true);
  refresh_idle(visit.trial);
}

void OpenShop::give_up(const PlacedVisit& visit) {
  require_under_way(visit);
  OpenTrial& trial = trials_[visit.trial];
  if (!trial.trained) trained(visit);
  trial.under_way.reset();
  refresh_idle(visit.trial);
}

Bits OpenShop::living() const {
  Bits alive(static_cast<std::uint32_t>(workers_.size()));
  for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) alive.put(worker, workers_[worker].alive);
  return alive;
}

double OpenShop::queue_s(std::uint32_t worker) const {
  const ShopWorker& at = workers_[worker];
  return queued_s_[worker] / (at.speed * at.devices);
}

std::optional<std::uint32_t> OpenShop::source(std::uint32_t trial) const {
  std::optional<std::uint32_t> best;
  for (const std::uint32_t holder : trials_.at(trial).holders)
    if (workers_[holder].alive && (!best || occupied_[holder] < occupied_[*best])) best = holder;
  return best;
}

bool OpenShop::done() const {
  return std::all_of(trials_.begin(), trials_.end(), [](const OpenTrial& trial) { return trial.done(); });
}

std::vector<std::uint32_t> OpenShop::stranded() const {
  std::vector<std::uint32_t> found;
  for (std::uint32_t t = 0; t < trial_count(); ++t)
    if (!trials_[t].done() && !trials_[t].held && !trials_[t].under_way && !state_lives(trials_[t])) found.push_back(t);
  return found;
}

OpenShop::Changes OpenShop::take_changes() { return {members(changed_workers_), members(changed_trials_)}; }

bool OpenShop::room(std::uint32_t worker, Place place) const {
  const ShopWorker& at = workers_.at(worker);
  return at.alive && occupied_[worker] < at.slots + (place == Place::fetch ? at.lookahead : 0);
}

bool OpenShop::state_lives(const OpenTrial& trial) const {
  const auto lives = [&](std::uint32_t holder) { return workers_[holder].alive; };
  return trial.holders.empty() || std::any_of(trial.holders.begin(), trial.holders.end(), lives);
}

void OpenShop::refresh_idle(std::uint32_t number) {
  const OpenTrial& trial = trials_[number];
  const bool idle = !trial.done() && !trial.held && !trial.under_way && state_lives(trial);
  if (idle && !idle_.test(number)) changed_trials_.set(number);
  idle_.put(number, idle);
}

void OpenShop::occupy(const PlacedVisit& visit, bool more) {
  const double visit_s = trials_[visit.trial].visit_s;
  occupied_[visit.worker] += more ? 1 : -1;
  queued_s_[visit.worker] = occupied_[visit.worker] == 0 ? 0 : queued_s_[visit.worker] + (more ? visit_s : -visit_s);
  if (!more) changed_workers_.set(visit.worker);
  update_open(visit.worker);
}

void OpenShop::update_open(std::uint32_t worker) {
  for (const Place place : kPlaces) {
    const bool open = room(worker, place);
    if (open == is_open_[index(place)].test(worker)) continue;
    if (open) changed_workers_.set(worker);
    is_open_[index(place)].put(worker, open);
    for (const std::uint32_t p : partitions_of_[worker]) {
      open_homes_[index(place)][p] += open ? 1 : -1;
      open_partitions_[index(place)].put(p, open_homes_[index(place)][p] > 0);
    }
  }
}

std::string describe(const OpenShop& shop) {
  std::string page;
  for (std::uint32_t w = 0; w < shop.workers().size(); ++w) {
    const ShopWorker& worker = shop.workers()[w];
    page += text::cat("worker ", w, worker.alive ? "" : ", dead", ": ", shop.occupied(w), " of ", worker.slots, " + ",
                      worker.lookahead, " places, speed ", worker.speed, ", partitions");
    for (const std::uint32_t p : shop.partitions_of(w)) page += text::cat(' ', p);
    page += '\n';
  }
  for (std::uint32_t t = 0; t < shop.trial_count(); ++t) {
    const OpenTrial& trial = shop.trial(t);
    page += text::cat("trial ", t, ": epoch ", trial.epoch, " of ", trial.epochs, ", visit ", trial.visit, " of ",
                      trial.to_visit.size(), ", ", trial.visit_s, " s each, held by");
    for (const std::uint32_t holder : trial.holders) page += text::cat(' ', holder);
    if (trial.under_way) page += text::cat(trial.trained ? ", commits " : ", trains ", *trial.under_way);
    page += trial.held ? ", held back\n" : shop.idle().test(t) ? ", idle\n" : "\n";
  }
  return page;
}

}  // namespace hopyard
