// Our own logging macros; log.cc alone includes glog, whose LOG and CHECK clash with libtorch's.
#pragma once

#include <sstream>
#include <string>

namespace hopyard::log {

enum class Severity { info, warning, error };

/// Starts logging to standard error; `verbose` shows info lines as well. Call once, from main.
void start(const char* program, bool verbose);
void write(Severity severity, const char* file, int line, const std::string& message);

/// One line; written when it goes out of scope.
class Line {
 public:
  Line(Severity severity, const char* file, int line) : severity_(severity), file_(file), line_(line) {}
  ~Line() { write(severity_, file_, line_, out_.str()); }
  template <class T>
  Line& operator<<(const T& part) {
    out_ << part;
    return *this;
  }

 private:
  Severity severity_;
  const char* file_;
  int line_;
  std::ostringstream out_;
};

}  // namespace hopyard::log

#define HOPYARD_INFO ::hopyard::log::Line(::hopyard::log::Severity::info, __FILE__, __LINE__)
#define HOPYARD_WARN ::hopyard::log::Line(::hopyard::log::Severity::warning, __FILE__, __LINE__)
#define HOPYARD_ERROR ::hopyard::log::Line(::hopyard::log::Severity::error, __FILE__, __LINE__)
