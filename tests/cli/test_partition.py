"""`hopyard partition` cuts a data folder; what it writes is whole, and bad input gets a sentence."""
import json
import pathlib
import unittest

from program import Sweep, hopyard, first_rows, ROOT


class Partition(unittest.TestCase):
    def setUp(self):
        self.sweep = Sweep()
        self.data = first_rows(ROOT / "data/sections/valid", 50, self.sweep.directory("data"))
        self.out = pathlib.Path(self.sweep.directory("cut"))

    def test_cuts_into_data_folders(self):
        code, out, err = hopyard("partition", self.data, "--into=4", "--out", self.out, "--seed=17")
        self.assertEqual(code, 0, err)
        self.assertIn("50 rows", out)
        self.assertIn("4 partitions of 12 or 13 rows", out)
        manifest = json.loads((self.out / "partitions.json").read_text())
        self.assertEqual(manifest["seed"], 17)
        rows = [json.loads((self.out / part["folder"] / "dataset.json").read_text())["rows"]
                for part in manifest["partitions"]]
        self.assertEqual(sorted(rows), [12, 12, 13, 13])
        config = self.sweep.write("cut.yaml", self.sweep.text.replace(
            f"{ROOT}/data/sections/train", str(self.out / "partition-001")).replace("train_rows: 160, ", ""))
        code, _, err = hopyard("plan", config)  # a partition is a data folder
        self.assertEqual(code, 0, err)

    def test_help_has_an_example(self):
        code, out, _ = hopyard("partition", "--help")
        self.assertEqual(code, 0)
        for words in ("--into=P", "--seed=N", "Example: hopyard partition "):
            self.assertIn(words, out)

    def test_bad_input(self):
        self.out.mkdir()
        cases = [
            (2, "--into is missing", []),
            (2, "--into: 51 partitions cannot share the 50 rows", ["--into=51", "--out", str(self.out / "new")]),
            (2, "--out is missing", ["--into=2"]),
            (2, "is there already", ["--into=2", "--out", str(self.out)]),
            (2, "'many' is no value", ["--into=many", "--out", str(self.out / "new")]),
        ]
        for code, words, options in cases:
            with self.subTest(words):
                got, out, err = hopyard("partition", self.data, *options)
                self.assertEqual(got, code, out + err)
                self.assertIn(words, err)
                self.assertEqual(err.count("\n"), 1, err)
        got, _, err = hopyard("partition", self.out, "--into=2", "--out", self.out / "new")
        self.assertEqual(got, 3)
        self.assertIn("dataset.json", err)
        self.assertEqual(list(self.out.iterdir()), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
