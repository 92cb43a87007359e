#include "journal_bench.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>

#include "base/clock.h"
#include "base/failure.h"
#include "base/files.h"
#include "base/rng.h"
#include "experiment/journaled_search.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;
using Method = SearchSpec::Method;

constexpr const char* kFolder = "build/bench_journal";
constexpr std::uint32_t kUnderWay = 8;      // orders at a time
constexpr std::uint32_t kBlobs = 16;        // of a trial's state: parameters and moments of a MiniLM's layers
constexpr std::uint32_t kCurvePoints = 16;  // of a visit
constexpr std::uint32_t kEpochsMax = 9;

std::vector<Dimension> space() {
  using Kind = Dimension::Kind;
  return {{"train.optimizer.lr", Kind::loguniform, {}, 1e-6, 1e-2},
          {"train.optimizer.weight_decay", Kind::uniform, {}, 0, 0.1},
          {"model.dropout", Kind::uniform, {}, 0, 0.5},
          {"model.freeze", Kind::integer, {}, 0, 7},
          {"train.schedule.type", Kind::choice, {std::string("constant"), std::string("linear")}}};
}

SearchSpec search_of(Method method, std::uint32_t trials) {
  SearchSpec search;
  search.method = method;
  search.trials = trials;
  search.max_epochs = method == Method::asha ? kEpochsMax : 1;
  search.metric = "valid/loss";
  search.maximize = false;
  return search;
}

/// What an order still has to train.
struct UnderWay {
  TrialSpec trial;
  std::uint32_t epoch = 0;  // finished
  Epochs until;             // wanted
};

/// The loop without its training: what each sub-epoch adds to the journal and asks of the search, timed.
class Loop {
 public:
  Loop(Method method, std::uint32_t trials, Journal& journal)
      : max_epochs_(search_of(method, trials).max_epochs),
        searcher_(make_searcher(search_of(method, trials), space(), 5)),
        search_(*searcher_, journal),
        journal_(journal) {}

  /// Seconds of each sub-epoch, and how many trials were known by then.
  std::vector<std::pair<double, std::uint32_t>> run() {
    std::vector<std::pair<double, std::uint32_t>> times;
    ask();
    while (!under_way_.empty()) {
      UnderWay one = std::move(under_way_.front());
      under_way_.pop_front();
      const double begin = monotonic_seconds();
      train(one);
      ask();
      times.emplace_back(monotonic_seconds() - begin, known_);
    }
    return times;
  }

 private:
  void train(UnderWay& one) {
    VisitCommit commit;
    commit.trial = one.trial.id;
    commit.epoch = one.epoch++;
    commit.steps = std::uint64_t{kCurvePoints} * one.epoch;
    commit.loss_sum = commit.loss_items = 1;
    commit.digest = "00112233445566778899aabbccddeeff";
    for (std::uint32_t blob = 0; blob < kBlobs; ++blob) commit.state.push_back({blob, ++version_});
    const std::uint64_t key = derive(one.trial.seed, one.epoch);
    commit.score =
        TrialScore{one.trial.id, one.epoch, 1, 1, static_cast<double>(key % 1000) / one.epoch, commit.digest};
    std::vector<CurvePoint> curve;
    for (std::uint32_t i = 0; i < kCurvePoints; ++i) curve.push_back({commit.steps - kCurvePoints + i, 0.5});
    journal_.commit(commit, curve);
    search_.tell(*commit.score);
    if (one.epoch == max_epochs_) {
      journal_.end_trial(one.trial.id, TrialState::finished, "");
      search_.tell_end(one.trial.id, TrialState::finished);
    } else if (one.epoch < one.until) {
      under_way_.push_back(std::move(one));
    } else {
      epochs_[one.trial.id] = one.epoch;
    }
  }

  void ask() {
    while (const auto stop = search_.take_stop()) journal_.end_trial(stop->trial, TrialState::stopped, stop->reason);
    while (under_way_.size() < kUnderWay) {
      auto order = search_.ask();
      if (!order) return;
      if (order->trial.index == known_) {
        journal_.add_trial(order->trial);
        ++known_;
      }
      const std::uint32_t done = epochs_[order->trial.id];
      under_way_.push_back({std::move(order->trial), done, order->until_epoch.value_or(max_epochs_)});
    }
  }

  const std::uint32_t max_epochs_;
  const std::unique_ptr<Searcher> searcher_;
  JournaledSearch search_;
  Journal& journal_;
  std::deque<UnderWay> under_way_;
  std::map<std::string, std::uint32_t> epochs_;  // of paused trials
  std::uint32_t known_ = 0;
  std::uint64_t version_ = 0;
};

/// Of a record as large as a commit's, appended to a file: what one transaction cannot be cheaper than.
double sync_ms() {
  const std::string path = text::cat(kFolder, "/yardstick");
  constexpr int kTimes = 50;
  const double begin = monotonic_seconds();
  for (int i = 0; i < kTimes; ++i) write_file_atomically(path, std::string(4096, 'x'));
  return (monotonic_seconds() - begin) / kTimes * 1e3;
}

double take_up_s(Method method, std::uint32_t trials, Journal& journal) {
  const double begin = monotonic_seconds();
  const auto searcher = make_searcher(search_of(method, trials), space(), 5);
  JournaledSearch search(*searcher, journal);
  search.take_up(
      journal.trials(), [](const TrialOrder&) {}, [](const TrialStop&) {});
  return monotonic_seconds() - begin;
}

BenchRow measure(const char* name, Method method, std::uint32_t trials) {
  fs::remove_all(kFolder);
  fs::create_directories(kFolder);
  const std::string path = text::cat(kFolder, "/journal.sqlite");
  const double sync = sync_ms();
  auto times = Loop(method, trials, *open_journal(path, false)).run();
  const double resume_s = take_up_s(method, trials, *open_journal(path, false));
  double all = 0;
  for (const auto& [seconds, known] : times) all += seconds;
  // What grows with the number of trials has grown by now.
  std::vector<double> full;
  for (const auto& [seconds, known] : times)
    if (known * 10 >= trials * 9) full.push_back(seconds * 1e3);
  std::sort(full.begin(), full.end());
  double mean = 0;
  for (const double ms : full) mean += ms / static_cast<double>(full.size());
  const auto bytes = static_cast<Bytes>(fs::file_size(path));
  fs::remove_all(kFolder);
  return {name,
          mean,
          "ms",
          5,
          1,
          true,
          text::cat("mean from the ", trials * 9 / 10, "th trial on; median ",
                    text::format_number(full[full.size() / 2], 2), ", 99 % below ",
                    text::format_number(full[full.size() * 99 / 100], 2), " ms; over all ", times.size(),
                    " sub-epochs ", text::format_number(all / static_cast<double>(times.size()) * 1e3, 2),
                    " ms; one durable file here ", text::format_number(sync, 2), " ms; journal ",
                    text::format_bytes(bytes), ", taken up in ", text::format_number(resume_s, 2), " s")};
}

}  // namespace

std::vector<BenchRow> bench_journal(const BenchScale& scale) {
  const std::uint32_t trials = scale.quick ? 40 : 1000;
  return {measure("journal and search per sub-epoch, 1,000 trials, asha", Method::asha, trials),
          measure("journal and search per sub-epoch, 1,000 trials, tpe", Method::tpe, trials)};
}

}  // namespace hopyard
