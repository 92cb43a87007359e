"""A model for each group of rows: planned, trained by one process and by two, looked at, exported, tested, reproduced."""
import json
import os
import subprocess
import unittest

from program import HOPYARD, PATIENCE, ROOT, Sweep, digests, first_rows, hopyard, leaderboard

ROWS, VALID = 120, 40
SIZES = {-2: 4, 0: 3, 1: 2, 7: 1}  # of ten rows each


def column(rows):
    values = [value for value, size in SIZES.items() for _ in range(size)]
    return [values[row % 10] for row in range(rows)]


class Groups(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        train = first_rows(ROOT / "data/sections/valid", ROWS, cls.sweep.directory("train"), shelf=column(ROWS))
        valid = first_rows(ROOT / "data/sections/test", VALID, cls.sweep.directory("valid"), shelf=column(VALID))
        cls.cut = cls.sweep.directory("cut")
        code, cls.said, err = hopyard("partition", train, "--into=2", "--out", cls.cut, "--group-by=shelf")
        assert code == 0, err
        cls.valid = valid
        cls.text = (cls.sweep.text.replace(f"{ROOT}/data/sections/train", cls.cut)
                    .replace(f"{ROOT}/data/sections/valid", valid)
                    .replace("train_rows: 160, valid_rows: 40, partitions: 4", f"test: {valid}, group_by: shelf")
                    .replace("epochs: 1", "epochs: 2").replace("freeze: {grid: [0, 2]}", "freeze: 0"))
        cls.config = cls.sweep.write("groups.yaml", cls.text)
        cls.alone = cls.sweep.directory("alone")
        code, cls.printed, err = hopyard("run", cls.config, "--dir", cls.alone)
        assert code == 0, cls.printed + err

    def test_partitions_are_packed_by_size(self):
        manifest = json.loads((self.sweep.folder / "cut/partitions.json").read_text())
        self.assertEqual(manifest["group_by"], "shelf")
        groups = [{one["value"]: one["rows"] for one in part["groups"]} for part in manifest["partitions"]]
        self.assertEqual(groups, [{-2: 48, 7: 12}, {0: 36, 1: 24}])
        self.assertIn("2 partitions of 60 rows", self.said)
        self.assertIn("partition-000: 60 rows, shelf -2 (48), 7 (12)", self.said)

    def test_the_plan_lists_them(self):
        code, out, err = hopyard("plan", self.config)
        self.assertEqual(code, 0, err)
        self.assertIn("8 trials", out)
        self.assertIn("Groups of rows by shelf: a model for each", out)
        code, out, err = hopyard("plan", self.config, "--format=json")
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["row_groups"][0],
                         {"value": -2, "train_rows": 48, "valid_rows": 16, "partition": 0})
        code, out, err = hopyard("plan", self.config, "--trials")
        self.assertEqual(code, 0, err)
        self.assertIn("t01.g7", out)

    def test_results_are_of_each_group_and_of_all(self):
        self.assertIn("Groups of rows by shelf, a model for each", self.printed)
        rows = leaderboard(self.alone)
        self.assertEqual(len(rows), 2)
        for row in rows:
            self.assertEqual([one["value"] for one in row["row_groups"]], [-2, 0, 1, 7])
            overall = sum(one["metric"] * one["valid_rows"] for one in row["row_groups"]) / VALID
            self.assertAlmostEqual(row["mean"], overall)
            self.assertEqual(sorted(one["row_group"] for one in row["members"]), [-2, 0, 1, 7])
        code, out, err = hopyard("analyse", self.alone)
        self.assertEqual(code, 0, err)
        self.assertIn("over the same 40 validation rows", out)
        report = (self.sweep.folder / "alone/report.html").read_text()
        self.assertIn("Groups of rows by shelf", report)

    def test_two_workers_end_as_one(self):
        directory = self.sweep.directory("two")
        done = subprocess.run([ROOT / "tools/workers", "2", self.config, "--dir", directory], cwd=ROOT,
                              capture_output=True, text=True, timeout=PATIENCE, env=os.environ | {"HOPYARD": HOPYARD})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        code, out, err = hopyard("leaderboard", directory, "--members", "--format=json")
        self.assertEqual(code, 0, err)
        again = {row["trial"]: row["digest"] for row in json.loads(out)}
        code, out, err = hopyard("leaderboard", self.alone, "--members", "--format=json")
        self.assertEqual(again, {row["trial"]: row["digest"] for row in json.loads(out)})
        self.assertEqual(len(again), 8)

    def test_a_trial_is_exported_tested_and_reproduced(self):
        code, out, err = hopyard("export", self.alone, "--trial=t00.g7", "--out", self.sweep.directory("exported"))
        self.assertEqual(code, 0, out + err)
        code, out, err = hopyard("test", self.alone, "--trial=t00.g7")
        self.assertEqual(code, 0, out + err)
        self.assertIn("on the 4 test rows", out)
        self.assertIn("whose shelf is 7", out)
        code, out, err = hopyard("reproduce", self.alone, "--trial=t00.g-2", "--dir", self.sweep.directory("again"))
        self.assertEqual(code, 0, out + err)
        self.assertIn("t00.g-2 is reproduced", out)

    def test_bad_input_is_a_sentence(self):
        cases = [
            (3, "no column 'floor'", self.text.replace(self.cut, self.valid).replace("shelf", "floor")),
            (3, "was cut by 'shelf'", self.text.replace("group_by: shelf", "group_by: labels")),
            (3, "holds several I32 a row", self.text.replace(self.cut, self.valid).replace("shelf", "input_ids")),
            (2, "does not go with search.method external", self.text.replace("method: grid", "method: external")),
            (2, "cannot be set with data.group_by", self.text.replace("epochs: 2", "epochs: 2\n  rows: 20")),
        ]
        for code, words, text in cases:
            with self.subTest(words):
                got, out, err = hopyard("plan", self.sweep.write("bad.yaml", text))
                self.assertEqual(got, code, out + err)
                self.assertIn(words, err)
                self.assertEqual(err.count("\n"), 1, err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
