#include "base/log.h"

#include <glog/logging.h>

namespace hopyard::log {

void start(const char* program, bool verbose) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = verbose ? google::GLOG_INFO : google::GLOG_WARNING;
  google::InitGoogleLogging(program);
}

void write(Severity severity, const char* file, int line, const std::string& message) {
  const int level = severity == Severity::info      ? google::GLOG_INFO
                    : severity == Severity::warning ? google::GLOG_WARNING
                                                    : google::GLOG_ERROR;
  google::LogMessage(file, line, level).stream() << message;
}

}  // namespace hopyard::log
