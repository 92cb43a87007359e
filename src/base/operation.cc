#include "base/operation.h"

#include <algorithm>

#include "base/text.h"

namespace hopyard {

namespace {

constexpr OperationVerb kVerbs[] = {OperationVerb::stop, OperationVerb::resume, OperationVerb::clone,
                                    OperationVerb::set,  OperationVerb::pause,  OperationVerb::go_on,
                                    OperationVerb::ask,  OperationVerb::finish};

}  // namespace

std::string to_string(OperationVerb verb) {
  switch (verb) {
    case OperationVerb::stop:
      return "stop";
    case OperationVerb::resume:
      return "resume";
    case OperationVerb::clone:
      return "clone";
    case OperationVerb::set:
      return "set";
    case OperationVerb::pause:
      return "pause";
    case OperationVerb::go_on:
      return "continue";
    case OperationVerb::ask:
      return "ask";
    case OperationVerb::finish:
      return "finish";
  }
  return "?";
}

std::optional<OperationVerb> parse_operation_verb(const std::string& word) {
  for (const auto verb : kVerbs)
    if (to_string(verb) == word) return verb;
  return std::nullopt;
}

const std::vector<std::string>& paths_in_flight() {
  static const std::vector<std::string> paths{
      "model.adapter.dropout",  "train.optimizer.layer_decay",  "model.dropout",         "train.clip_norm",
      "train.micro_batch_size", "train.optimizer.beta1",        "train.optimizer.beta2", "train.optimizer.eps",
      "train.optimizer.lr",     "train.optimizer.weight_decay", "train.optimizer.decay", "train.schedule.type",
      "train.schedule.warmup"};
  return paths;
}

bool changes_in_flight(const std::string& path) {
  const auto& paths = paths_in_flight();
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

std::vector<Setting> with_changes(std::vector<Setting> settings, const std::vector<Setting>& changes) {
  for (const auto& change : changes) {
    const auto known =
        std::find_if(settings.begin(), settings.end(), [&](const auto& one) { return one.path == change.path; });
    if (known == settings.end())
      settings.push_back(change);
    else
      known->value = change.value;
  }
  return settings;
}

std::vector<Setting> settings_after(const TrialSpec& spec, const std::vector<Operation>& operations,
                                    std::uint32_t visits, std::uint64_t before) {
  std::vector<Setting> settings = spec.settings;
  for (const auto& operation : operations) {
    const bool counts = operation.request.verb == OperationVerb::set && operation.request.trial == spec.id &&
                        !operation.refused() && operation.at_visits <= visits;
    if (counts && (before == 0 || operation.number < before))
      settings = with_changes(std::move(settings), operation.request.changes);
  }
  return settings;
}

std::string changes_text(const std::vector<Setting>& changes) {
  std::vector<std::string> parts;
  for (const auto& change : changes) parts.push_back(change.path + "=" + to_string(change.value));
  return text::join(parts, " ");
}

}  // namespace hopyard
