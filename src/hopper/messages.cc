#include "hopper/messages.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "formats/json.h"

namespace hopyard {

namespace {

// Each struct lists its fields once; Writer and Reader go through the same list.

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
void list(Form& form, Train& train) {
  form("number", train.number);
  form("spec", train.spec);
  form("settings", train.settings);
  form("visits", train.visits);
  form("digest", train.digest);
  form("partition", train.partition);
  form("evaluate", train.evaluate);
  form("steps", train.steps);
  form("loss_sum", train.loss_sum);
  form("loss_items", train.loss_items);
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
void list(Form& form, Failed& failed) {
  form("number", failed.number);
  form("trial", failed.trial);
  form("visits", failed.visits);
  form("sentence", failed.sentence);
  form("did_not_fit", failed.did_not_fit);
}

template <class Form>
void list(Form& form, Missing& missing) {
  form("number", missing.number);
  form("trial", missing.trial);
}

template <class Form>
void list(Form& form, HopEnd& end) {
  form("number", end.number);
  form("sent", end.sent);
  form("digest", end.digest);
  form("error", end.error);
  form("seconds", end.seconds);
}

template <class Form>
void list(Form& form, Progress::Visit& visit) {
  form("trial", visit.trial);
  form("fraction", visit.fraction);
  form("loss", visit.loss);
}

template <class Form>
void list(Form& form, Progress& progress) {
  form("visits", progress.visits);
}

template <class Form>
void list(Form& form, Broken& broken) {
  form("sentence", broken.sentence);
  form("code", broken.code);
}

template <class Form>
void list(Form& form, Account& account) {
  form("rows_read", account.rows_read);
  form("bytes_read", account.bytes_read);
  form("busy_s", account.busy_s);
  form("hop_s", account.hop_s);
  form("waited_s", account.waited_s);
  form("stored", account.stored);
}

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
constexpr const char* kName<Trained> = "trained";
template <>
constexpr const char* kName<Failed> = "failed";
template <>
constexpr const char* kName<Missing> = "missing";
template <>
constexpr const char* kName<HopEnd> = "hop_end";
template <>
constexpr const char* kName<Progress> = "progress";
template <>
constexpr const char* kName<Broken> = "broken";
template <>
constexpr const char* kName<Account> = "account";

/// As JSON has them.
template <class T>
constexpr bool kPlain = std::is_same_v<T, bool> || std::is_same_v<T, std::int64_t> ||
                        std::is_same_v<T, std::uint64_t> || std::is_same_v<T, std::string>;

// A number that JSON has no word for is text: its bits. So are long lists of numbers: their bytes.

constexpr const char* kDigits = "0123456789abcdef";

std::string hex_of(const void* data, std::size_t bytes) {
  std::string text(2 * bytes, '0');
  const auto* from = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) {
    text[2 * i] = kDigits[from[i] >> 4];
    text[2 * i + 1] = kDigits[from[i] & 15];
  }
  return text;
}

/// False when the text is not of so many bytes.
bool bytes_of(const std::string& text, void* out, std::size_t bytes) {
  if (text.size() != 2 * bytes || text.find_first_not_of(kDigits) != text.npos) return false;
  const auto value = [](char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; };
  for (std::size_t i = 0; i < bytes; ++i)
    static_cast<unsigned char*>(out)[i] = static_cast<unsigned char>(value(text[2 * i]) << 4 | value(text[2 * i + 1]));
  return true;
}

class Writer {
 public:
  template <class T>
  void operator()(const char* key, T& value) {
    json_[key] = write(value);
  }
  Json take() { return std::move(json_); }

  template <class T>
  static Json write(T& value) {
    if constexpr (kPlain<T> || std::is_same_v<T, std::uint32_t>) {
      return value;
    } else {
      Writer fields;
      list(fields, value);
      return fields.take();
    }
  }
  static Json write(double& value) { return std::isfinite(value) ? Json(value) : Json(hex_of(&value, sizeof value)); }
  static Json write(Epochs& epochs) { return Json::array({epochs.count(), epochs.parts()}); }
  static Json write(ExitCode& code) { return static_cast<int>(code); }
  static Json write(SettingValue& value) {
    constexpr const char* kinds[] = {"flag", "whole", "real", "text"};
    return {{kinds[value.index()], std::visit([](auto& one) { return write(one); }, value)}};
  }
  static Json write(std::vector<HeldBlob>& blobs) {
    Json all = Json::array();
    for (const auto& blob : blobs) all.push_back({blob.blob, blob.bytes});
    return all;
  }
  static Json write(std::vector<float>& values) { return hex_of(values.data(), values.size() * sizeof(float)); }
  static Json write(std::vector<std::int64_t>& values) {
    return hex_of(values.data(), values.size() * sizeof(std::int64_t));
  }
  template <class T>
  static Json write(std::vector<T>& values) {
    Json all = Json::array();
    for (auto& value : values) all.push_back(write(value));
    return all;
  }
  template <class T>
  static Json write(std::optional<T>& value) {
    return value ? write(*value) : Json();
  }

 private:
  Json json_ = Json::object();
};

class Reader {
 public:
  Reader(const Json& json, const std::string& where) : json_(json), where_(where) {
    if (!json.is_object()) fail(ExitCode::input, where, ": must be an object");
  }
  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (kPlain<T>) {
      value = json_get<T>(json_, key, where_);
    } else {
      const auto found = json_.find(key);
      if (found == json_.end()) fail(ExitCode::input, where_, ": '", key, "' is missing");
      read(*found, value, text::cat(where_, ": '", key, "'"));
    }
    ++known_;
  }
  void expect_no_more() const {
    if (json_.size() != known_) fail(ExitCode::input, where_, ": has more than the ", known_, " fields known here");
  }

