// A worker in a process of its own (transport_child), to kill and to stop.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <string>
#include <vector>

#include "base/failure.h"

extern char** environ;

namespace hopyard {

class ChildProcess {
 public:
  /// Runs transport_child with these arguments.
  explicit ChildProcess(const std::vector<std::string>& arguments) {
    const std::string program = HOPYARD_BINARY "/tests/transport/transport_child";
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    require(::posix_spawn(&pid_, program.c_str(), nullptr, nullptr, argv.data(), environ) == 0, "cannot run ", program);
  }
  ChildProcess(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ == 0) return;
    signal(SIGKILL);
    wait();
  }
  void signal(int number) { ::kill(pid_, number); }
  void kill() {
    signal(SIGKILL);
    wait();
  }
  /// The exit code; −1 when a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace hopyard
