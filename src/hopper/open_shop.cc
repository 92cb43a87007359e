#include "hopper/open_shop.h"

#include <algorithm>
#include <functional>
#include <utility>

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

std::vector<std::string> numbers(const std::vector<std::uint32_t>& values) {
  std::vector<std::string> texts;
  for (const std::uint32_t value : values) texts.push_back(std::to_string(value));
  return texts;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const PlacedVisit& visit) {
  return out << "trial " << visit.trial << ", epoch " << visit.epoch << ", visit " << visit.visit << ": partition "
             << visit.partition << (visit.others.empty() ? " on worker " : " on workers ")
             << text::join(numbers(visit.members()), ", ");
}

std::string to_string(const PlacedVisit& visit) { return text::cat(visit); }

std::uint64_t OpenTrial::visits_left() const {
  return done() ? 0 : std::uint64_t{epochs - epoch} * visits_per_epoch() - visit;
}

Bits OpenTrial::whole_epoch() const {
  if (own.empty()) return Bits::all(to_visit.size());
  Bits bits(to_visit.size());
  for (const std::uint32_t partition : own) bits.set(partition);
  return bits;
}

std::uint32_t OpenTrial::next_in_order() const {
  const std::uint32_t count = visits_per_epoch();
  return partition_in_order(rotation, listed.get(), epoch * count + visit, count, own);
}

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
  changed_workers_ = in_team_ = Bits(count);
  for (const Place place : kPlaces) {
    is_open_[index(place)] = Bits(count);
    open_partitions_[index(place)] = Bits(partitions());
    open_homes_[index(place)].resize(partitions());
  }
  for (std::uint32_t worker = 0; worker < count; ++worker) update_open(worker);
}

std::uint32_t OpenShop::add(const ShopTrial& trial) {
  require(trial.visit_s > 0 && trial.degree > 0, "a visit takes ", trial.visit_s, " s on ", trial.degree, " workers");
  const std::uint32_t number = trial_count();
  OpenTrial progress{.epochs = trial.epochs,
                     .rotation = trial.rotation,
                     .listed = trial.listed,
                     .visit_s = trial.visit_s,
                     .degree = trial.degree,
                     .may_be_alone = trial.may_be_alone,
                     .epoch = trial.epoch,
                     .to_visit = Bits(partitions()),
                     .holders = trial.holders,
                     .own = trial.own};
  for (const std::uint32_t partition : trial.own)
    require(partition < partitions(), "trial ", number, " is to visit partition ", partition, " of ", partitions());
  progress.to_visit = progress.whole_epoch();
  for (const std::uint32_t partition : trial.visited) {
    require(partition < partitions() && progress.to_visit.test(partition), "trial ", number, " visited partition ",
            partition, " twice, or there is none");
    progress.to_visit.reset(partition);
    ++progress.visit;
  }
  require(progress.visit < progress.visits_per_epoch(), "trial ", number, " has an epoch with no visit left");
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
  if (progress.under_way && !progress.trained)
    for (const std::uint32_t worker : progress.under_way->members()) queued_s_[worker] += visit_s - progress.visit_s;
  progress.visit_s = visit_s;
}

void OpenShop::let_alone(bool now) {
  if (now == let_alone_) return;
  let_alone_ = now;
  for (const std::uint32_t trial : idle_teams_) changed_trials_.set(trial);
}

void OpenShop::leave_alone(std::uint32_t trial) {
  OpenTrial& progress = trials_.at(trial);
  require(progress.may_be_alone && !progress.under_way, "trial ", trial, " trains, or not alone");
  progress.alone = true;
  if (is_idle(trial)) changed_trials_.set(trial);
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
    if (trial.under_way && trial.under_way->is_at(worker)) lost.push_back(*trial.under_way);
  for (const PlacedVisit& visit : lost) give_up(visit);
  if (claim_ && claim_->is_at(worker)) drop_claim();
  update_open(worker);
  for (std::uint32_t trial = 0; trial < trial_count(); ++trial) refresh_idle(trial);
  // What waited for that worker.
  idle_.for_each([&](std::uint32_t trial) { changed_trials_.set(trial); });
  for (const std::uint32_t trial : idle_teams_) changed_trials_.set(trial);
  return lost;
}

void OpenShop::begin(const PlacedVisit& visit) {
  OpenTrial& trial = trials_.at(visit.trial);
  require(is_idle(visit.trial), visit, " begins, but its trial is not idle");
  require(visit.epoch == trial.epoch && visit.visit == trial.visit, visit, " begins, but visit ", trial.visit,
          " of epoch ", trial.epoch, " is next");
  require(visit.partition < partitions() && trial.to_visit.test(visit.partition), visit,
          " begins, but that partition is not left");
  require(visit.size() == team_size(visit.trial, visit.partition), visit, " begins, but its team is to be of ",
          team_size(visit.trial, visit.partition));
  require(std::is_sorted(visit.others.begin(), visit.others.end(), std::less_equal<>()) &&
              !std::binary_search(visit.others.begin(), visit.others.end(), visit.worker),
          visit, " begins, but has a worker twice");
  for (const std::uint32_t worker : visit.members()) require_place(visit, worker);
  ++begun_;
  if (claim_ && claim_->trial == visit.trial) drop_claim();
  trial.under_way = visit;
  trial.last_at = visit.worker;
  trial.trained = false;
  occupy(visit, true);
  refresh_idle(visit.trial);
}

