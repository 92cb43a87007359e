"""A search that is driven from outside: `ask`, `tell`, kills in between, and what is refused."""
import json
import pathlib
import signal
import subprocess
import time
import unittest

from program import PATIENCE, ROOT, Sweep, digests, hopyard, leaderboard, start_run


def external(text, epochs=3, search="method: external,"):
    text = text.replace("method: grid,", search).replace("epochs: 1", f"epochs: {epochs}")
    return text.replace("{grid: [0, 2]}", "{choice: [0, 2]}").replace("{grid: [1.0e-3, 3.0e-3]}", "{loguniform: [1.0e-4, 1.0e-2]}")


class Driven(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        cls.config = cls.sweep.write("external.yaml", external(cls.sweep.text))
        grid = cls.sweep.write("grid.yaml", cls.sweep.text.replace("epochs: 1", "epochs: 3"))
        code, out, err = hopyard("run", grid, "--dir", cls.sweep.directory("grid"))
        assert code == 0, out + err
        # The same values train to the same bits, whoever chose them.
        cls.digests = {tuple(sorted(row["settings"].items())): row["digest"] for row in leaderboard(cls.sweep.directory("grid"))}

    def start(self, directory, config=None):
        process = start_run(self, config or self.config, directory)
        deadline = time.monotonic() + PATIENCE
        while self.call("ask", directory, "--set=model.freeze=1")[0] != 2:  # refused by the run, once there is one
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        return process

    def finish(self, process, directory):
        self.good("ask", directory, "--finish", "--reason=enough")
        self.assertEqual(process.wait(timeout=PATIENCE), 0, process.stderr.read())

    @staticmethod
    def call(*arguments):
        return hopyard(*arguments, timeout=PATIENCE)

    def good(self, *arguments):
        code, out, err = self.call(*arguments)
        self.assertEqual((code, err), (0, ""), out)
        return out

    def refused(self, code, words, *arguments):
        got, out, err = self.call(*arguments)
        self.assertEqual(got, code, out + err)
        for word in words:
            self.assertIn(word, err)
        self.assertEqual(err.count("\n"), 1, err)

    def ask(self, directory, lr, freeze, *options):
        out = self.good("ask", directory, f"--set=train.optimizer.lr={lr}", f"--set=model.freeze={freeze}", *options,
                        "--format=json")
        return json.loads(out)["trial"]

    def tell(self, directory, trial, *options):
        return json.loads(self.good("tell", directory, f"--trial={trial}", f"--wait={PATIENCE}s", *options, "--format=json"))

    def expected(self, lr, freeze):
        return self.digests[(("model.freeze", freeze), ("train.optimizer.lr", lr))]

    def test_what_is_asked_for_is_trained_and_told(self):
        directory = self.sweep.directory("asked")
        process = self.start(directory)
        first = self.ask(directory, 0.001, 0, "--epochs=1", "--reason=a guess")
        self.assertEqual(first, "t0000")
        second = self.ask(directory, 0.003, 2)
        told = self.tell(directory, first)
        self.assertEqual((told["asked_until"], told["epochs_done"], told["epochs"], told["epoch"]), (1, 1, 3, 1))
        self.assertEqual(told["value"], told["scores"][0]["value"])
        self.assertEqual(told["settings"], {"model.freeze": 0, "train.optimizer.lr": 0.001})
        self.refused(2, ["t0000 was asked for to epoch 1", "--epochs=2"], "tell", directory, "--trial=t0000", "--epoch=2")
        out = self.good("ask", directory, f"--trial={first}", "--epochs=3")
        self.assertIn("t0000: trains to epoch 3 of 3", out)
        told = self.tell(directory, first, "--epoch=2")
        self.assertEqual(told["scores"][1]["epoch"], 2)
        self.assertEqual(self.tell(directory, first)["state"], "finished")
        told = self.tell(directory, second)
        self.assertEqual((told["state"], len(told["scores"])), ("finished", 3))
        self.assertIn("t0000 has the same values", self.good("ask", directory, "--set=train.optimizer.lr=1e-3",
                                                             "--set=model.freeze=0", "--epochs=1"))
        self.finish(process, directory)
        self.assertEqual(digests(directory)[first], self.expected(0.001, 0))
        self.assertEqual(digests(directory)[second], self.expected(0.003, 2))
        third = next(row for row in leaderboard(directory) if row["trial"] == "t0002")
        self.assertEqual((third["state"], third["reason"]), ("stopped", "not asked for beyond epoch 1"))
        status = json.loads(self.good("status", directory, "--format=json"))
        asked = [(one["verb"], one["clone"] or one["trial"], one["epochs"], one["reason"]) for one in status["operations"]]
        self.assertEqual(asked, [("ask", "t0000", 1, "a guess"), ("ask", "t0001", 0, ""), ("ask", "t0000", 3, ""),
                                 ("ask", "t0002", 1, ""), ("finish", "", 0, "enough")])
        self.assertTrue(all(one["author"] and one["outcome"] == "took effect" for one in status["operations"]))
        self.refused(2, ["has ended"], "ask", directory, "--set=train.optimizer.lr=1e-3", "--set=model.freeze=0")
        self.assertIn("t0001: finished; 3 of 3 epochs", self.good("tell", directory, "--trial=t0001"))

        again = self.sweep.directory("asked again")
        code, out, err = self.call("run", self.config, "--dir", again, "--replay", directory)
        self.assertEqual(code, 0, out + err)
        self.assertIn("the same bits after each of", out)
        self.assertEqual(digests(again), digests(directory))
        code, out, err = self.call("reproduce", directory, "--trial=t0002", "--dir", self.sweep.directory("reproduced"))
        self.assertEqual(code, 0, out + err)

    def test_kills_lose_nothing_that_was_asked(self):
        directory = self.sweep.directory("killed")
        process = self.start(directory)
        first = self.ask(directory, 0.001, 0, "--epochs=1")
        process.kill()  # before, while or after it trains
        process.wait()
        self.refused(5, ["no process trains it now", "ask again"], "ask", directory, "--set=train.optimizer.lr=1e-3",
                     "--set=model.freeze=0")
        self.assertIn("the score of epoch 1 is not there yet", self.good("tell", directory, "--trial=t0000"))
        process = self.start(directory)
        self.assertIsNotNone(self.tell(directory, first)["value"])
        second = self.ask(directory, 0.003, 0)
        self.good("ask", directory, f"--trial={first}", "--epochs=2")
        self.tell(directory, second, "--epoch=1")
        process.kill()
        process.wait()
        process = self.start(directory)
        third = self.ask(directory, 0.003, 2)
        self.good("ask", directory, f"--trial={first}")
        self.good("ask", directory, "--finish")
        process.kill()
        process.wait()
        code, out, err = self.call("run", self.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), {first: self.expected(0.001, 0), second: self.expected(0.003, 0),
                                              third: self.expected(0.003, 2)})

    def test_an_interrupted_run_goes_on(self):
        directory = self.sweep.directory("interrupted")
        process = self.start(directory)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=PATIENCE), 5, "nothing was asked for yet")
        process = self.start(directory)
        trial = self.ask(directory, 0.001, 2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=PATIENCE), 5)
        process = self.start(directory)
        self.assertEqual(self.tell(directory, trial)["state"], "finished")
        self.finish(process, directory)
        self.assertEqual(digests(directory), {trial: self.expected(0.001, 2)})

    def test_a_run_of_known_length_ends_by_itself(self):
        config = self.sweep.write("two.yaml", external(self.sweep.text, 1, "method: external, trials: 2,"))
        directory = self.sweep.directory("two")
        process = self.start(directory, config)
        self.good("pause", directory)
        self.assertEqual(self.ask(directory, 0.001, 0), "t00")
        self.assertEqual(self.ask(directory, 0.001, 2), "t01")
        self.refused(2, ["search.trials is 2"], "ask", directory, "--set=train.optimizer.lr=1e-3", "--set=model.freeze=0")
        self.assertEqual([trial["state"] for trial in json.loads(self.good("status", directory, "--format=json"))["trials"]],
                         ["waiting", "waiting"])
        self.good("continue", directory)
        self.assertEqual(process.wait(timeout=PATIENCE), 0, process.stderr.read())
        self.assertEqual([row["state"] for row in leaderboard(directory)], ["finished", "finished"])

    def test_people_may_stop_what_was_asked_for(self):
        directory = self.sweep.directory("stopped")
        process = self.start(directory)
        trial = self.ask(directory, 0.001, 0, "--epochs=1")
        self.tell(directory, trial)
        self.good("stop", directory, f"--trial={trial}", "--reason=pruned")
        deadline = time.monotonic() + PATIENCE
        while self.tell(directory, trial)["state"] != "stopped" and time.monotonic() < deadline:
            time.sleep(0.05)
        self.refused(2, ["t0000 has ended"], "ask", directory, f"--trial={trial}", "--epochs=2")
        self.refused(2, ["t0000 was asked for to epoch 1"], "tell", directory, f"--trial={trial}", "--epoch=2")
        self.finish(process, directory)
        self.assertIn("pruned", leaderboard(directory)[0]["reason"])

    def test_what_cannot_be_asked_is_a_sentence(self):
        directory = self.sweep.directory("refused")
        process = self.start(directory)
        lr, freeze = "--set=train.optimizer.lr=1e-3", "--set=model.freeze=0"
        self.refused(2, ["'train.batch_size' is not searched", "train.optimizer.lr"], "ask", directory, lr, freeze, "--set=train.batch_size=8")
        self.refused(2, ["train.optimizer.lr = 0.5 is not a number from 1e-04 to 0.01"], "ask", directory, freeze, "--set=train.optimizer.lr=0.5")
        self.refused(2, ["train.optimizer.lr = fast"], "ask", directory, freeze, "--set=train.optimizer.lr=fast")
        self.refused(2, ["needs a single value"], "ask", directory, freeze, "--set=train.optimizer.lr=[1e-3]")
        self.refused(2, ["model.freeze = 1 is not one of 0, 2"], "ask", directory, lr, "--set=model.freeze=1")
        self.refused(2, ["model.freeze is missing"], "ask", directory, lr)
        self.refused(2, ["is missing"], "ask", directory)
        self.refused(2, ["--epochs: 4 are more than the 3 of t0000"], "ask", directory, lr, freeze, "--epochs=4")
        self.refused(2, ["--epochs: 'soon' is no value"], "ask", directory, lr, freeze, "--epochs=soon")
        self.refused(2, ["no trial 't0000' was asked for"], "ask", directory, "--trial=t0000", "--epochs=2")
        self.refused(2, ["--finish: says that nothing more is asked for"], "ask", directory, "--finish", lr)
        self.refused(2, ["--epochs: 4"], "ask", directory, lr, freeze, "--epochs=4")
        self.assertEqual(self.ask(directory, 0.001, 0, "--epochs=2"), "t0000")
        self.refused(2, ["t0000 was asked for to epoch 2 already"], "ask", directory, "--trial=t0000", "--epochs=1")
        self.refused(2, ["--epochs: 9 are more than the 3"], "ask", directory, "--trial=t0000", "--epochs=9")
        self.refused(2, ["--set: t0000 has its values"], "ask", directory, "--trial=t0000", lr)
        self.refused(2, ["no trial 't7'", "t0000"], "tell", directory, "--trial=t7")
        self.refused(2, ["--epoch: t0000 has 3 epochs"], "tell", directory, "--trial=t0000", "--epoch=4")
        self.refused(2, ["--wait: 'long' is no time"], "tell", directory, "--trial=t0000", "--wait=long")
        self.refused(2, ["--trial is missing"], "tell", directory)
        self.refused(2, ["table or json"], "tell", directory, "--trial=t0000", "--format=csv")
        self.refused(2, ["--warm"], "ask", directory, "--warm")
        self.good("ask", directory, "--finish", "--reason=enough")
        code, out, err = self.call("ask", directory, lr, freeze)
        self.assertEqual(code, 2, out)
        self.assertTrue("finished by" in err or "the run has ended" in err, err)
        self.assertEqual(process.wait(timeout=PATIENCE), 0, process.stderr.read())
        self.assertEqual([row["trial"] for row in leaderboard(directory)], ["t0000"])

    def test_other_runs_and_no_runs(self):
        grid = self.sweep.directory("grid")
        self.refused(2, ["this run chooses its trials itself", "method: external"], "ask", grid, "--set=model.freeze=0")
        self.assertEqual(self.tell(grid, "t00")["state"], "finished")
        nothing = self.sweep.directory("nothing")
        pathlib.Path(nothing).mkdir()
        self.refused(3, ["is not a run directory"], "ask", nothing, "--set=model.freeze=0")
        self.refused(3, ["is not a run directory"], "tell", nothing, "--trial=t00")
        for key, sentence in [("seeds: 2", "trains each trial once"), ("deterministic: true", "does not belong to method: external"),
                              ("max_concurrent_trials: 2", "does not belong to method: external"), ("eta: 2", "belongs to method")]:
            config = self.sweep.write("bad.yaml", external(self.sweep.text, 3, f"method: external, {key},"))
            self.refused(2, [sentence], "run", config, "--dir", self.sweep.directory("never"))
        small = self.sweep.write("small.yaml", external(self.sweep.text).replace("capacity: 1GiB", "capacity: 1MiB"))
        self.refused(4, ["resources.disk.capacity"], "run", small, "--dir", self.sweep.directory("too small"))

    def test_plan_says_that_others_ask(self):
        out = self.good("plan", self.config)
        self.assertIn("asked for from outside (`hopyard ask`)", out)
        out = self.good("plan", self.config, "--trials")
        self.assertIn("x00", out)
        self.assertIn("as many as it takes", out)
        self.assertNotIn("t00", out)


