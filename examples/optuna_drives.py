#!/usr/bin/env python3
"""Optuna chooses, Hopyard trains.

    .venv-oracle/bin/python examples/optuna_drives.py examples/optuna.yaml --trials=20

What Optuna suggests, `hopyard ask` has the run train; what `hopyard tell` says, Optuna is told. After each epoch
Optuna's pruner looks at the score: the trial is asked for one epoch further, or stopped. The config says
`search: {method: external}` and what is searched; the same spaces are suggested here. Any optimizer, or a notebook, can
drive a run with these two verbs.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

import optuna
import yaml

HOPYARD = os.environ.get("HOPYARD", "build/release/hopyard")
START_S = 300  # for the run to plan what it will do
EPOCH_S = 3600  # for a trial to come to its next epoch


def hopyard(*arguments):
    done = subprocess.run([HOPYARD, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


class Run:
    """A run directory, as somebody sees it who asks for trials."""

    def __init__(self, directory):
        self.directory = directory

    def ask(self, settings, epochs):
        values = [f"--set={path}={json.dumps(value)}" for path, value in settings.items()]
        return json.loads(hopyard("ask", self.directory, *values, f"--epochs={epochs}", "--format=json"))["trial"]

    def ask_further(self, trial, epochs):
        hopyard("ask", self.directory, f"--trial={trial}", f"--epochs={epochs}")

    def tell(self, trial, epoch):
        return json.loads(hopyard("tell", self.directory, f"--trial={trial}", f"--epoch={epoch}", f"--wait={EPOCH_S}s",
                                  "--format=json"))

    def stop(self, trial, reason):
        hopyard("stop", self.directory, f"--trial={trial}", f"--reason={reason}")

    def finish(self):
        hopyard("ask", self.directory, "--finish")


def searched(section, path):
    """(dotted path, {"loguniform": [low, high]}) of each value that a config searches."""
    for key, value in section.items():
        below = f"{path}.{key}"
        if isinstance(value, dict) and set(value) & {"choice", "grid", "uniform", "loguniform", "int"}:
            yield below, value
        elif isinstance(value, dict):
            yield from searched(value, below)


def suggest(trial, space):
    settings = {}
    for path, how in space:
        if "choice" in how or "grid" in how:
            settings[path] = trial.suggest_categorical(path, how.get("choice", how.get("grid")))
        elif "int" in how:
            settings[path] = trial.suggest_int(path, *how["int"], step=how.get("step", 1))
        elif "uniform" in how:
            settings[path] = trial.suggest_float(path, *how["uniform"], step=how.get("step"))
        else:
            settings[path] = trial.suggest_float(path, *how["loguniform"], log=True)
    return settings


def drive(study, run, space, epochs):
    """One trial from Optuna's question to its answer."""
    trial = study.ask()
    name = run.ask(suggest(trial, space), epochs=1)
    trial.set_user_attr("hopyard", name)
    for epoch in range(1, epochs + 1):
        told = run.tell(name, epoch)
        if told["value"] is None:  # it diverged, or a person stopped it
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.report(told["value"], epoch)
        if epoch == epochs:
            study.tell(trial, told["value"])
        elif trial.should_prune():
            run.stop(name, f"pruned by Optuna after epoch {epoch}")
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        else:
            run.ask_further(name, epoch + 1)


def start(config, directory):
    """The run, waiting for trials. It could as well be started in another terminal."""
    process = subprocess.Popen([HOPYARD, "run", config, f"--dir={directory}"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_S
    while not (pathlib.Path(directory) / "steer.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit("the run did not start")
        time.sleep(0.1)
    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--dir", default="runs/optuna")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4, help="trials that are under way at a time")
    parser.add_argument("--seed", type=int, default=0, help="of Optuna's sampler")
    wanted = parser.parse_args()

    config = yaml.safe_load(pathlib.Path(wanted.config).read_text())
    space = [*searched(config["model"], "model"), *searched(config["train"], "train")]
    goal = config["search"].get("goal", "max" if "accuracy" in config["search"]["metric"] else "min")
    study = optuna.create_study(direction=f"{goal}imize",
                                sampler=optuna.samplers.TPESampler(seed=wanted.seed),
                                pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=0))
    process = start(wanted.config, wanted.dir)
    run = Run(wanted.dir)
    with concurrent.futures.ThreadPoolExecutor(wanted.at_once) as threads:
        drives = [threads.submit(drive, study, run, space, config["train"]["epochs"]) for _ in range(wanted.trials)]
        for one in drives:
            one.result()
    run.finish()
    for trial in study.trials:
        print(trial.user_attrs["hopyard"], trial.state.name, trial.value, trial.params)
    sys.exit(process.wait())


if __name__ == "__main__":
    main()
