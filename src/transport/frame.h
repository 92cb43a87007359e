// What lies in the store's queues: small, tagged, and taken from nobody without the secret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "transport/open.h"

namespace hopyard {

/// Longer messages travel as several frames; the store refuses values beyond 8 MiB.
constexpr Bytes kMaxFrameBody = 1 * MiB;

struct Frame {
  enum class Kind : std::uint8_t {
    join = 1,  ///< body: see JoinRequest; sequence 0
    accept,    ///< body: the joiner's mailbox
    refuse,    ///< body: why. The one kind that is read without a right tag: who was refused may not know the secret
    part,      ///< of a message that goes on
    message,   ///< a message, or the end of one
    beat,
    pulse,  ///< the coordinator's beat
    leave,
    expel  ///< body: why
  };
  Kind kind = Kind::beat;
  WorkerId worker;             ///< from or to whom
  std::uint64_t sequence = 0;  ///< of messages: without gaps from 1, each way; of beats: rising
  std::string body;
  bool operator==(const Frame&) const = default;
};

/// Who opens frames: tags cover the challenge and the way, so that nothing can be said again in another session or
/// be sent back.
class FrameSeal {
 public:
  enum class Way : std::uint8_t { to_coordinator = 1, to_worker = 2 };
  FrameSeal(const Membership& membership, const std::string& challenge)
      : secret_(membership.secret), hash_(membership.hash), challenge_(challenge) {}
  std::string seal(const Frame& frame, Way way) const;
  /// Nothing where the bytes are no frame or the tag is wrong.
  std::optional<Frame> open(std::string_view bytes, Way way) const;
  /// The frame whatever its tag says; nothing where the bytes are no frame.
  static std::optional<Frame> open_unchecked(std::string_view bytes);

 private:
  std::string tag(std::string_view content, Way way) const;
  std::string secret_;
  KeyedHash hash_;
  std::string challenge_;
};

/// What a joiner says of itself.
struct JoinRequest {
  std::uint32_t rank = 0, world_size = 1;
  std::string version, experiment;
  std::string mailbox;  ///< a nonce: the name of the queue that it will read
  bool operator==(const JoinRequest&) const = default;
};
std::string encode(const JoinRequest& request);
std::optional<JoinRequest> decode_join(std::string_view bytes);

/// Why a joiner is turned away; nothing when it may come in. `tag_is_right`: of the frame that brought the request.
std::optional<std::string> refusal_of(const JoinRequest& request, bool tag_is_right, const Membership& membership,
                                      std::uint32_t world_size);

}  // namespace hopyard
