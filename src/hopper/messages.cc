#include "hopper/messages.h"

#include <type_traits>

#include "formats/json.h"
#include "hopper/message_values.h"

namespace hopyard {

// Each struct lists its fields once, for both directions (message_values.h).

template <class Form>
void list(Form& form, Setting& setting) {
  form("path", setting.path);
  form("value", setting.value);
}

template <class Form>
void list(Form& form, Lineage& lineage) {
  form("parent", lineage.parent);
  form("epochs", lineage.epochs);
}

template <class Form>
void list(Form& form, Replicate& replicate) {
  form("group", replicate.group);
  form("seed", replicate.seed);
  form("resample", replicate.resample);
  form("row_group", replicate.row_group);
}

template <class Form>
void list(Form& form, TrialSpec& spec) {
  form("id", spec.id);
  form("index", spec.index);
  form("seed", spec.seed);
  form("settings", spec.settings);
  form("lineage", spec.lineage);
  form("replicate", spec.replicate);
}

template <class Form>
void list(Form& form, TrialScore& score) {
  form("trial", score.trial);
  form("epoch", score.epoch);
  form("train_loss", score.train_loss);
  form("valid_loss", score.valid_loss);
  form("metric", score.metric);
  form("digest", score.digest);
}

template <class Form>
void list(Form& form, VisitCommit& commit) {
  form("trial", commit.trial);
  form("epoch", commit.epoch);
  form("visit", commit.visit);
  form("partition", commit.partition);
  form("steps", commit.steps);
  form("loss_sum", commit.loss_sum);
  form("loss_items", commit.loss_items);
  form("digest", commit.digest);
  form("score", commit.score);
  form("seconds", commit.seconds);
  form("skipped_steps", commit.skipped_steps);
}

template <class Form>
void list(Form& form, CurvePoint& point) {
  form("step", point.step);
  form("loss", point.loss);
}

template <class Form>
void list(Form& form, RowOutcomes& rows) {
  form("losses", rows.losses);
  form("correct", rows.correct);
  form("predicted", rows.predicted);
  form("width", rows.width);
  form("values", rows.values);
  form("labels", rows.labels);
  form("targets", rows.targets);
}

template <class Form>
void list(Form& form, JudgedPartition& one) {
  form("partition", one.partition);
  form("loss", one.judged.sums.loss);
  form("correct", one.judged.sums.correct);
  form("squared_error", one.judged.sums.squared_error);
  form("items", one.judged.sums.items);
  form("rows", one.judged.rows);
}

template <class Form>
void list(Form& form, HeldState& state) {
  form("trial", state.trial);
  form("visits", state.visits);
  form("digest", state.digest);
  form("blobs", state.blobs);
}

template <class Form>
void list(Form& form, WorkerId& worker) {
  form("rank", worker.rank);
  form("incarnation", worker.incarnation);
}

template <class Form>
void list(Form& form, Team& team) {
  form("number", team.number);
  form("members", team.members);
  form("member", team.member);
  form("sum", team.sum);
}

template <class Form>
void list(Form& form, Train& train) {
  form("number", train.number);
  form("spec", train.spec);
  form("settings", train.settings);
  form("visits", train.visits);
  form("digest", train.digest);
  form("partition", train.partition);
  form("evaluate", train.evaluate);
  form("judge_on", train.judge_on);
  form("steps", train.steps);
  form("loss_sum", train.loss_sum);
  form("loss_items", train.loss_items);
  form("team", train.team);
}

template <class Form>
void list(Form& form, Abandon& abandon) {
  form("trial", abandon.trial);
}

template <class Form>
void list(Form& form, Hop& hop) {
  form("number", hop.number);
  form("send", hop.send);
  form("peer", hop.peer);
  form("trial", hop.trial);
  form("visits", hop.visits);
  form("digest", hop.digest);
  form("blobs", hop.blobs);
  form("leaves", hop.leaves);
}

template <class Form>
void list(Form& form, Keep& keep) {
  form("trial", keep.trial);
  form("visits", keep.visits);
}

template <class Form>
void list(Form& form, CallOff& call_off) {
  form("number", call_off.number);
}

template <class Form>
void list(Form& form, Share& share) {
  form("parent", share.parent);
  form("clone", share.clone);
  form("visits", share.visits);
}

template <class Form>
void list(Form& form, Finish& finish) {
  form("interrupted", finish.interrupted);
}

template <class Form>
void list(Form& form, Hello& hello) {
  form("held", hello.held);
}

template <class Form>
void list(Form& form, Trained& trained) {
  form("number", trained.number);
  form("commit", trained.commit);
  form("blobs", trained.blobs);
  form("curve", trained.curve);
  form("rows", trained.rows);
}

template <class Form>
void list(Form& form, TrainedPart& part) {
  form("number", part.number);
  form("trial", part.trial);
  form("curve", part.curve);
  form("rows", part.rows);
}

template <class Form>
void list(Form& form, Evaluated& evaluated) {
  form("number", evaluated.number);
  form("trial", evaluated.trial);
  form("judged", evaluated.judged);
}

template <class Form>
void list(Form& form, Failed& failed) {
  form("number", failed.number);
  form("trial", failed.trial);
  form("sentence", failed.sentence);
  form("did_not_fit", failed.did_not_fit);
}

template <class Form>
void list(Form& form, Missing& missing) {
  form("number", missing.number);
  form("trial", missing.trial);
}

template <class Form>
void list(Form& form, Parted& parted) {
  form("number", parted.number);
  form("trial", parted.trial);
  form("sentence", parted.sentence);
}

template <class Form>
void list(Form& form, HopEnd& end) {
  form("number", end.number);
  form("sent", end.sent);
  form("digest", end.digest);
  form("error", end.error);
  form("link_broke", end.link_broke);
  form("no_link", end.no_link);
  form("seconds", end.seconds);
}

template <class Form>
void list(Form& form, DeviceAccount::Idle& idle) {
  form("cause", idle.cause);
  form("seconds", idle.seconds);
}

template <class Form>
void list(Form& form, DeviceAccount& device) {
  form("name", device.name);
  form("busy_s", device.busy_s);
  form("idle", device.idle);
  form("tasks", device.tasks);
  form("recorded_steps", device.recorded_steps);
  form("memory_budget", device.memory_budget);
  form("memory_peak", device.memory_peak);
  form("loaded", device.loaded);
  form("stored", device.stored);
}

template <class Form>
void list(Form& form, Account& account) {
  form("rows_read", account.rows_read);
  form("bytes_read", account.bytes_read);
  form("rows_judged", account.rows_judged);
  form("here_s", account.here_s);
  form("busy_s", account.busy_s);
  form("hop_s", account.hop_s);
  form("waited_s", account.waited_s);
  form("stored", account.stored);
  form("sent", account.sent);
  form("exchanged", account.exchanged);
  form("devices", account.devices);
}

template <class Form>
void list(Form& form, Progress::Visit& visit) {
  form("trial", visit.trial);
  form("fraction", visit.fraction);
  form("loss", visit.loss);
}

template <class Form>
void list(Form& form, Progress::Device& device) {
  form("name", device.name);
  form("task", device.task);
  form("busy_s", device.busy_s);
}

template <class Form>
void list(Form& form, Progress& progress) {
  form("visits", progress.visits);
  form("devices", progress.devices);
  form("so_far", progress.so_far);
}

template <class Form>
void list(Form& form, Broken& broken) {
  form("sentence", broken.sentence);
  form("code", broken.code);
}

namespace {

/// The one key of a message.
template <class Kind>
constexpr const char* kName = nullptr;
template <>
constexpr const char* kName<Train> = "train";
template <>
constexpr const char* kName<Abandon> = "abandon";
template <>
constexpr const char* kName<Hop> = "hop";
template <>
constexpr const char* kName<Keep> = "keep";
template <>
constexpr const char* kName<CallOff> = "call_off";
template <>
constexpr const char* kName<Share> = "share";
template <>
constexpr const char* kName<Finish> = "finish";
template <>
constexpr const char* kName<Hello> = "hello";
template <>
constexpr const char* kName<TrainedPart> = "trained_part";
template <>
constexpr const char* kName<Trained> = "trained";
template <>
constexpr const char* kName<Evaluated> = "evaluated";
template <>
constexpr const char* kName<Failed> = "failed";
template <>
constexpr const char* kName<Missing> = "missing";
template <>
constexpr const char* kName<Parted> = "parted";
template <>
constexpr const char* kName<HopEnd> = "hop_end";
template <>
constexpr const char* kName<Progress> = "progress";
template <>
constexpr const char* kName<Broken> = "broken";
template <>
constexpr const char* kName<Account> = "account";

void check(const auto&, const std::string&) {}

void check(const Train& train, const std::string& where) {
  if (!train.team) return;
  const Team& team = *train.team;
  if (team.members.size() < 2 || team.member >= team.members.size())
    fail(ExitCode::input, where, ": member ", team.member, " of a team of ", team.members.size());
}

// What a journal would call a broken contract.
void check(const std::vector<CurvePoint>& curve, const std::string& where) {
  for (std::size_t i = 1; i < curve.size(); ++i)
    if (curve[i].step <= curve[i - 1].step)
      fail(ExitCode::input, where, ": step ", curve[i].step, " of the curve is out of order");
}

void check(const RowOutcomes& rows, const std::string& where) {
  const auto& [losses, correct, predicted, width, values, labels, targets] = rows;
  const auto fits = [&](std::size_t count) { return count == 0 || count == losses.size(); };
  const bool whole = values.empty() || (losses.size() > 0 && values.size() / losses.size() == width &&
                                        values.size() % losses.size() == 0);
  if (!whole || !fits(correct.size()) || !fits(predicted.size()) || !fits(labels.size()) || !fits(targets.size()))
    fail(ExitCode::input, where, ": its lists are of different numbers of rows");
}

void check(const Evaluated& evaluated, const std::string& where) {
  for (const JudgedPartition& one : evaluated.judged) {
    if (one.judged.sums.items <= 0) fail(ExitCode::input, where, ": partition ", one.partition, " has no row");
    check(one.judged.rows, where);
  }
}

void check(const TrainedPart& part, const std::string& where) {
  check(part.curve, where);
  check(part.rows, where);
}

void check(const Trained& trained, const std::string& where) {
  const VisitCommit& commit = trained.commit;
  if (commit.score && commit.score->trial != commit.trial)
    fail(ExitCode::input, where, ": the score is another trial's");
  check(trained.curve, where);
  if (trained.rows) check(*trained.rows, where);
}

template <class... Kinds>
std::string encode_any(const std::variant<Kinds...>& message) {
  return std::visit(
      [](auto one) {
        const Json json{{kName<decltype(one)>, MessageWriter::write(one)}};
        return json.dump(-1, ' ', false, Json::error_handler_t::replace);
      },
      message);
}

template <class... Kinds>
void decode_any(const std::string& text, const std::string& from, std::variant<Kinds...>& message) {
  const Json json = parse_json(text, from);
  if (!json.is_object() || json.size() != 1) fail(ExitCode::input, from, ": must be one message under its kind");
  const std::string& name = json.begin().key();
  const auto take = [&]<class Kind>(std::type_identity<Kind>) {
    if (name != kName<Kind>) return false;
    const std::string where = text::cat(from, ": ", name);
    MessageReader::read(json.begin().value(), message.template emplace<Kind>(), where);
    check(std::get<Kind>(message), where);
    return true;
  };
  if (!(take(std::type_identity<Kinds>()) || ...)) fail(ExitCode::input, from, ": says what nobody expects here");
}

}  // namespace

std::string encode(const ToWorker& message) { return encode_any(message); }
std::string encode(const ToCoordinator& message) { return encode_any(message); }

ToWorker decode_to_worker(const std::string& text, const std::string& from) {
  ToWorker message;
  decode_any(text, from, message);
  return message;
}

ToCoordinator decode_to_coordinator(const std::string& text, const std::string& from) {
  ToCoordinator message;
  decode_any(text, from, message);
  return message;
}

}  // namespace hopyard
