#include "transport/frame.h"

#include <algorithm>
#include <cstring>

#include "base/failure.h"

namespace hopyard {
namespace {

constexpr std::string_view kMagic = "HYF1";
constexpr std::size_t kMinTag = 8, kMaxTag = 64;
constexpr std::size_t kMaxJoinText = 256;
constexpr char kPartEnd = ';';  // of what workers have in common

template <class Number>
void put(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}

// Takes values from the front; `ok` turns false for good when there are too few bytes.
struct Taker {
  std::string_view left;
  bool ok = true;

  std::string_view bytes(std::size_t count) {
    ok = ok && count <= left.size();
    if (!ok) return {};
    const auto taken = left.substr(0, count);
    left.remove_prefix(count);
    return taken;
  }
  template <class Number>
  Number number() {
    Number value{};
    const auto taken = bytes(sizeof value);
    if (ok) std::memcpy(&value, taken.data(), sizeof value);
    return value;
  }
  std::string text(std::size_t limit) {
    const auto size = number<std::uint32_t>();
    ok = ok && size <= limit;
    return std::string(bytes(ok ? size : 0));
  }
};

// magic, kind, rank, incarnation, sequence, body: all that the tag covers.
std::string content_of(const Frame& frame) {
  std::string out(kMagic);
  put(out, static_cast<std::uint8_t>(frame.kind));
  put(out, frame.worker.rank);
  put(out, frame.worker.incarnation);
  put(out, frame.sequence);
  put_text(out, frame.body);
  return out;
}

struct Parsed {
  Frame frame;
  std::string_view content, tag;
};

std::optional<Parsed> parse(std::string_view bytes) {
  Taker taker{bytes};
  Parsed parsed;
  if (taker.bytes(kMagic.size()) != kMagic) return std::nullopt;
  const auto kind = taker.number<std::uint8_t>();
  parsed.frame.kind = static_cast<Frame::Kind>(kind);
  parsed.frame.worker.rank = taker.number<std::uint32_t>();
  parsed.frame.worker.incarnation = taker.number<std::uint64_t>();
  parsed.frame.sequence = taker.number<std::uint64_t>();
  parsed.frame.body = taker.text(kMaxFrameBody);
  parsed.content = bytes.substr(0, bytes.size() - taker.left.size());
  parsed.tag = taker.bytes(taker.number<std::uint8_t>());
  const bool known =
      kind >= static_cast<std::uint8_t>(Frame::Kind::join) && kind <= static_cast<std::uint8_t>(Frame::Kind::expel);
  if (!taker.ok || !taker.left.empty() || !known) return std::nullopt;
  return parsed;
}

// In a time that does not tell where they differ.
bool equal(std::string_view a, std::string_view b) {
  unsigned difference = a.size() != b.size();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

std::string FrameSeal::tag(std::string_view content, Way way) const {
  std::string covered;
  covered.reserve(challenge_.size() + content.size() + 8);
  put(covered, static_cast<std::uint8_t>(way));
  put_text(covered, challenge_);
  covered.append(content);
  std::string tag = hash_(secret_, covered);
  require(tag.size() >= kMinTag && tag.size() <= kMaxTag, "the keyed hash gave ", tag.size(), " bytes");
  return tag;
}

std::string FrameSeal::seal(const Frame& frame, Way way) const {
  require(frame.body.size() <= kMaxFrameBody, "a frame of ", frame.body.size(), " bytes");
  std::string bytes = content_of(frame);
  const std::string tag_bytes = tag(bytes, way);
  put(bytes, static_cast<std::uint8_t>(tag_bytes.size()));
  return bytes + tag_bytes;
}

std::optional<Frame> FrameSeal::open(std::string_view bytes, Way way) const {
  auto parsed = parse(bytes);
  if (!parsed || !equal(parsed->tag, tag(parsed->content, way))) return std::nullopt;
  return std::move(parsed->frame);
}

std::optional<Frame> FrameSeal::open_unchecked(std::string_view bytes) {
  auto parsed = parse(bytes);
  if (!parsed) return std::nullopt;
  return std::move(parsed->frame);
}

std::string encode(const JoinRequest& request) {
  std::string out;
  put(out, request.rank);
  put(out, request.world_size);
  for (const auto* text : {&request.version, &request.experiment, &request.mailbox}) put_text(out, *text);
  return out;
}

std::optional<JoinRequest> decode_join(std::string_view bytes) {
  Taker taker{bytes};
  JoinRequest request;
  request.rank = taker.number<std::uint32_t>();
  request.world_size = taker.number<std::uint32_t>();
  for (auto* text : {&request.version, &request.experiment, &request.mailbox}) *text = taker.text(kMaxJoinText);
  if (!taker.ok || !taker.left.empty() || request.mailbox.empty()) return std::nullopt;
  return request;
}

namespace {

/// Of the parts of `one` those that `other` does not have.
std::string differing(const std::string& one, const std::string& other) {
  const auto others = text::split(other, kPartEnd);
  std::vector<std::string> parts;
  for (const auto& part : text::split(one, kPartEnd))
    if (std::find(others.begin(), others.end(), part) == others.end()) parts.push_back(part);
  return parts.empty() ? "nothing else" : text::join(parts, ", ");
}

}  // namespace

std::optional<std::string> refusal_of(const JoinRequest& request, bool tag_is_right, const Membership& membership,
                                      std::uint32_t world_size) {
  if (request.version != membership.version) {
    return text::cat("it runs version ", request.version, " and the coordinator version ", membership.version);
  }
  if (!tag_is_right) return "its secret is another than the coordinator's";
  if (request.experiment != membership.experiment) {
    return text::cat("its experiment is another one: it has ", differing(request.experiment, membership.experiment),
                     ", and the coordinator ", differing(membership.experiment, request.experiment));
  }
  if (request.world_size != world_size) {
    return text::cat("it was started as one of ", request.world_size, " workers and the coordinator as one of ",
                     world_size);
  }
  if (request.rank >= world_size) return text::cat("it has rank ", request.rank, " of ", world_size, " workers");
  return std::nullopt;
}

}  // namespace hopyard
