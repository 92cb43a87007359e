"""Trials in fp16, some of whose steps are skipped: the loss scale is resumed, hops, is cloned and is agreed upon by those who train a
step together."""
import contextlib
import pathlib
import re
import unittest

from program import committed, digests, hopyard, journal, leaderboard, start_run
from workers import TRIALS, WorkersTest

PBT = ("search={method: pbt, trials: 4, deterministic: true, quantile_fraction: 0.5, resample_probability: 0.5, "
       "metric: valid/accuracy, goal: max}")


def skipped_steps(directory):
    return {row["trial"]: row["skipped_steps"] for row in leaderboard(directory)}


class LossScale(WorkersTest):
    train = "\n  micro_batch_size: 4\n  precision: fp16\n  loss_scale: {initial: 1048576, growth_steps: 3}"

    def alone(self, name, *options):
        directory = self.sweep.directory(name)
        code, out, err = hopyard("run", self.config, "--dir", directory, *options)
        self.assertEqual(code, 0, out + err)
        return directory, out + err

    def expect_reproduced(self, directory, trial):
        code, out, err = hopyard("reproduce", directory, f"--trial={trial}", "--dir", f"{directory}-{trial}")
        self.assertEqual(code, 0, out + err)
        self.assertIn(f"{trial} is reproduced", out)

    def test_steps_are_skipped_and_said_to_be(self):
        directory, said = self.alone("said")
        self.expect_whole(directory)
        skipped = re.findall(r"(t\d+): epoch .*, (\d+) of its steps skipped", said)
        self.assertGreater(len(skipped), TRIALS)  # not in the first sub-epochs alone
        self.assertEqual({trial for trial, _ in skipped}, set(self.expected))
        self.assertEqual(skipped_steps(directory), {
            trial: sum(int(steps) for whose, steps in skipped if whose == trial) for trial in self.expected})
        _, status, _ = hopyard("status", directory)
        self.assertEqual(len(re.findall(r"\d+ steps skipped", status)), TRIALS, status)
        self.assertIn("skipped steps", (pathlib.Path(directory) / "report.html").read_text())

    def test_a_scale_of_another_size_is_another_trial(self):
        directory, _ = self.alone("other", "--set", "train.loss_scale.initial=1024")
        for trial, digest in digests(directory).items():
            self.assertNotEqual(digest, self.expected[trial])

    def test_a_killed_run_goes_on(self):
        directory = self.sweep.directory("killed")
        for visits in (1, 3, 6):
            process = start_run(self, self.config, directory)
            self.wait_for(lambda: committed(directory) >= visits, process)
            process.kill()
            process.wait()
        code, out, err = hopyard("run", self.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.expect_whole(directory)
        self.expect_reproduced(directory, "t01")

    def test_trials_that_hop_end_as_one_process(self):
        directory = self.sweep.directory("hop")
        for process in self.start_all(directory):
            self.end_of(process, 0)
        self.expect_whole(directory)
        self.assertTrue(all(skipped_steps(directory).values()))

    def test_a_worker_that_dies_is_replaced_by_the_other(self):
        directory = self.sweep.directory("dies")
        first, second = self.start_all(directory)
        self.wait_for(lambda: committed(directory) >= 3, first, second)
        second.kill()
        self.end_of(first, 0)
        self.expect_whole(directory)

    def test_workers_that_train_together_skip_the_same_steps(self):
        directory = self.sweep.directory("together")
        for process in self.start_all(directory, None, "--set", "train.data_parallel={degree: 2}"):
            self.end_of(process, 0)
        self.expect_whole(directory)

    def test_an_all_reduce_has_one_model(self):
        directory = self.sweep.directory("all-reduce")
        for process in self.start_all(directory, None, "--set", "train.data_parallel={degree: 2, sum: all-reduce}"):
            self.end_of(process, 0)
        self.assertTrue(all(row["state"] == "finished" for row in leaderboard(directory)))

    def test_clones_begin_with_their_parents_scale(self):
        directory, _ = self.alone("pbt", "--set", PBT, "--set", "model.freeze=0", "--set", "train.epochs=3", "--set",
                                  "train.optimizer.lr={loguniform: [1.0e-4, 1.0e-2]}")
        with contextlib.closing(journal(directory)) as looked:
            clone = looked.execute("SELECT trial FROM lineage ORDER BY epochs DESC, trial").fetchone()[0]
        self.expect_reproduced(directory, clone)


if __name__ == "__main__":
    unittest.main()
