#include "hopper/stale_server.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/clock.h"
#include "base/text.h"

namespace hopyard {
namespace {

constexpr std::chrono::milliseconds kLookAgain{20};  // whether it was broken off

}  // namespace

StaleServer::StaleServer(std::shared_ptr<ServedState> state, std::uint32_t members, double wait_s)
    : state_(std::move(state)), wait_s_(wait_s), members_(members) {}

void StaleServer::require_whole() const {
  const std::lock_guard lock(broken_mutex_);
  if (broken_) throw ExchangeBroken(*broken_);
}

template <class Condition>
void StaleServer::await(std::unique_lock<std::mutex>& lock, const Condition& holds) {
  const double until_s = monotonic_seconds() + wait_s_;
  while (!changed_.wait_for(lock, kLookAgain, holds)) {
    if (monotonic_seconds() > until_s) break_off(text::cat("a member has not come within ", wait_s_, " s"));
    require_whole();
  }
}

void StaleServer::begin(std::uint32_t member, const StepReport& report) {
  const std::lock_guard lock(mutex_);
  require_whole();
  Member& from = members_[member];
  if (steps_.size() <= from.steps) steps_.resize(from.steps + 1);
  Step& step = steps_[from.steps];
  if (step.losses.empty()) step.losses.resize(std::size_t{2} * report.micro_batches);
  const std::size_t begin = std::size_t{2} * report.own.begin;
  if (step.losses.size() != std::size_t{2} * report.micro_batches || report.own.begin > report.own.end ||
      report.own.end > report.micro_batches || report.losses.size() != std::size_t{2} * report.own.count())
    throw ExchangeBroken(text::cat("member ", member, " has another batch in mind at step ", from.steps + 1));
  if (step.begun++ > 0 && step.last != report.last)
    throw ExchangeBroken(text::cat("member ", member, " has another number of steps in mind than ", from.steps + 1));
  step.last = report.last;
  std::copy(report.losses.begin(), report.losses.end(), step.losses.begin() + static_cast<std::ptrdiff_t>(begin));
  from.last = report.last;
}

void StaleServer::add(std::uint32_t member, std::size_t part, std::size_t first, std::span<const float> gradients) {
  const std::lock_guard lock(mutex_);
  require_whole();
  const auto sum = state_->gradients(members_[member].steps, part).subspan(first, gradients.size());
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradients[i];
}

void StaleServer::complete_steps() {
  while (!diverged_ && updates_ < steps_.size() && steps_[updates_].given == members_.size()) {
    double loss = 0;
    for (std::size_t i = 0; i < steps_[updates_].losses.size(); i += 2) loss += steps_[updates_].losses[i];
    if (std::isfinite(loss))
      state_->update(updates_++);
    else
      diverged_ = updates_;
  }
}

ServerEnd::Answer StaleServer::end(std::uint32_t member) {
  std::unique_lock lock(mutex_);
  require_whole();
  Member& from = members_[member];
  ++steps_[from.steps].given;
  ++from.steps;
  complete_steps();
  changed_.notify_all();
  await(lock, [&] { return diverged_ || updates_ + (from.last ? 0 : state_->staleness()) >= from.steps; });
  if (diverged_) return {false, diverged_};
  const bool newer = updates_ > from.has || from.last;
  from.has = updates_;
  return {newer, std::nullopt};
}

void StaleServer::read(Served what, std::size_t part, std::size_t first, std::span<float> to) {
  const std::lock_guard lock(mutex_);
  require_whole();
  const auto from = state_->values(what, part).subspan(first, to.size());
  std::copy(from.begin(), from.end(), to.begin());
}

std::vector<std::vector<double>> StaleServer::losses() {
  const std::lock_guard lock(mutex_);
  require_whole();
  std::vector<std::vector<double>> all;
  for (const Step& step : steps_) all.push_back(step.losses);
  return all;
}

void StaleServer::leave(std::uint32_t member) {
  const std::lock_guard lock(mutex_);
  members_[member].left = true;
  changed_.notify_all();
}

void StaleServer::await_others(std::uint32_t member) {
  std::unique_lock lock(mutex_);
  await(lock, [&] { return only_one_left(member); });
}

bool StaleServer::only_one_left(std::uint32_t member) const {
  for (std::uint32_t m = 0; m < members_.size(); ++m)
    if (m != member && !members_[m].left) return false;
  return true;
}

void StaleServer::break_off(const std::string& reason) {
  const std::lock_guard lock(broken_mutex_);
  if (!broken_) broken_ = reason;
}

}  // namespace hopyard
