#include "cuda/card_sampler.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/clock.h"
#include "base/thread_name.h"

namespace hopyard {

namespace {

/// Of a value that is not always told.
class Statistic {
 public:
  void add(std::optional<double> value) {
    if (!value) return;
    least_ = count_ == 0 ? *value : std::min(least_, *value);
    most_ = count_ == 0 ? *value : std::max(most_, *value);
    sum_ += *value;
    ++count_;
  }
  std::optional<double> mean() const { return told(sum_ / static_cast<double>(count_)); }
  std::optional<double> least() const { return told(least_); }
  std::optional<double> most() const { return told(most_); }

 private:
  std::optional<double> told(double value) const { return count_ == 0 ? std::nullopt : std::optional(value); }

  double sum_ = 0, least_ = 0, most_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace

struct CardSampler::Sums {
  std::uint64_t samples = 0;
  Statistic sm_mhz, power_w, celsius, memory_used;
  std::optional<double> energy_before_j, energy_j, sm_mhz_max, power_limit_w;  // as told first, and last
  std::optional<Bytes> memory;
  std::map<std::string, std::uint64_t> slowed_by;  // samples
  std::map<std::string, double> shown;             // what the trace says at last

  void add(const CardState& state) {
    ++samples;
    sm_mhz.add(state.sm_mhz);
    power_w.add(state.power_w);
    celsius.add(state.celsius);
    memory_used.add(state.memory_used);
    if (!energy_before_j) energy_before_j = state.energy_j;
    const auto keep = [](auto& last, const auto& told) {
      if (told) last = told;
    };
    keep(energy_j, state.energy_j);
    keep(sm_mhz_max, state.sm_mhz_max);
    keep(power_limit_w, state.power_limit_w);
    keep(memory, state.memory);
    for (const auto& reason : state.slowed_by) ++slowed_by[reason];
  }

  CardCondition condition() const {
    CardCondition card;
    card.samples = samples;
    card.sm_mhz_mean = sm_mhz.mean();
    card.sm_mhz_least = sm_mhz.least();
    card.sm_mhz_max = sm_mhz_max;
    card.power_w_mean = power_w.mean();
    card.power_w_peak = power_w.most();
    card.power_limit_w = power_limit_w;
    if (energy_before_j && energy_j) card.energy_j = *energy_j - *energy_before_j;
    card.celsius_peak = celsius.most();
    if (const auto most = memory_used.most()) card.memory_peak = static_cast<Bytes>(*most);
    card.memory = memory;
    for (const auto& [reason, count] : slowed_by)
      card.slowed_by.emplace_back(reason, static_cast<double>(count) / static_cast<double>(samples));
    return card;
  }
};

CardSampler::CardSampler(std::unique_ptr<const CardWatch> watch, std::vector<SampledCard> cards, double every_s,
                         TraceRecorder& trace)
    : watch_(std::move(watch)), cards_(std::move(cards)), every_s_(every_s), trace_(trace), sums_(cards_.size()) {
  thread_ = std::thread([this] { run(); });
}

CardSampler::~CardSampler() { stop(); }

void CardSampler::run() {
  name_thread("card samples");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    sample_all();
    lock.lock();
    changed_.wait_for(lock, std::chrono::duration<double>(every_s_), [&] { return stopping_; });
  }
}

void CardSampler::sample_all() {
  for (std::size_t i = 0; i < cards_.size(); ++i) {
    const CardState state = watch_->state(cards_[i].bus_id);
    const double now_s = monotonic_seconds();
    sums_[i].add(state);
    const auto show = [&](const char* what, const std::optional<double>& value) {
      if (!value) return;
      const auto [shown, is_new] = sums_[i].shown.try_emplace(what, *value);
      if (!is_new && shown->second == *value) return;
      shown->second = *value;
      trace_.add(TraceCount{trace_.track(cards_[i].device + "/compute"), what, now_s, *value});
    };
    show("SM clock, MHz", state.sm_mhz);
    show("power, W", state.power_w);
    show("temperature, °C", state.celsius);
    if (state.memory_used) show("memory used, MiB", static_cast<double>(*state.memory_used) / MiB);
  }
}

std::vector<CardCondition> CardSampler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) {
    thread_.join();
    sample_all();
  }
  std::vector<CardCondition> cards;
  for (const auto& sums : sums_) cards.push_back(sums.condition());
  return cards;
}

}  // namespace hopyard
