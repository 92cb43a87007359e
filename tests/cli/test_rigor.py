"""Groups as a user meets them: a killed run ends as an undisturbed one, and the numbers follow from the predictions."""
import contextlib
import json
import math
import pathlib
import statistics
import struct
import subprocess
import time
import unittest

from program import HOPYARD, ROOT, Sweep, hopyard

FORMATS = {"F32": "f", "I64": "q", "U8": "B"}


def read_safetensors(path):
    """Name → (shape, values), by the format's description alone."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        begin, end = entry["data_offsets"]
        kind = FORMATS[entry["dtype"]]
        values = struct.unpack_from(f"<{(end - begin) // struct.calcsize(kind)}{kind}", data, 8 + length + begin)
        tensors[name] = entry["shape"], values
    return tensors


def leaderboard(directory, *options):
    code, out, err = hopyard("leaderboard", directory, "--format=json", *options)
    assert code == 0, err
    return json.loads(out)


def analysis(directory):
    code, out, err = hopyard("analyse", directory, "--format=json")
    assert code == 0, err
    return json.loads(out)


class Groups(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        text = cls.sweep.text.replace("freeze: {grid: [0, 2]}", "freeze: 1").replace("epochs: 1", "epochs: 2")
        cls.config = cls.sweep.write("groups.yaml", text.replace("{method: grid,", "{method: grid, seeds: 3,"))
        cls.whole = cls.sweep.directory("whole")
        begin = time.monotonic()
        code, cls.output, err = hopyard("run", cls.config, "--dir", cls.whole)
        assert code == 0, cls.output + err
        cls.seconds = time.monotonic() - begin
        cls.members = leaderboard(cls.whole, "--members")

    def predictions(self, row):
        path = pathlib.Path(self.whole) / "trials" / row["trial"] / f"predictions-{row['epochs']}.safetensors"
        return read_safetensors(path)

    def test_predictions_give_the_score(self):
        self.assertEqual(len(self.members), 6)
        for row in self.members:
            tensors = self.predictions(row)
            values = {name: held for name, (shape, held) in tensors.items()}
            self.assertEqual(bytes(values["digest"]).decode(), row["digest"])
            self.assertEqual(len(values["loss"]), 40)
            self.assertEqual(tensors["probabilities"][0][0], 40)
            self.assertAlmostEqual(sum(values["correct"]) / 40, row["metric"], places=12)
            self.assertAlmostEqual(sum(values["loss"]) / 40, row["valid_loss"], places=5)
            right = [float(p == label) for p, label in zip(values["predicted"], values["labels"])]
            self.assertEqual(list(values["correct"]), right)

    def test_a_group_is_the_mean_of_its_members(self):
        metrics = {}
        for row in self.members:
            metrics.setdefault(row["trial"].split(".")[0], []).append(row["metric"])
        for group in leaderboard(self.whole):
            of = metrics[group["group"]]
            self.assertEqual(group["runs"], 3)
            self.assertAlmostEqual(group["mean"], statistics.mean(of))
            half = 4.302652729696142 * statistics.stdev(of) / math.sqrt(3)  # Student's t at 97.5 %, 2 degrees
            self.assertAlmostEqual(group["interval"][1], group["mean"] + half)
            self.assertAlmostEqual(group["interval"][0], group["mean"] - half)
            self.assertIn("Student", group["interval_method"])
            self.assertEqual(sorted(one["trial"] for one in group["members"]),
                             sorted(row["trial"] for row in self.members if row["trial"].startswith(group["group"])))
            self.assertIn("MultiBERTs", group["comparison"]["citation"])

    def test_bias_and_variance_are_those_of_the_predictions(self):
        report = analysis(self.whole)
        self.assertEqual(len(report["bias_variance"]), 2)
        for parts in report["bias_variance"]:
            runs = [self.predictions(row) for row in self.members if row["trial"].startswith(parts["group"])]
            labels = runs[0]["labels"][1]
            votes = list(zip(*(run["predicted"][1] for run in runs)))
            main = [max(sorted(set(vote)), key=vote.count) for vote in votes]
            bias = sum(m != label for m, label in zip(main, labels)) / 40
            loss = sum(sum(v != label for v in vote) for vote, label in zip(votes, labels)) / 120
            self.assertAlmostEqual(parts["zero_one"]["bias"], bias)
            self.assertAlmostEqual(parts["zero_one"]["loss"], loss)
            self.assertAlmostEqual(parts["zero_one"]["loss"], parts["zero_one"]["bias"] + parts["zero_one"]["variance"])
            log_loss = sum(sum(run["loss"][1]) for run in runs) / 120
            self.assertAlmostEqual(parts["log"]["loss"], log_loss, places=4)
        self.assertEqual(report["selection"]["trials"], 2)
        self.assertIn("exact", report["noise"])

    def test_what_people_read(self):
        self.assertIn("95 % interval", self.output)
        self.assertRegex(self.output, "cannot be told apart from|is better than all others")
        code, out, _ = hopyard("analyse", self.whole)
        self.assertEqual(code, 0)
        for words in ["Bias and variance over the runs", "Noise floor", "of its score is optimism"]:
            self.assertIn(words, out)
        html = (pathlib.Path(self.whole) / "report.html").read_text()
        self.assertIn("Is the best really better?", html)
        self.assertIn("Domingos", html)
        code, out, _ = hopyard("leaderboard", self.whole, "--format=csv")
        self.assertEqual(len(out.splitlines()), 3)

    def test_seed_number_0_is_the_plain_trial(self):
        code, out, err = hopyard("run", self.config, "--set", "search.seeds=1", "--set", "data.partitions=1", "--dir",
                                 self.sweep.directory("plain"))
        self.assertEqual(code, 0, out + err)
        code, out, err = hopyard("run", self.config, "--set", "search.seeds=2", "--set", "data.partitions=1", "--dir",
                                 self.sweep.directory("two"))
        self.assertEqual(code, 0, out + err)
        plain, members = ({row["trial"]: row["digest"] for row in leaderboard(self.sweep.directory(name), "--members")}
                          for name in ("plain", "two"))
        self.assertEqual({trial + ".s0": digest for trial, digest in plain.items()}.items() - members.items(), set())
        self.assertEqual(len(set(members.values())), 4)

    def test_killed_groups_end_as_if_undisturbed(self):
        text = self.sweep.text.replace("freeze: {grid: [0, 2]}", "freeze: 1").replace("epochs: 1", "epochs: 2")
        text = text.replace("{method: grid,", "{method: successive_halving, trials: 2, eta: 2, resamples: 2, deterministic: true,")
        config = self.sweep.write("halving.yaml", text)
        whole, killed = self.sweep.directory("halving"), self.sweep.directory("halving killed")
        begin = time.monotonic()
        code, out, err = hopyard("run", config, "--dir", whole)
        self.assertEqual(code, 0, out + err)
        seconds = time.monotonic() - begin
        for share in [0.4, 0.6, 0.8]:
            process = subprocess.Popen([HOPYARD, "run", config, "--dir", killed], cwd=ROOT, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=share * seconds)
            process.kill()
            process.wait()
        code, out, err = hopyard("run", config, "--dir", killed)
        self.assertEqual(code, 0, out + err)
        digests = [{row["trial"]: row["digest"] for row in leaderboard(where, "--members")} for where in (whole, killed)]
        self.assertEqual(digests[0], digests[1])
        self.assertEqual(leaderboard(killed)[0]["comparison"], leaderboard(whole)[0]["comparison"])
        states = sorted(row["state"] for row in leaderboard(killed, "--members"))
        self.assertEqual(states, ["finished", "finished", "stopped", "stopped"])
        left = [path.name for path in pathlib.Path(killed).rglob("*.tmp*")]
        self.assertEqual(left, [])


class Refusals(unittest.TestCase):
    def test_sentences(self):
        sweep = Sweep()
        for search, words in [
                ("{method: grid, resamples: 1,", "search.resamples must be"),
                ("{method: grid, resample_method: kfold,", "search.resample_method belongs to search.resamples"),
                ("{method: grid, seeds: 40, resamples: 40,", "at most 1000 members"),
                ("{method: grid, resamples: 161, resample_method: kfold,", "there are 160 training rows for 161 folds"),
        ]:
            config = sweep.write("bad.yaml", sweep.text.replace("{method: grid,", search))
            code, out, err = hopyard("run", config, "--dir", sweep.directory("bad"))
            self.assertEqual(code, 2, out + err)
            self.assertIn(words, err)
        code, _, err = hopyard("analyse", sweep.directory("none"))
        self.assertEqual(code, 3, err)


if __name__ == "__main__":
    unittest.main()
