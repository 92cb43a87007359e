#include "experiment/committer.h"

#include "base/thread_name.h"

namespace hopyard {

Committer::Committer(CommitSink sink, KeepOutcomes keep, std::function<void()> notify)
    : sink_(std::move(sink)), keep_(std::move(keep)), notify_(std::move(notify)), thread_([this] { work(); }) {}

Committer::~Committer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Committer::submit(CommitRequest request) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
    ++pending_;
  }
  wake_.notify_one();
}

std::optional<CommitDone> Committer::take() {
  const std::lock_guard lock(mutex_);
  if (done_.empty()) return std::nullopt;
  CommitDone done = std::move(done_.front());
  done_.pop_front();
  return done;
}

std::uint32_t Committer::pending() const {
  const std::lock_guard lock(mutex_);
  return pending_;
}

void Committer::work() {
  name_thread("commits");
  while (true) {
    CommitRequest request;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      request = std::move(queue_.front());
      queue_.pop_front();
    }
    CommitDone done = perform(request);
    request.run.reset();
    {
      const std::lock_guard lock(mutex_);
      done_.push_back(std::move(done));
      --pending_;
    }
    notify_();
  }
}

CommitDone Committer::perform(CommitRequest& request) {
  CommitDone done{request.trial, std::move(request.commit), nullptr};
  try {
    done.commit.digest = to_hex(request.run->digest());
    if (done.commit.score) done.commit.score->digest = done.commit.digest;
    done.commit.state = request.run->commit();
    if (done.commit.score && keep_) keep_(*done.commit.score, request.rows);
    sink_(done.commit, request.curve);
    request.run->cache().drop_superseded();
  } catch (...) {
    done.error = std::current_exception();
  }
  return done;
}

}  // namespace hopyard
