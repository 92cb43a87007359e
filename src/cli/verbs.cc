#include "cli/verbs.h"

#include <gflags/gflags.h>

#include "runtime/actions.h"

DEFINE_string(dir, "", "run directory; runs/NAME by default");
DEFINE_bool(fresh, false, "move an old run aside and start anew");
DEFINE_string(format, "table", "table, json or csv");
DEFINE_string(trial, "", "id of a trial, as the leaderboard prints it");
DEFINE_bool(members, false, "single trials, also where they form groups");
DEFINE_string(out, "", "folder to write");
DEFINE_bool(trials, false, "list the trials that would run, and plan nothing");
DEFINE_string(replay, "", "run directory whose decisions are repeated, whatever the scores");
DEFINE_string(reason, "", "why, for the journal");
DEFINE_bool(warm, false, "the clone goes on from its parent's state at an epoch's end");
DEFINE_uint32(count, 0, "screens to show; by default one, and on a terminal until the run ends");
DEFINE_uint32(epochs, 0, "that the trial is to have behind it; all that it has by default");
DEFINE_bool(finish, false, "nothing more is asked for: the run ends when what was asked for has ended");
DEFINE_uint32(epoch, 0, "whose score is wanted; by default the last one that was asked for");
DEFINE_string(wait, "0s", "waits so long at most for that score or the end of the trial");
DEFINE_string(group_by, "", "column whose equal values stay together in one partition");
DEFINE_uint32(into, 0, "partitions to cut the data into: as many as workers, or a multiple");
DEFINE_uint64(seed, 0, "the rows are shuffled by it; give the seed of your config");
DEFINE_bool(merge, false, "add a LoRA trial's change to the weights: a Hugging Face folder instead of a PEFT one");

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
  if (option == "count" || option == "epochs" || option == "epoch" || option == "seed") return "N";
  if (option == "wait") return "TIME";
  if (option == "into") return "P";
  if (option == "group-by") return "COLUMN";
  return "DIR";
}

std::string describe_option(const std::string& option) {
  if (option == "set") return "  --set=PATH=VALUE  changes a value of the config; may be given several times\n";
  gflags::CommandLineFlagInfo info;
  gflags::GetCommandLineFlagInfo(option.c_str(), &info);
  const std::string head = "  --" + option + (info.type == "bool" ? "" : std::string("=") + value_word(option));
  return head + std::string(head.size() < 20 ? 20 - head.size() : 1, ' ') + info.description + "\n";
}

double wait_flag() {
  const auto seconds = text::parse_duration(FLAGS_wait);
  if (!seconds) fail(ExitCode::usage, "--wait: '", FLAGS_wait, "' is no time, for example 30s or 10min");
  return *seconds;
}

