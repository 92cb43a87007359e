// `hopyard VERB …`: takes the command line apart, runs the verb, and turns what was thrown into a sentence and an exit
// code.
#include <gflags/gflags.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <new>

#include "base/log.h"
#include "cli/verbs.h"

namespace hopyard {
namespace {

std::vector<std::string> names_of(const std::vector<Verb>& verbs) {
  std::vector<std::string> names;
  for (const auto& verb : verbs) names.push_back(verb.name);
  return names;
}

const Verb& find_verb(const std::string& word) {
  for (const auto& verb : verbs())
    if (verb.name == word) return verb;
  const std::string near = text::nearest(word, names_of(verbs()));
  fail(ExitCode::usage, "'", word, "' is no verb", near.empty() ? "" : "; did you mean '" + near + "'?",
       " `hopyard` alone lists them");
}

void set_flag(const Verb& verb, const std::string& name, const std::string& value) {
  if (std::find(verb.options.begin(), verb.options.end(), name) == verb.options.end()) {
    const std::string near = text::nearest(name, verb.options);
    fail(ExitCode::usage, "--", name, ": `hopyard ", verb.name, "` has no such option",
         near.empty() ? "" : "; did you mean --" + near + "?");
  }
  if (gflags::SetCommandLineOption(name.c_str(), value.c_str()).empty())
    fail(ExitCode::usage, "--", name, ": '", value, "' is no value for it");
}

bool is_switch(const std::string& name) {
  gflags::CommandLineFlagInfo info;
  return gflags::GetCommandLineFlagInfo(name.c_str(), &info) && info.type == "bool";
}

/// Both --name=value and --name value. gflags keeps only the last of a repeated flag, so --set is taken here.
Arguments take_apart(const Verb& verb, const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--")) {
      arguments.positional.push_back(words[i]);
      continue;
    }
    const auto equals = words[i].find('=');
    const std::string name = words[i].substr(2, equals == std::string::npos ? equals : equals - 2);
    std::string value = equals == std::string::npos ? "" : words[i].substr(equals + 1);
    if (equals == std::string::npos && is_switch(name))
      value = "true";
    else if (equals == std::string::npos) {
      if (i + 1 == words.size()) fail(ExitCode::usage, "--", name, ": a value is missing");
      value = words[++i];
    }
    const bool takes_set = std::find(verb.options.begin(), verb.options.end(), "set") != verb.options.end();
    if (name == "set" && takes_set) {
      const auto split = value.find('=');
      if (split == std::string::npos || split == 0)
        fail(ExitCode::usage, "--set: '", value, "' is not PATH=VALUE, for example train.epochs=2");
      arguments.set.emplace_back(value.substr(0, split), value.substr(split + 1));
    } else {
      set_flag(verb, name, value);
    }
  }
  if (arguments.positional.size() != verb.positional)
    fail(ExitCode::usage, "usage: hopyard ", verb.name, " ", verb.usage);
  return arguments;
}

ExitCode run(const std::vector<std::string>& words) {
  const auto asks_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (words.empty() || asks_help(words[0]) || words[0] == "help") {
    std::cout << overview();
    return ExitCode::done;
  }
  const Verb& verb = find_verb(words[0]);
  if (std::any_of(words.begin() + 1, words.end(), asks_help)) {
    std::cout << help_of(verb);
    return ExitCode::done;
  }
  return verb.act(take_apart(verb, {words.begin() + 1, words.end()}));
}

int guarded(int argc, char** argv) {
  try {
    return static_cast<int>(run({argv + 1, argv + argc}));
  } catch (const Failure& failure) {
    std::cerr << "hopyard: " << failure.what() << '\n';
    return static_cast<int>(failure.code());
  } catch (const std::filesystem::filesystem_error& error) {
    const bool full = error.code() == std::errc::no_space_on_device;
    std::cerr << "hopyard: " << error.path1().string() << ": " << error.code().message() << "; "
              << (full ? "free some space" : "see that the path is right and that you may use it") << '\n';
    return static_cast<int>(full ? ExitCode::capacity : ExitCode::input);
  } catch (const std::bad_alloc&) {
    std::cerr << "hopyard: the machine has no memory left; lower resources.host_memory or stop other programs\n";
    return static_cast<int>(ExitCode::capacity);
  } catch (const std::exception& error) {
    std::cerr << "hopyard: unexpected: " << error.what() << "\nThis is a fault of Hopyard's; please report it.\n";
    return static_cast<int>(ExitCode::internal);
  }
}

}  // namespace
}  // namespace hopyard

int main(int argc, char** argv) {
  hopyard::log::start(argv[0], false);
  return hopyard::guarded(argc, argv);
}
