"""What a run directory is good for afterwards: listing, looking at the test split, training again, repeating."""
import contextlib
import csv
import io
import json
import os
import pathlib
import re
import shutil
import unittest

from program import ROOT, Sweep, digests, first_rows, hopyard, journal, leaderboard

ASHA = "search: {method: asha, trials: 6, eta: 2, min_epochs: 0.5,"
PBT = "search: {method: pbt, trials: 4, deterministic: true, quantile_fraction: 0.5,"


def searched(sweep, search, epochs):
    """The sweep's config with another search over ranges."""
    text = sweep.text.replace("search: {method: grid,", search).replace("epochs: 1", f"epochs: {epochs}")
    return text.replace("{grid: [0, 2]}", "2").replace("{grid: [1.0e-3, 3.0e-3]}", "{loguniform: [1.0e-4, 1.0e-2]}")


class PlanTrials(unittest.TestCase):
    def setUp(self):
        self.sweep = Sweep()

    def plan(self, text, *options):
        code, out, err = hopyard("plan", self.sweep.write("plan.yaml", text), "--trials", *options)
        self.assertEqual(code, 0, err)
        return out

    def test_a_grid_is_listed_whole(self):
        out = self.plan(self.sweep.text)
        self.assertIn("4 trials: all that will run", out)
        rows = list(csv.DictReader(io.StringIO(self.plan(self.sweep.text, "--format=csv"))))
        self.assertEqual([(row["trial"], row["model.freeze"], row["train.optimizer.lr"]) for row in rows],
                         [("t00", "0", "0.001"), ("t01", "0", "0.003"), ("t02", "2", "0.001"), ("t03", "2", "0.003")])

    def test_it_lists_what_runs(self):
        text = searched(self.sweep, ASHA, 1)
        planned = json.loads(self.plan(text, "--format=json"))
        self.assertTrue(planned["reacts_to_scores"])
        self.assertEqual([row["epochs"] for row in planned["trials"]], [0.5] * 6)
        self.assertEqual(planned["expected_to_reach"], [{"epoch": 0.5, "trials": 6}, {"epoch": 1, "trials": 3}])
        code, out, err = hopyard("run", self.sweep.write("run.yaml", text), "--dir", self.sweep.directory("run"))
        self.assertEqual(code, 0, out + err)
        ran = {row["trial"]: row["settings"] for row in leaderboard(self.sweep.directory("run"))}
        self.assertEqual({row["trial"]: row["settings"] for row in planned["trials"]}, ran)

    def test_it_says_what_is_decided_on_scores(self):
        self.assertIn("6 to epoch 0.5, 3 to epoch 1, 1 to epoch 2", self.plan(searched(self.sweep, ASHA, 2)))
        out = self.plan(searched(self.sweep, "search: {method: tpe, trials: 25,", 1))
        self.assertIn("These 10 trials are asked for before any score", out)
        self.assertIn("15 more are chosen on scores", out)
        self.assertIn("Up to 4 warm clones", self.plan(searched(self.sweep, PBT, 3)))

    def test_it_needs_no_data(self):
        self.assertIn("t03", self.plan(self.sweep.text.replace("data/sections", "nowhere")))


