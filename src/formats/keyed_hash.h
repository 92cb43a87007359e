// A hash that nobody can compute without the key: who has the secret of an experiment may speak in it.
#pragma once

#include <string>
#include <string_view>

namespace hopyard {

/// HMAC-SHA256 (RFC 2104): 32 bytes. Any thread.
std::string keyed_hash(std::string_view key, std::string_view bytes);

}  // namespace hopyard
