#include "formats/keyed_hash.h"

#include <gtest/gtest.h>

namespace hopyard {
namespace {

std::string hex(const std::string& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

TEST(KeyedHash, IsThatOfRfc4231) {
  EXPECT_EQ(hex(keyed_hash(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(keyed_hash("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(keyed_hash(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(KeyedHash, AnyKeyAndAnyBytesWillDo) {
  EXPECT_EQ(keyed_hash("", "").size(), 32u);
  EXPECT_NE(keyed_hash("key", std::string_view("a\0b", 3)), keyed_hash("key", "a"));
}

}  // namespace
}  // namespace hopyard