class TestSplit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        cls.seen = first_rows(ROOT / "data/sections/valid", 40, cls.sweep.folder / "seen")
        cls.unseen = first_rows(ROOT / "data/sections/test", 50, cls.sweep.folder / "unseen")
        cls.config = cls.sweep.write("with test.yaml", cls.sweep.text.replace("train_rows", f"test: {cls.unseen}, train_rows"))
        cls.finished = cls.sweep.directory("finished")
        code, out, err = hopyard("run", cls.config, "--dir", cls.finished)
        assert code == 0, out + err

    def setUp(self):
        self.directory = self.sweep.directory(self._testMethodName)
        shutil.copytree(self.finished, self.directory)

    def look(self, *options):
        code, out, err = hopyard("test", self.directory, *options)
        self.assertEqual(code, 0, out + err)
        return out

    def test_rows_that_it_was_validated_on_give_the_recorded_scores(self):
        """The oracle: data.test with the rows of data.valid, for every trial, down to the last bit."""
        for row in leaderboard(self.directory):
            self.look(f"--trial={row['trial']}", "--set", f"data.test={self.seen}")
        for row in leaderboard(self.directory):
            metrics = row["looks"][0]["metrics"]
            self.assertEqual(metrics["test/accuracy"], row["metric"])
            self.assertEqual(metrics["test/loss"], row["valid_loss"])
            self.assertEqual(row["looks"][0]["digest"], row["digest"])

    def test_one_look_at_the_best(self):
        before = digests(self.directory)
        out = self.look("--reason=for the paper")
        best = leaderboard(self.directory)[0]
        self.assertTrue(out.startswith(best["trial"]), out)
        look = best["looks"][0]
        self.assertEqual((look["number"], look["reason"], look["uid"]), (1, "for the paper", os.getuid()))
        self.assertIn(f"test/accuracy {look['metrics']['test/accuracy']:.4f}", out)
        self.assertNotIn("nobody had seen", out)
        self.assertEqual(digests(self.directory), before)

    def test_a_second_look_is_a_second_look(self):
        self.look("--trial=t01")
        out = self.look("--trial=t00", "--reason=again")
        table = hopyard("leaderboard", self.directory)[1]
        report = (pathlib.Path(self.directory) / "report.html").read_text()
        for text in (out, table, report):
            for word in ("first", "t01", "again", "looked at 2 times"):
                self.assertIn(word, text)
        self.assertEqual(report.count("<h2>Looks at the test split"), 1)
        self.assertEqual(len([row for row in leaderboard(self.directory) if row["looks"]]), 2)

    def test_other_budgets_give_the_same(self):
        self.look("--trial=t00")
        self.look("--trial=t00", "--set", "resources.devices=[{type: cpu, count: 1, threads: 1}]", "--set",
                  "resources.host_memory=256MiB", "--set", "execute.cuts=[2]")
        looks = [row["looks"] for row in leaderboard(self.directory) if row["trial"] == "t00"][0]
        self.assertEqual(looks[0]["metrics"], looks[1]["metrics"])

    def test_a_resume_keeps_the_looks(self):
        self.look("--trial=t00")
        with contextlib.closing(journal(self.directory)) as opened, opened:
            opened.execute("DELETE FROM facts WHERE name='finished'")
        code, out, err = hopyard("run", self.config, "--dir", self.directory)
        self.assertEqual(code, 0, out + err)
        self.assertIn("<h2>Looks at the test split", (pathlib.Path(self.directory) / "report.html").read_text())

    def refused(self, code, words, *options):
        got, out, err = hopyard("test", self.directory, *options)
        self.assertEqual(got, code, out + err)
        self.assertEqual(err.count("\n"), 1, err)
        for word in words:
            self.assertIn(word, err)

    def test_bad_input(self):
        self.refused(2, ["t99", "t00"], "--trial=t99")
        self.refused(3, ["nowhere"], "--set", "data.test=nowhere")
        self.refused(2, ["train.epochs", "resources"], "--set", "train.epochs=3")
        other = pathlib.Path(first_rows(self.unseen, 10, self.sweep.folder / "other labels")) / "dataset.json"
        other.write_text(other.read_text().replace('"perl"', '"cobol"'))
        self.refused(3, ["labels"], "--set", f"data.test={other.parent}")
        self.refused(4, ["bytes"], "--set", "resources.host_memory=18MiB")
        self.assertEqual([row["looks"] for row in leaderboard(self.directory)], [[]] * 4)  # nobody has seen anything

    def test_without_a_test_split(self):
        config = self.sweep.write("without.yaml", self.sweep.text)
        self.directory = self.sweep.directory("without")
        code, out, err = hopyard("run", config, "--dir", self.directory)
        self.assertEqual(code, 0, out + err)
        self.refused(2, ["data.test", "--set"])


