#include "cli/verbs.h"

#include <gflags/gflags.h>

#include "runtime/actions.h"

DEFINE_string(dir, "", "run directory; runs/NAME by default");
DEFINE_bool(fresh, false, "move an old run aside and start anew");
DEFINE_string(format, "table", "table, json or csv");
DEFINE_string(trial, "", "id of a trial, as the leaderboard prints it");
DEFINE_string(out, "", "folder to write");
DEFINE_bool(trials, false, "list the trials that would run, and plan nothing");
DEFINE_string(replay, "", "run directory whose decisions are repeated, whatever the scores");
DEFINE_string(reason, "", "why, for the journal");

namespace hopyard {

namespace {

TableFormat format_flag() {
  const auto format = parse_table_format(FLAGS_format);
  if (!format) fail(ExitCode::usage, "--format: '", FLAGS_format, "' is none of table, json, csv");
  return *format;
}

std::string needed(const std::string& value, const char* option) {
  if (value.empty()) fail(ExitCode::usage, "--", option, " is missing");
  return value;
}

const char* value_word(const std::string& option) {
  if (option == "trial") return "ID";
  if (option == "format") return "FORMAT";
  if (option == "reason") return "TEXT";
  return "DIR";
}

std::string describe_option(const std::string& option) {
  if (option == "set") return "  --set=PATH=VALUE  changes a value of the config; may be given several times\n";
  gflags::CommandLineFlagInfo info;
  gflags::GetCommandLineFlagInfo(option.c_str(), &info);
  const std::string head = "  --" + option + (info.type == "bool" ? "" : std::string("=") + value_word(option));
  return head + std::string(head.size() < 20 ? 20 - head.size() : 1, ' ') + info.description + "\n";
}

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all{
      {"run",
       "CONFIG.yaml [--dir=DIR] [--set PATH=VALUE …] [--fresh] [--replay=DIR]",
       "trains the trials of a config to the end; the same command goes on after a crash",
       "hopyard run examples/debian-sections.yaml --set train.epochs=2",
       {"dir", "fresh", "set", "replay"},
       1,
       [](const Arguments& a) {
         return run_experiment({a.positional[0], FLAGS_dir, a.set, FLAGS_fresh, FLAGS_replay});
       }},
      {"plan",
       "CONFIG.yaml|DIR [--trials] [--set PATH=VALUE …] [--format=table|json]",
       "says what a run will do and cost before it trains; of a run directory, beside what was measured",
       "hopyard plan examples/debian-sections.yaml --trials",
       {"trials", "format", "set"},
       1,
       [](const Arguments& a) {
         return FLAGS_trials ? print_trials(a.positional[0], a.set, format_flag())
                             : print_plan(a.positional[0], a.set, format_flag());
       }},
      {"leaderboard",
       "DIR [--format=table|json|csv]",
       "prints the trials of a run, best first",
       "hopyard leaderboard runs/debian-sections --format=csv",
       {"format"},
       1,
       [](const Arguments& a) { return print_leaderboard(a.positional[0], format_flag()); }},
      {"export",
       "DIR --trial=ID --out=DIR",
       "writes a trial as a Hugging Face folder",
       "hopyard export runs/debian-sections --trial=t04 --out=best",
       {"trial", "out"},
       1,
       [](const Arguments& a) {
         return export_trial(a.positional[0], needed(FLAGS_trial, "trial"), needed(FLAGS_out, "out"));
       }},
      {"test",
       "DIR [--trial=ID] [--reason=TEXT] [--set PATH=VALUE …]",
       "evaluates a trial, by default the best, on data.test, and records who looked",
       "hopyard test runs/debian-sections --reason='for the paper'",
       {"trial", "reason", "set"},
       1,
       [](const Arguments& a) {
         return test_trial({a.positional[0], FLAGS_trial, FLAGS_reason, a.set});
       }},
      {"reproduce",
       "DIR --trial=ID [--dir=DIR] [--set PATH=VALUE …] [--fresh]",
       "trains one trial again, alone and with its lineage, and compares digests",
       "hopyard reproduce runs/debian-sections --trial=t04",
       {"trial", "dir", "fresh", "set"},
       1,
       [](const Arguments& a) {
         return reproduce_trial({a.positional[0], needed(FLAGS_trial, "trial"), FLAGS_dir, a.set, FLAGS_fresh});
       }},
      {"doctor",
       "",
       "says what was found on this machine and what to do about what was not",
       "hopyard doctor",
       {},
       0,
       [](const Arguments&) { return print_doctor(); }}};
  return all;
}

std::string overview() {
  std::string page = "Hopyard trains many models, each larger than a device, at once.\n\n";
  for (const auto& verb : verbs())
    page += "  hopyard " + verb.name + std::string(12 - verb.name.size(), ' ') + verb.summary + "\n";
  return page +
         "\n`hopyard VERB --help` says more. Exit codes: 0 done, 1 unexpected, 2 usage or config, 3 bad input files,\n"
         "4 does not fit or no space left, 5 interrupted and resumable.\n";
}

std::string help_of(const Verb& verb) {
  std::string page = "hopyard " + verb.name + " " + verb.usage + "\n\n" + verb.summary + "\n\n";
  for (const auto& option : verb.options) page += describe_option(option);
  return page + (verb.options.empty() ? "" : "\n") + "Example: " + verb.example + "\n";
}

}  // namespace hopyard