ExitCode steer(const char* verb, const Arguments& arguments) {
  return steer_experiment({verb, arguments.positional[0], FLAGS_trial, FLAGS_reason, arguments.set, FLAGS_warm});
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
       "DIR [--members] [--format=table|json|csv]",
       "prints the trials of a run, or its groups, best first, and which cannot be told apart from the best",
       "hopyard leaderboard runs/debian-sections --format=csv",
       {"members", "format"},
       1,
       [](const Arguments& a) { return print_leaderboard(a.positional[0], format_flag(), FLAGS_members); }},
      {"analyse",
       "DIR [--format=table|json]",
       "says how sure the leaderboard is: intervals, bias and variance, noise in the data, what choosing flatters",
       "hopyard analyse runs/debian-sections",
       {"format"},
       1,
       [](const Arguments& a) { return print_analysis(a.positional[0], format_flag()); }},
      {"export",
       "DIR --trial=ID --out=DIR [--merge]",
       "writes a trial as a Hugging Face folder, or a LoRA trial as a PEFT folder",
       "hopyard export runs/debian-sections --trial=t04 --out=best",
       {"trial", "out", "merge"},
       1,
       [](const Arguments& a) {
         return export_trial(a.positional[0], needed(FLAGS_trial, "trial"), needed(FLAGS_out, "out"), FLAGS_merge);
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
      {"status",
       "DIR [--format=table|json]",
       "prints trials, devices, tiers and what people asked for, of a run that goes on or that stands still",
       "hopyard status runs/debian-sections",
       {"format"},
       1,
       [](const Arguments& a) { return print_status(a.positional[0], format_flag()); }},
      {"top",
       "DIR [--count=N]",
       "shows the same once a second",
       "hopyard top runs/debian-sections",
       {"count"},
       1,
       [](const Arguments& a) { return show_top(a.positional[0], FLAGS_count); }},
      {"ask",
       "DIR --set PATH=VALUE … | --trial=ID | --finish  [--epochs=N] [--reason=TEXT] [--format=table|json]",
       "asks a run with search: {method: external} for a trial, or for more epochs of one, as your own optimizer says",
       "hopyard ask runs/mine --set train.optimizer.lr=3e-5 --set model.freeze=4 --epochs=1",
       {"set", "trial", "epochs", "finish", "reason", "format"},
       1,
       [](const Arguments& a) {
         return ask_run({a.positional[0], FLAGS_trial, FLAGS_reason, a.set, FLAGS_epochs, FLAGS_finish}, format_flag());
       }},
      {"tell",
       "DIR --trial=ID [--epoch=N] [--wait=TIME] [--format=table|json]",
       "has the run tell how a trial stands and what it scored, and waits for it",
       "hopyard tell runs/mine --trial=t0003 --epoch=1 --wait=10min --format=json",
       {"trial", "epoch", "wait", "format"},
       1,
       [](const Arguments& a) {
         return tell_trial({a.positional[0], needed(FLAGS_trial, "trial"), FLAGS_epoch, wait_flag()}, format_flag());
       }},
      {"stop",
       "DIR --trial=ID [--reason=TEXT]",
       "ends a trial at its next task; what it has committed stays",
       "hopyard stop runs/debian-sections --trial=t03 --reason=diverges",
       {"trial", "reason"},
       1,
       [](const Arguments& a) { return steer("stop", a); }},
      {"resume",
       "DIR --trial=ID [--reason=TEXT]",
       "lets a stopped trial go on from what it has committed",
       "hopyard resume runs/debian-sections --trial=t03",
       {"trial", "reason"},
       1,
       [](const Arguments& a) { return steer("resume", a); }},
      {"clone",
       "DIR --trial=ID --set PATH=VALUE … [--warm] [--reason=TEXT]",
       "makes a trial that is another one with other values, from the beginning or from its state",
       "hopyard clone runs/debian-sections --trial=t03 --set train.optimizer.lr=1e-5 --warm",
       {"trial", "set", "warm", "reason"},
       1,
       [](const Arguments& a) { return steer("clone", a); }},
      {"set",
       "DIR --trial=ID --set PATH=VALUE … [--reason=TEXT]",
       "changes values of a trial while it trains, at the end of its sub-epoch",
       "hopyard set runs/debian-sections --trial=t03 --set train.optimizer.lr=1e-5",
       {"trial", "set", "reason"},
       1,
       [](const Arguments& a) { return steer("set", a); }},
      {"pause",
       "DIR [--trial=ID] [--reason=TEXT]",
       "holds the experiment, or one trial, at the end of the sub-epoch",
       "hopyard pause runs/debian-sections",
       {"trial", "reason"},
       1,
       [](const Arguments& a) { return steer("pause", a); }},
      {"continue",
       "DIR [--trial=ID] [--reason=TEXT]",
       "lets what was paused go on",
       "hopyard continue runs/debian-sections",
       {"trial", "reason"},
       1,
       [](const Arguments& a) { return steer("continue", a); }},
      {"partition",
       "DATA --into=P --out=DIR [--seed=N] [--group-by=COLUMN]",
       "shuffles a data folder once and cuts it into disjoint parts, so that each worker needs only its own",
       "hopyard partition data/sections/train --into=4 --out=data/sections/train-4 --seed=17",
       {"into", "out", "seed", "group-by"},
       1,
       [](const Arguments& a) {
         if (FLAGS_into == 0) fail(ExitCode::usage, "--into is missing, or 0");
         return partition_data({.data = a.positional[0],
                                .into = FLAGS_into,
                                .out = needed(FLAGS_out, "out"),
                                .seed = FLAGS_seed,
                                .group_by = FLAGS_group_by});
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
