// A planned trial as the simulator runs it.
#pragma once

#include "base/epochs.h"
#include "pipeline/simulator.h"
#include "pipeline/trial_setup.h"

namespace hopyard {

/// Its visits and evaluations until so many epochs, each visit with a commit of `commit_s`. Where an epoch has many
/// visits, some follow each other as one.
SimTrial simulated_trial(const TrialSetup& setup, const Epochs& epochs, double commit_s);
/// That the trial computes.
double device_seconds(const SimTrial& trial);

}  // namespace hopyard