class Again(unittest.TestCase):
    """`reproduce` and `run --replay`: trained again, bit for bit."""

    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        cls.runs = {}
        for name, search, epochs in (("asha", ASHA, 4), ("pbt", PBT, 3)):
            config = cls.sweep.write(name + ".yaml", searched(cls.sweep, search, epochs))
            code, out, err = hopyard("run", config, "--dir", cls.sweep.directory(name))
            assert code == 0, out + err
            cls.runs[name] = (config, cls.sweep.directory(name))

    def test_every_trial_is_reproduced(self):
        for name, (_, directory) in self.runs.items():
            for trial, digest in digests(directory).items():
                with self.subTest(name + " " + trial):
                    code, out, err = hopyard("reproduce", directory, f"--trial={trial}")
                    self.assertEqual(code, 0, out + err)
                    self.assertIn(f"{trial} is reproduced", out)
                    self.assertEqual(digests(f"{directory}-again-{trial}")[trial], digest)

    def test_a_clone_is_reproduced_with_its_lineage(self):
        directory = self.runs["pbt"][1]
        with contextlib.closing(journal(directory)) as opened:
            clone, parent = opened.execute("SELECT trial, parent FROM lineage ORDER BY epochs DESC, trial").fetchone()
        out = self.sweep.directory("lineage")
        code, text, err = hopyard("reproduce", directory, f"--trial={clone}", "--dir", out, "--set",
                                  "resources.devices=[{type: cpu, count: 1, threads: 1}]", "--set",
                                  "resources.host_memory=256MiB")
        self.assertEqual(code, 0, text + err)
        self.assertIn(f"{clone} begins where {parent} was", text)
        self.assertIn(parent, digests(out))
        code, text, err = hopyard("reproduce", directory, f"--trial={clone}", "--dir", out)  # compares once more
        self.assertEqual(code, 0, text + err)

    def test_a_difference_is_named(self):
        directory = self.sweep.directory("tampered")
        shutil.copytree(self.runs["asha"][1], directory)
        with contextlib.closing(journal(directory)) as opened, opened:
            opened.execute("UPDATE visits SET digest='00' WHERE trial='t00' AND epoch=0 AND visit=2")
            opened.execute("UPDATE scores SET metric='0.125' WHERE trial='t01' AND epoch=1")
        code, out, err = hopyard("reproduce", directory, "--trial=t00")
        self.assertEqual(code, 1, out + err)
        self.assertRegex(out, r"t00 differs: after epoch 1, sub-epoch 3 its digest is [0-9a-f]{32}, recorded was 00")
        code, out, err = hopyard("reproduce", directory, "--trial=t01")
        self.assertEqual(code, 1, out + err)
        self.assertIn("recorded was 0.125", out)

    def test_a_reproduction_is_no_run(self):
        config, directory = self.runs["asha"]
        out = self.sweep.directory("own")
        self.assertEqual(hopyard("reproduce", directory, "--trial=t00", "--dir", out)[0], 0)
        for command, words in [(("run", config, "--dir", out), ["reproduce"]),
                               (("reproduce", directory, "--trial=t01", "--dir", out), ["another reproduction"]),
                               (("reproduce", directory, "--trial=t01", "--dir", directory), ["a run of its own"]),
                               (("reproduce", directory, "--trial=t77"), ["t77"])]:
            code, text, err = hopyard(*command)
            self.assertEqual(code, 2, text + err)
            for word in words:
                self.assertIn(word, err)

    def test_another_fingerprint_is_said(self):
        directory = self.sweep.directory("other machine")
        shutil.copytree(self.runs["asha"][1], directory)
        with contextlib.closing(journal(directory)) as opened, opened:
            opened.execute("""UPDATE facts SET json='{"libtorch":"0.1"}' WHERE name='fingerprint'""")
        code, out, err = hopyard("reproduce", directory, "--trial=t00")
        self.assertEqual(code, 0, out + err)
        self.assertIn('recorded under {"libtorch":"0.1"}', out)

    def decisions(self, directory):
        with contextlib.closing(journal(directory)) as opened:
            return opened.execute("SELECT kind, trial, until_epoch, parts FROM decisions ORDER BY number").fetchall()

    def test_a_replay_repeats_the_decisions(self):
        for name, (config, directory) in self.runs.items():
            with self.subTest(name):
                again = self.sweep.directory(name + " again")
                code, out, err = hopyard("run", config, "--dir", again, "--replay", directory, "--set",
                                         "resources.devices=[{type: emulated, count: 1, memory: 24MiB, link: 1GiB/s}]")
                self.assertEqual(code, 0, out + err)
                self.assertIn("the same bits after each of", out)
                self.assertEqual(digests(again), digests(directory))
                self.assertEqual(self.decisions(again), self.decisions(directory))

    def test_a_replay_decides_as_recorded_whatever_the_scores(self):
        config, directory = self.runs["asha"]
        told = self.sweep.directory("told otherwise")
        shutil.copytree(directory, told)
        with contextlib.closing(journal(told)) as opened, opened:
            opened.execute("UPDATE scores SET metric='0.5' WHERE epoch=1 AND parts=2")
        code, out, err = hopyard("run", config, "--dir", self.sweep.directory("diverged"), "--replay", told)
        self.assertEqual(code, 1, out + err)
        self.assertEqual(len(re.findall(r"t\d+ differs: its score of epoch 0.5 is .*, recorded was 0.5", out)), 6)
        self.assertEqual(digests(self.sweep.directory("diverged")), digests(directory))

    def test_a_replay_that_cannot_be(self):
        config, directory = self.runs["asha"]
        for options, words in [
                (("--replay", directory, "--dir", directory), ["own directory"]),
                (("--replay", self.runs["pbt"][1], "--dir", self.sweep.directory("n1")), ["another config"]),
                (("--replay", directory, "--dir", self.sweep.directory("n2"), "--set", "seed=9"), ["another config"])]:
            code, out, err = hopyard("run", config, *options)
            self.assertEqual(code, 2, out + err)
            for word in words:
                self.assertIn(word, err)
        self.assertEqual(hopyard("run", config, "--replay", self.sweep.directory("nowhere"), "--dir",
                                 self.sweep.directory("n3"))[0], 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
