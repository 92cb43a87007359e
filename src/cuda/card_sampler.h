// Asks the driver every so often how the cards of a run are doing.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/trace.h"
#include "cuda/card_condition.h"
#include "cuda/card_watch.h"

namespace hopyard {

/// A card of the run.
struct SampledCard {
  std::string device;  ///< "cuda:0", as tracks are named
  std::string bus_id;
};

/// Samples all cards on a thread of its own until stop(), with the first sample at once. What changed goes to the trace
/// as counts. One thread.
class CardSampler {
 public:
  /// `trace` outlives it.
  CardSampler(std::unique_ptr<const CardWatch> watch, std::vector<SampledCard> cards, double every_s,
              TraceRecorder& trace);
  ~CardSampler();
  CardSampler(const CardSampler&) = delete;

  /// Takes a last sample. Of each card, in the order given. Calls after the first return the same.
  std::vector<CardCondition> stop();

 private:
  /// What samples of one card add up to.
  struct Sums;

  void run();
  void sample_all();

  const std::unique_ptr<const CardWatch> watch_;
  const std::vector<SampledCard> cards_;
  const double every_s_;
  TraceRecorder& trace_;

  std::mutex mutex_;  // guards stopping_
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<Sums> sums_;  // by card; of the thread, and of stop() once that has ended
  std::thread thread_;
};

}  // namespace hopyard
