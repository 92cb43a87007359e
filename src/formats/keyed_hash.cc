#include "formats/keyed_hash.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/failure.h"

namespace hopyard {

std::string keyed_hash(std::string_view key, std::string_view bytes) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  require(HMAC(EVP_sha256(), key.empty() ? "" : key.data(), static_cast<int>(key.size()), data, bytes.size(), hash,
               &length) != nullptr,
          "libcrypto computes no HMAC-SHA256");
  return std::string(reinterpret_cast<const char*>(hash), length);
}

}  // namespace hopyard
