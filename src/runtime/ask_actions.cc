// `hopyard ask` and `hopyard tell`: somebody else's optimizer drives a search, and hears what came of it.
#include <algorithm>
#include <iostream>

#include "base/clock.h"
#include "report/json_fields.h"
#include "report/table.h"
#include "runtime/actions.h"
#include "runtime/recorded_run.h"
#include "runtime/sqlite_record.h"
#include "runtime/steering_service.h"

namespace hopyard {

namespace {

constexpr double kAnswerSeconds = 30;
constexpr double kLookSeconds = 0.05;  // between looks at the journal

[[noreturn]] void refuse_without_process(const RunPaths& paths) {
  const auto journal = journal_of(paths);
  if (journal->fact("finished"))
    fail(ExitCode::usage, paths.root, ": the run has ended, and nothing can be asked of it any more");
  fail(ExitCode::interrupted, paths.root,
       ": no process trains it now, and trials get their ids from one; let it go on with `hopyard run` and ask again");
}

/// What is told of a trial, and until which epoch.
struct Told {
  SearchSpec search;
  TrialSpec spec;
  std::uint32_t epochs = 0;       ///< the most that it gets
  std::uint32_t asked_until = 0;  ///< by the requests, where trials are requested
  std::uint32_t epoch = 0;        ///< whose score is wanted
};

Told what_to_tell(const RunPaths& paths, const TellRequest& request) {
  const ExperimentConfig config = recorded_config(paths);
  const auto journal = journal_of(paths);
  const auto operations = journal->operations();
  Told told;
  told.search = config.search;
  told.spec = find_trial(journal->trials(), request.trial, paths).spec;
  TrialSpec in_force = told.spec;
  in_force.settings = settings_after(told.spec, operations, ~0u);
  told.epochs = told.asked_until = resolve_trial(config, in_force).train.epochs;
  for (const auto& one : operations) {
    const bool of_this = one.request.trial == request.trial || one.clone == request.trial;
    if (one.request.verb == OperationVerb::ask && of_this && !one.refused())
      told.asked_until = one.request.epochs > 0 ? one.request.epochs : told.epochs;
  }
  told.epoch = request.epoch > 0 ? request.epoch : told.asked_until;
  if (told.epoch > told.epochs)
    fail(ExitCode::usage, "--epoch: ", request.trial, " has ", told.epochs, " epochs, and ", told.epoch,
         " is none of them");
  if (told.epoch > told.asked_until)
    fail(ExitCode::usage, "--epoch: ", request.trial, " was asked for to epoch ", told.asked_until,
         "; ask for more with `hopyard ask ", paths.root, " --trial=", request.trial, " --epochs=", told.epoch, "`");
  return told;
}

const TrialScore* score_of(const TrialStanding& standing, std::uint32_t epoch) {
  const auto found = std::find_if(standing.scores.begin(), standing.scores.end(),
                                  [&](const TrialScore& score) { return score.epoch == epoch; });
  return found == standing.scores.end() ? nullptr : &*found;
}

/// How it stands when there is nothing more to wait for, or the time is over. After a trial's last score comes its end.
TrialStanding wait_for(const RunPaths& paths, const Told& told, double wait_s) {
  const auto record = open_record(paths.journal(), true);
  const double deadline = monotonic_seconds() + wait_s;
  while (true) {
    auto standing = record->standing(told.spec.id);
    require(standing.has_value(), paths.root, " has lost trial ", told.spec.id);
    const bool there =
        told.epoch < told.epochs && !standing->scores.empty() && standing->scores.back().epoch >= told.epoch;
    const double left = deadline - monotonic_seconds();
    if (there || standing->state > TrialState::active || left <= 0) return std::move(*standing);
    sleep_seconds(std::min(left, kLookSeconds));
  }
}

Json json_of(const Told& told, const TrialStanding& standing) {
  Json scores = Json::array();
  for (const auto& score : standing.scores)
    scores.push_back({{"epoch", score.epoch},
                      {"value", score.metric},
                      {"train_loss", score.train_loss},
                      {"valid_loss", score.valid_loss},
                      {"digest", score.digest}});
  const TrialScore* wanted = score_of(standing, told.epoch);
  return {{"trial", told.spec.id},
          {"state", to_string(standing.state)},
          {"reason", standing.reason},
          {"settings", settings_json(told.spec.settings)},
          {"epochs_done", standing.scores.empty() ? Epochs() : standing.scores.back().epoch},
          {"asked_until", told.asked_until},
          {"epochs", told.epochs},
          {"metric", told.search.metric},
          {"goal", told.search.maximize ? "max" : "min"},
          {"epoch", told.epoch},
          {"value", wanted == nullptr ? Json() : Json(wanted->metric)},
          {"scores", std::move(scores)}};
}

std::string table_of(const Told& told, const TrialStanding& standing) {
  const Epochs done = standing.scores.empty() ? 0 : standing.scores.back().epoch;
  const bool ended = standing.state > TrialState::active;
  std::string out = text::cat(
      told.spec.id, ": ", to_string(standing.state), standing.reason.empty() ? "" : ", " + standing.reason, "; ", done,
      " of ", told.epochs, " epochs",
      ended || told.asked_until == told.epochs ? "" : text::cat(", asked for to epoch ", told.asked_until), "\n");
  Table table({{"epoch", Align::right},
               {"train/loss", Align::right},
               {"valid/loss", Align::right},
               {told.search.metric, Align::right},
               {"digest"}});
  for (const auto& score : standing.scores)
    table.add_row({to_string(score.epoch), text::format_number(score.train_loss, 4),
                   text::format_number(score.valid_loss, 4), text::format_number(score.metric, 4), score.digest});
  if (!table.empty()) out += table.to_text();
  if (!ended && done < told.epoch) out += text::cat("the score of epoch ", told.epoch, " is not there yet\n");
  return out;
}

}  // namespace

ExitCode ask_run(const AskRequest& request, TableFormat format) {
  refuse_csv(format, "an answer");
  const RunPaths paths(request.directory);
  const ExperimentConfig config = recorded_config(paths);
  if (config.search.method != SearchSpec::Method::external)
    fail(ExitCode::usage, request.directory, ": this run chooses its trials itself; trials are asked for where the ",
         "config says search: {method: external}");
  ChannelRequest asked;
  asked.verb = request.finish ? "finish" : "ask";
  asked.arguments = operation_arguments({request.trial, request.set, false, request.reason, request.epochs});
  operation_request(asked);  // refuses here what no run would take
  auto answer = ask_owner(request.directory, {{"verb", asked.verb}, {"arguments", asked.arguments}}, kAnswerSeconds);
  if (!answer) refuse_without_process(paths);
  const Json taken = accepted(std::move(*answer), request.directory);
  if (format == TableFormat::json)
    std::cout << dump_json({{"trial", taken.at("trial")}, {"boundary", taken.at("boundary")}}, 2) << '\n';
  else
    for (const auto& line : taken.at("lines")) std::cout << line.get<std::string>() << '\n';
  return ExitCode::done;
}

ExitCode tell_trial(const TellRequest& request, TableFormat format) {
  refuse_csv(format, "a trial");
  const RunPaths paths(request.directory);
  const Told told = what_to_tell(paths, request);
  const TrialStanding standing = wait_for(paths, told, request.wait_s);
  if (format == TableFormat::json)
    std::cout << dump_json(json_of(told, standing), 2) << '\n';
  else
    std::cout << table_of(told, standing);
  return ExitCode::done;
}

}  // namespace hopyard