class Optuna(unittest.TestCase):
    def test_optuna_drives(self):
        sweep = Sweep()
        config = sweep.write("optuna.yaml", external(sweep.text).replace("metric: valid/accuracy, goal: max", "metric: valid/loss"))
        directory = sweep.directory("driven")
        done = subprocess.run([ROOT / ".venv-oracle/bin/python", "examples/optuna_drives.py", config, "--dir", directory,
                               "--trials=10", "--at-once=2"], cwd=ROOT, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        driven = {line.split()[0]: line.split()[1:3] for line in done.stdout.splitlines()}
        rows = {row["trial"]: row for row in leaderboard(directory)}
        self.assertEqual(set(driven), set(rows))
        self.assertEqual(len(rows), 10)
        for trial, (state, value) in driven.items():
            if state == "COMPLETE":
                self.assertEqual((rows[trial]["state"], rows[trial]["metric"]), ("finished", float(value)))
            else:
                self.assertEqual((state, rows[trial]["state"]), ("PRUNED", "stopped"))
                self.assertIn("pruned by Optuna after epoch", rows[trial]["reason"])
        self.assertGreaterEqual(sum(state == "COMPLETE" for state, _ in driven.values()), 3)
        self.assertGreaterEqual(sum(state == "PRUNED" for state, _ in driven.values()), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
