"""Validation rows that were cut: each worker judges on its own, and the scores are those of one process."""
import contextlib
import json
import pathlib
import shutil
import unittest

from program import PATIENCE, ROOT, committed, first_rows, hopyard, journal, leaderboard
from workers import TRIALS, WORKERS, WorkersTest, free_port

VALID = 40


def scores(directory):
    return {row["trial"]: (row["digest"], row["metric"], row["valid_loss"]) for row in leaderboard(directory)}


class Validation(WorkersTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        data = first_rows(ROOT / "data/sections/valid", VALID, cls.sweep.directory("valid"))
        cls.valid = cls.sweep.directory("valid-3")
        code, out, err = hopyard("partition", data, "--into=3", "--out", cls.valid, "--seed=3")
        assert code == 0, out + err
        text = pathlib.Path(cls.config).read_text().replace(f"{ROOT}/data/sections/valid", cls.valid)
        text = text.replace("valid_rows: 40, ", f"test: {cls.valid}, ").replace("{wait_for_worker: 100s}",
                                                                "{wait_for_worker: 100s, replication: 1}")
        cls.config = cls.sweep.write("cut-valid.yaml", text)
        code, out, err = hopyard("run", cls.config, "--dir", cls.sweep.directory("alone-cut"))
        assert code == 0, out + err
        cls.scores = scores(cls.sweep.directory("alone-cut"))
        assert {trial: score[0] for trial, score in cls.scores.items()} == cls.expected

    def expect_scores(self, directory):
        self.expect_whole(directory)
        self.assertEqual(scores(directory), self.scores)

    def test_two_workers_judge_as_one_process(self):
        directory = self.sweep.directory("two")
        first, second = self.start_all(directory)
        self.end_of(first, 0)
        self.end_of(second, 0)
        self.expect_scores(directory)
        with contextlib.closing(journal(directory)) as looked:
            report = json.loads(looked.execute("SELECT json FROM facts WHERE name='hopping'").fetchone()[0])
        judged = [worker["rows_judged"] for worker in report["workers"]]
        self.assertTrue(all(rows > 0 for rows in judged), judged)
        self.assertEqual(sum(judged), TRIALS * self.epochs * VALID)
        predictions = [path.read_bytes() for path in sorted(pathlib.Path(directory).glob("trials/*/predictions-*"))]
        alone = pathlib.Path(self.sweep.directory("alone-cut"))
        self.assertEqual(predictions, [path.read_bytes() for path in sorted(alone.glob("trials/*/predictions-*"))])

    def test_a_trial_of_a_server_is_judged_where_the_rows_are_and_tested_in_one_process(self):
        directory = self.sweep.directory("served")
        served = ("train.data_parallel={degree: 2, sum: server, staleness: 1}", "train.micro_batch_size=4",
                  "workers.replication=2", "resources.host_memory=128MiB")
        for process in self.start_all(directory, None, *(f"--set={one}" for one in served), workers=3):
            self.end_of(process, 0)
        with contextlib.closing(journal(directory)) as looked:
            report = json.loads(looked.execute("SELECT json FROM facts WHERE name='hopping'").fetchone()[0])
        self.assertGreaterEqual(sum(worker["rows_judged"] for worker in report["workers"]), TRIALS * self.epochs * VALID)
        code, out, err = hopyard("test", directory, "--trial=t00")
        self.assertEqual(code, 0, out + err)
        self.assertIn(f"on the {VALID} test rows", out)

    def test_a_worker_that_dies_and_comes_back_changes_no_score(self):
        directory, port = self.sweep.directory("dies"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 2 * TRIALS, first, second)
        second.kill()
        second.wait()
        second = self.start(1, directory, port)
        self.end_of(first, 0)
        self.end_of(second, 0)
        self.expect_scores(directory)

    def test_a_coordinator_that_dies_goes_on(self):
        directory, port = self.sweep.directory("first-dies"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 2 * TRIALS, first, second)
        first.kill()
        first.wait()
        self.end_of(self.start(0, directory, port), 0)
        self.end_of(second, 0)
        self.expect_scores(directory)

    def test_a_worker_without_its_rows_ends_with_their_name(self):
        directory, port = self.sweep.directory("missing"), free_port()
        elsewhere = self.sweep.directory("valid-moved")
        shutil.move(self.valid + "/partition-001", elsewhere)
        try:
            first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
            said = self.end_of(second, 3)
            self.assertIn("partition 1 is missing", said)
        finally:
            first.kill()
            shutil.move(elsewhere, self.valid + "/partition-001")

    def test_one_process_tests_on_rows_that_were_cut(self):
        code, out, err = hopyard("test", self.sweep.directory("alone-cut"), "--trial=t00")
        self.assertEqual(code, 0, out + err)
        self.assertIn(f"on the {VALID} test rows", out)

    def test_fewer_rows_cannot_be_asked_for(self):
        config = self.sweep.write("fewer.yaml", pathlib.Path(self.config).read_text().replace(
            f"valid: {self.valid}", f"valid: {self.valid}, valid_rows: 20"))
        code, _, err = hopyard("plan", config)
        self.assertEqual(code, 2)
        self.assertIn("data.valid_rows", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
