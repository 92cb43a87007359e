// The verbs of the command line: what each is called with, says of itself, and does.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/failure.h"

namespace hopyard {

/// A command line taken apart. Options that a verb does not know are errors.
struct Arguments {
  std::vector<std::string> positional;
  std::vector<std::pair<std::string, std::string>> set;  ///< --set path=value, in order
};

struct Verb {
  std::string name, usage, summary, example;
  std::vector<std::string> options;  ///< gflags that it takes, without dashes; "set" among them
  std::size_t positional = 0;        ///< how many it needs
  ExitCode (*act)(const Arguments& arguments);
};

const std::vector<Verb>& verbs();
/// The list of all verbs, and one verb's page.
std::string overview();
std::string help_of(const Verb& verb);

}  // namespace hopyard