  template <class T>
  static void read(const Json& json, T& value, const std::string& where) {
    Reader fields(json, where);
    list(fields, value);
    fields.expect_no_more();
  }
  static void read(const Json& json, std::uint32_t& value, const std::string& where) {
    if (!json.is_number_unsigned() || json.get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max())
      fail(ExitCode::input, where, " must be a whole number below 2^32");
    value = json.get<std::uint32_t>();
  }
  static void read(const Json& json, double& value, const std::string& where) {
    if (json.is_number())
      value = json.get<double>();
    else if (!json.is_string() || !bytes_of(json.get_ref<const std::string&>(), &value, sizeof value))
      fail(ExitCode::input, where, " must be a number");
  }
  static void read(const Json& json, Epochs& epochs, const std::string& where) {
    std::uint32_t count = 0, parts = 0;
    if (json.is_array() && json.size() == 2) read(json[0], count, where), read(json[1], parts, where);
    if (parts == 0) fail(ExitCode::input, where, " must be a number of parts, and how many an epoch has");
    epochs = Epochs::of_visits(count, parts);
  }
  static void read(const Json& json, ExitCode& code, const std::string& where) {
    std::uint32_t number = 0;
    read(json, number, where);
    if (number > static_cast<std::uint32_t>(ExitCode::interrupted))
      fail(ExitCode::input, where, ": there is no exit code ", number);
    code = static_cast<ExitCode>(number);
  }
  static void read(const Json& json, SettingValue& value, const std::string& where) {
    if (!json.is_object() || json.size() != 1) fail(ExitCode::input, where, " must be one value and its type");
    const auto& type = json.begin().key();
    if (type == "flag")
      value = json_get<bool>(json, "flag", where);
    else if (type == "whole")
      value = json_get<std::int64_t>(json, "whole", where);
    else if (type == "real")
      read(json.begin().value(), value.emplace<double>(), where);
    else if (type == "text")
      value = json_get<std::string>(json, "text", where);
    else
      fail(ExitCode::input, where, " has a type that nobody knows here");
  }
  static void read(const Json& json, std::vector<HeldBlob>& blobs, const std::string& where) {
    constexpr Bytes kBytesMax = std::numeric_limits<std::int64_t>::max();
    Bytes all = 0;
    for (const Json& one : items(json, where)) {
      if (!one.is_array() || one.size() != 2 || !one[1].is_number_unsigned())
        fail(ExitCode::input, where, " must be pairs of a blob and its bytes");
      HeldBlob& blob = blobs.emplace_back();
      read(one[0], blob.blob, where);
      blob.bytes = one[1].get<Bytes>();
      if (blobs.size() > 1 && blobs[blobs.size() - 2].blob >= blob.blob)
        fail(ExitCode::input, where, ": blob ", blob.blob, " is out of order");
      if (blob.bytes > kBytesMax - all) fail(ExitCode::input, where, ": more bytes than there can be");
      all += blob.bytes;
    }
  }
  static void read(const Json& json, std::vector<float>& values, const std::string& where) {
    read_packed(json, values, where);
  }
  static void read(const Json& json, std::vector<std::int64_t>& values, const std::string& where) {
    read_packed(json, values, where);
  }
  template <class T>
  static void read(const Json& json, std::vector<T>& values, const std::string& where) {
    for (const Json& one : items(json, where)) read(one, values.emplace_back(), where);
  }
  template <class T>
  static void read(const Json& json, std::optional<T>& value, const std::string& where) {
    if (!json.is_null()) read(json, value.emplace(), where);
  }

 private:
  static const Json& items(const Json& json, const std::string& where) {
    if (!json.is_array()) fail(ExitCode::input, where, " must be a list");
    return json;
  }
  template <class T>
  static void read_packed(const Json& json, std::vector<T>& values, const std::string& where) {
    if (json.is_string()) {
      const auto& text = json.get_ref<const std::string&>();
      values.resize(text.size() / (2 * sizeof(T)));
      if (bytes_of(text, values.data(), values.size() * sizeof(T))) return;
    }
    fail(ExitCode::input, where, " must be the bytes of numbers in hexadecimal digits");
  }

  const Json& json_;
  const std::string& where_;
  std::size_t known_ = 0;
};

void check(const auto&, const std::string&) {}

/// What a journal would call a broken contract.
void check(const Trained& trained, const std::string& where) {
  const VisitCommit& commit = trained.commit;
  if (commit.score && commit.score->trial != commit.trial)
    fail(ExitCode::input, where, ": the score is another trial's");
  for (std::size_t i = 1; i < trained.curve.size(); ++i)
    if (trained.curve[i].step <= trained.curve[i - 1].step)
      fail(ExitCode::input, where, ": step ", trained.curve[i].step, " of the curve is out of order");
  if (!trained.rows) return;
  const auto& [losses, correct, predicted, width, values, labels, targets] = *trained.rows;
  const auto fits = [&](std::size_t count) { return count == 0 || count == losses.size(); };
  const bool whole = values.empty() || (losses.size() > 0 && values.size() / losses.size() == width &&
                                        values.size() % losses.size() == 0);
  if (!whole || !fits(correct.size()) || !fits(predicted.size()) || !fits(labels.size()) || !fits(targets.size()))
    fail(ExitCode::input, where, ": its lists are of different numbers of rows");
}

template <class... Kinds>
std::string encode_any(const std::variant<Kinds...>& message) {
  return std::visit(
      [](auto one) {
        const Json json{{kName<decltype(one)>, Writer::write(one)}};
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
    Reader::read(json.begin().value(), message.template emplace<Kind>(), where);
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
