// The `model` section of a config.
#include <algorithm>

#include "base/text.h"
#include "runtime/config_sections.h"

namespace hopyard {

namespace {

constexpr std::int64_t kCountMax = 1'000'000;

bool is_share(double value) { return value >= 0 && value < 1; }
constexpr const char* kShare = "a number from 0 to below 1";

/// A list of names, or one text with commas between them, which can be searched; nothing for the word.
std::vector<std::string> read_names(const ValueReader& value, const char* word, const char* example) {
  std::vector<std::string> names;
  if (value.node().kind == YamlNode::Kind::list) {
    for (const auto& item : value.list()) names.push_back(item.text());
  } else {
    for (const auto& part : text::split(value.text(), ',')) {
      const auto begin = part.find_first_not_of(' ');
      names.push_back(begin == part.npos ? "" : part.substr(begin, part.find_last_not_of(' ') + 1 - begin));
    }
  }
  if (names == std::vector<std::string>{word}) return {};
  if (names.empty() || std::find(names.begin(), names.end(), "") != names.end())
    value.refuse(text::cat("must be a list of names, or a text with commas between them: ", example));
  return names;
}

void read_lora(MapReader& map, AdapterSpec& adapter) {
  if (const auto value = map.find("from"); value && !value->is_word(kNone)) adapter.from = value->text();
  if (const auto value = map.find("rank"); value && !value->is_word(kAuto)) adapter.rank = value->whole(1, kCountMax);
  if (const auto value = map.find("alpha"); value && !value->is_word(kAuto))
    adapter.alpha = value->number([](double x) { return x > 0; }, "a number above 0");
  if (const auto value = map.find("dropout"); value && !value->is_word(kAuto))
    adapter.dropout = value->number(is_share, kShare);
  if (const auto value = map.find("targets"))
    adapter.targets = read_names(*value, kAuto, "[query, value], \"query, value\", attention, all or auto");
}

AdapterSpec read_adapter(MapReader map) {
  using Kind = AdapterSpec::Kind;
  AdapterSpec adapter;
  if (const auto value = map.find("type"))
    adapter.kind = value->word<Kind>({{"none", Kind::none}, {"lora", Kind::lora}, {"bottleneck", Kind::bottleneck}});
  const std::string advice = "; where model.adapter.type is searched, write {choice: […], when: {model.adapter.type: ";
  if (adapter.kind == Kind::lora)
    read_lora(map, adapter);
  else
    for (const char* key : {"from", "rank", "alpha", "dropout", "targets"})
      map.forbid(key, "belongs to type: lora" + advice + "lora}}");
  if (adapter.kind == Kind::bottleneck) {
    if (const auto value = map.find("size")) adapter.size = value->whole(1, kCountMax);
  } else {
    map.forbid("size", "belongs to type: bottleneck" + advice + "bottleneck}}");
  }
  map.finish();
  return adapter;
}

}  // namespace

ModelSpec read_model(MapReader map) {
  ModelSpec model;
  model.checkpoint = map.at("checkpoint").text();
  std::vector<std::pair<std::string, ModelTask>> tasks;
  for (const ModelTask task : {ModelTask::sequence_classification, ModelTask::causal_lm, ModelTask::regression})
    tasks.emplace_back(to_string(task), task);
  model.task = map.at("task").word(tasks);
  if (const auto value = map.find("freeze")) model.freeze = value->whole(0, kCountMax);
  if (const auto value = map.find("frozen_dropout")) model.frozen_dropout = value->boolean();
  if (const auto value = map.find("train_only"))
    model.train_only = read_names(*value, kAll, "[bias, classifier], \"bias, classifier\" or all");
  if (const auto value = map.find("init"))
    model.from_scratch = value->word<bool>({{"checkpoint", false}, {"scratch", true}});
  if (const auto value = map.find("reinit_layers")) {
    model.reinit_layers = value->whole(0, kCountMax);
    if (model.from_scratch && model.reinit_layers > 0)
      value->refuse(
          text::cat("= ", model.reinit_layers, " belongs to init: checkpoint; from scratch all layers begin anew"));
  }
  if (const auto value = map.find("pooling"))
    model.pooling = value->word<Pooling>({{"cls", Pooling::cls}, {"mean", Pooling::mean}, {"max", Pooling::max}});
  if (const auto value = map.find("head"))
    model.head =
        value->word<HeadKind>({{"pooler", HeadKind::pooler}, {"linear", HeadKind::linear}, {"mlp", HeadKind::mlp}});
  model.adapter = read_adapter(map.section("adapter"));
  if (const auto value = map.find("dropout"); value && !value->is_word(kAuto))
    model.overrides.emplace_back("dropout", value->number(is_share, kShare));
  map.finish();
  return model;
}

}  // namespace hopyard
