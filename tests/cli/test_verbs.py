"""Each verb does what its help says; what it prints can be read by programs."""
import csv
import io
import json
import pathlib
import re
import subprocess
import unittest

from program import ROOT, Sweep, digests, hopyard, leaderboard


class Verbs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        cls.directory = cls.sweep.directory("run")
        cls.code, cls.out, cls.err = hopyard("run", cls.sweep.config, "--dir", cls.directory)

    def test_run_prints_leaderboard_and_summary(self):
        self.assertEqual(self.code, 0, self.err)
        for word in ("t00", "t03", "accuracy", "emulated", "host", "disk"):
            self.assertIn(word, self.out)

    def test_peaks_stay_within_budgets(self):
        code, out, _ = hopyard("plan", self.directory, "--format=json")
        self.assertEqual(code, 0)
        measured = {row["what"]: row["measured"] for row in json.loads(out)["comparisons"]}
        self.assertLessEqual(measured["peak of a device"], 24 << 20)
        self.assertLessEqual(measured["peak of the host tier"], 48 << 20)
        self.assertGreater(measured["written to disk"], 0)

    def test_report_needs_no_network(self):
        page = (pathlib.Path(self.directory) / "report.html").read_text()
        self.assertIn("<svg", page)
        self.assertIsNone(re.search(r"(src|href)=[\"']?https?:", page))

    def test_trace_names_tasks(self):
        events = json.loads((pathlib.Path(self.directory) / "trace.json").read_text())
        events = events["traceEvents"] if isinstance(events, dict) else events
        names = [event["name"] for event in events if event.get("ph") == "X"]
        self.assertTrue(any(re.match(r"t\d+/s\d+/backward", name) for name in names))

    def test_leaderboard_in_three_forms(self):
        rows = leaderboard(self.directory)
        self.assertEqual(len(rows), 4)
        code, out, _ = hopyard("leaderboard", self.directory, "--format=csv")
        self.assertEqual(code, 0)
        self.assertEqual([row["trial"] for row in csv.DictReader(io.StringIO(out))], [row["trial"] for row in rows])
        self.assertIn(rows[0]["trial"], hopyard("leaderboard", self.directory)[1])

    def test_finished_run_prints_its_leaderboard(self):
        code, out, _ = hopyard("run", self.sweep.config, "--dir", self.directory)
        self.assertEqual(code, 0)
        self.assertIn("finished", out)

    def test_plan_trains_nothing(self):
        code, out, err = hopyard("plan", self.sweep.config)
        self.assertEqual(code, 0, err)
        self.assertIn("embeddings", out)
        self.assertEqual(json.loads(hopyard("plan", self.sweep.config, "--format=json")[1])["trials"], 4)

    def test_fresh_moves_the_old_run_aside(self):
        directory = self.sweep.directory("again")
        before = None
        for _ in range(2):
            code, _, err = hopyard("run", self.sweep.config, "--dir", directory, "--fresh")
            self.assertEqual(code, 0, err)
            self.assertIn(before, (None, digests(directory)))
            before = digests(directory)
        self.assertTrue(pathlib.Path(directory + ".1").is_dir())

    def test_export_loads_in_transformers(self):
        out = self.sweep.directory("exported")
        code, _, err = hopyard("export", self.directory, "--trial=t00", "--out", out)
        self.assertEqual(code, 0, err)
        script = ("import sys; from transformers import AutoModelForSequenceClassification as A; "
                  "m, info = A.from_pretrained(sys.argv[1], output_loading_info=True); "
                  "assert not info['missing_keys'] and not info['unexpected_keys'], info; print(m.config.num_labels)")
        done = subprocess.run([str(ROOT / ".venv-oracle/bin/python"), "-c", script, out], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split()[-1], "16")

    def test_help(self):
        code, out, _ = hopyard()
        self.assertEqual(code, 0)
        for verb in ("run", "plan", "leaderboard", "export", "test", "reproduce", "doctor"):
            self.assertIn(verb, out)
            code, page, _ = hopyard(verb, "--help")
            self.assertEqual(code, 0)
            self.assertIn("Example: hopyard " + verb, page)

    def test_doctor(self):
        code, out, _ = hopyard("doctor")
        self.assertEqual(code, 0)
        for word in ("libtorch", "cores", "memory", "disk"):
            self.assertIn(word, out)
        self.assertRegex(out, r"GPUs +none: \w+|GPU cuda:0 +\w[^\n]+\n +link [^\n]+|GPU cuda:0 +\w[^\n]+ cannot be used: ")

    def test_examples_plan(self):
        for example in sorted((ROOT / "examples").glob("*.yaml")):
            with self.subTest(example.name):
                code, _, err = hopyard("plan", example)
                self.assertEqual(code, 0, err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