void OpenShop::require_place(const PlacedVisit& visit, std::uint32_t worker) const {
  const auto& at = homes(visit.partition);
  require(std::binary_search(at.begin(), at.end(), worker), visit, " begins, but worker ", worker, " is no home");
  const bool has_place =
      trials_[visit.trial].degree > 1 ? open_to_team(visit.trial, worker) : open(worker, Place::fetch);
  require(has_place, visit, " begins, but worker ", worker, " has no place");
}

void OpenShop::claim(const PlacedVisit& visit) {
  require(!claim_ && is_idle(visit.trial) && trials_[visit.trial].degree > 1, visit, " claims places, but may not");
  claim_ = visit;
  for (const std::uint32_t worker : visit.members()) update_open(worker);
}

void OpenShop::drop_claim() {
  const PlacedVisit claimed = *std::exchange(claim_, std::nullopt);
  for (const std::uint32_t worker : claimed.members()) update_open(worker);
}

std::uint32_t OpenShop::team_size(std::uint32_t number, std::uint32_t partition) const {
  const OpenTrial& trial = trials_.at(number);
  const auto& at = homes(partition);
  const auto living = static_cast<std::uint32_t>(
      std::count_if(at.begin(), at.end(), [&](std::uint32_t home) { return workers_[home].alive; }));
  if (trial.alone) return living > 0 ? 1 : 0;
  return living >= trial.degree ? trial.degree : trial.may_be_alone && let_alone_ && living > 0 ? 1 : 0;
}

bool OpenShop::open_to_team(std::uint32_t trial, std::uint32_t worker) const {
  const ShopWorker& at = workers_.at(worker);
  const bool claimed_by_others = is_claimed(worker) && claim_->trial != trial;
  return at.alive && !in_team_.test(worker) && !claimed_by_others && occupied_[worker] < at.slots;
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
  trial.alone = false;
  trial.holders = std::move(holders);
  put_in_order(visit.trial, false);
  trial.to_visit.reset(visit.partition);
  wanting_[visit.partition].reset(visit.trial);
  if (++trial.visit == trial.visits_per_epoch()) {
    ++trial.epoch;
    trial.visit = 0;
    trial.to_visit = trial.whole_epoch();
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
  const std::uint32_t taken = occupied_[worker] + (is_claimed(worker) ? 1 : 0);
  return at.alive && taken < at.slots + (place == Place::fetch ? at.lookahead : 0);
}

bool OpenShop::state_lives(const OpenTrial& trial) const {
  const auto lives = [&](std::uint32_t holder) { return workers_[holder].alive; };
  return trial.holders.empty() || std::any_of(trial.holders.begin(), trial.holders.end(), lives);
}

void OpenShop::refresh_idle(std::uint32_t number) {
  const OpenTrial& trial = trials_[number];
  const bool idle = !trial.done() && !trial.held && !trial.under_way && state_lives(trial);
  if (idle == is_idle(number)) return;
  if (idle) changed_trials_.set(number);
  if (trial.degree == 1) return idle_.put(number, idle);
  if (idle) {
    trials_[number].turn = begun_ + idle_.count() + idle_teams_.size();
    idle_teams_.push_back(number);
  } else {
    std::erase(idle_teams_, number);
    if (claim_ && claim_->trial == number) drop_claim();
  }
}

bool OpenShop::is_idle(std::uint32_t number) const {
  return idle_.test(number) || std::find(idle_teams_.begin(), idle_teams_.end(), number) != idle_teams_.end();
}

void OpenShop::occupy(const PlacedVisit& visit, bool more) {
  const double visit_s = trials_[visit.trial].visit_s;
  for (const std::uint32_t worker : visit.members()) {
    occupied_[worker] += more ? 1 : -1;
    queued_s_[worker] = occupied_[worker] == 0 ? 0 : queued_s_[worker] + (more ? visit_s : -visit_s);
    if (visit.size() > 1) in_team_.put(worker, more);
    if (!more) changed_workers_.set(worker);
    update_open(worker);
  }
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
                      trial.visits_per_epoch(), ", ", trial.visit_s, " s each, held by");
    for (const std::uint32_t holder : trial.holders) page += text::cat(' ', holder);
    if (trial.under_way) page += text::cat(trial.trained ? ", commits " : ", trains ", *trial.under_way);
    if (trial.degree > 1) page += text::cat(", a team of ", trial.degree);
    page += trial.held ? ", held back\n" : shop.is_idle(t) ? ", idle\n" : "\n";
  }
  if (shop.claim()) page += text::cat("places are kept for ", *shop.claim(), '\n');
  return page;
}

}  // namespace hopyard
