// From what a visit gave to the score that the journal and the search are told.
#pragma once

#include <string>

#include "base/journal.h"
#include "model/judged.h"
#include "model/model.h"

namespace hopyard {

/// `epoch`: that the trial has behind it with this commit.
inline TrialScore score_of(const VisitCommit& commit, Epochs epoch, const MetricSums& judged,
                           const std::string& metric) {
  TrialScore score;
  score.trial = commit.trial;
  score.epoch = epoch;
  score.train_loss = commit.loss_items > 0 ? commit.loss_sum / commit.loss_items : 0;
  score.valid_loss = ModelSource::metric(judged, "valid/loss");
  score.metric = ModelSource::metric(judged, metric);
  score.digest = commit.digest;
  return score;
}

}  // namespace hopyard
