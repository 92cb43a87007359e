#include "base/nonce.h"

#include <sys/random.h>

#include "base/failure.h"
#include "base/hex.h"

namespace hopyard {

std::string random_hex(std::size_t bytes) {
  require(bytes <= 256, "a nonce of ", bytes, " bytes: getrandom gives 256 at once");
  std::string raw(bytes, '\0'), hex;
  require(::getrandom(raw.data(), bytes, 0) == static_cast<ssize_t>(bytes), "getrandom gave fewer than ", bytes,
          " bytes");
  for (const unsigned char byte : raw) append_hex(hex, byte, 2);
  return hex;
}

}  // namespace hopyard
