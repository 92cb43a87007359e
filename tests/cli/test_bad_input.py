"""Bad input gets one sentence that names the thing, the documented exit code, and nothing is lost."""
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import time
import unittest

from program import HOPYARD, PATIENCE, ROOT, Sweep, committed, hopyard, leaderboard


class BadInput(unittest.TestCase):
    def setUp(self):
        self.sweep = Sweep()

    def refused(self, code, words, *arguments, user=None):
        got, out, err = hopyard(*arguments, user=user)
        self.assertEqual(got, code, out + err)
        for word in words:
            self.assertIn(word, err)
        self.assertEqual(err.count("\n"), 1, err)

    def run_config(self, text):
        return ["run", self.sweep.write("bad.yaml", text), "--dir", self.sweep.directory("bad")]

    def test_config(self):
        text = self.sweep.text
        cases = [
            (text.replace("epochs", "epoch"), ["bad.yaml:", "epoch", "epochs"]),
            (text.replace("48MiB", "50331648"), ["unit"]),
            (text.replace("batch_size: 16", "batch_size: many"), ["bad.yaml:", "batch_size"]),
            (text + "seed: 4\n", ["seed"]),
            (text.replace("version: 1\n", ""), ["version"]),
        ]
        for bad, words in cases:
            with self.subTest(words):
                self.refused(2, words, *self.run_config(bad))

    def test_spaces_that_cannot_be_searched(self):
        lr, freeze = "{grid: [1.0e-3, 3.0e-3]}", "{grid: [0, 2]}"
        random = self.sweep.text.replace("method: grid", "method: random, trials: 4")
        cases = [  # empty, infinite under grid, contradictory
            (self.sweep.text.replace(freeze, "{grid: []}"), ["model.freeze"]),
            (self.sweep.text.replace(lr, "{loguniform: [1.0e-4, 1.0e-2]}"), ["train.optimizer.lr", "step", "random"]),
            (random.replace(lr, "{loguniform: [1.0e-2, 1.0e-4]}"), ["train.optimizer.lr", "low end first"]),
            (random.replace(lr, "{loguniform: [0, 1.0e-4]}"), ["train.optimizer.lr", "above 0"]),
            (random.replace(lr, "{grid: [1.0e-3], when: {model.freeze: 9}}"), ["train.optimizer.lr", "never is"]),
            (random.replace(lr, "{grid: [1.0e-3], when: {train.batch_size: 16}}"), ["train.batch_size", "not searched"]),
            (self.sweep.text.replace(freeze, "{int: [0, 1.5]}"), ["model.freeze", "whole"]),
        ]
        for bad, words in cases:
            with self.subTest(words):
                self.refused(2, words, *self.run_config(bad))
                self.refused(2, words, "plan", self.sweep.write("bad.yaml", bad), "--trials")
        self.assertFalse(pathlib.Path(self.sweep.directory("bad")).exists())

    def test_a_metric_that_no_trial_reports(self):
        for metric in ("valid/perplexity", "test/accuracy", "accuracy"):
            text = self.sweep.text.replace("metric: valid/accuracy", f"metric: {metric}")
            self.refused(2, ["search.metric", metric, "valid/accuracy"], *self.run_config(text))

    def test_a_loss_that_is_not_finite_ends_its_trial_alone(self):
        text = self.sweep.text.replace("{grid: [1.0e-3, 3.0e-3]}", "{grid: [1.0e-3, 1.0e+30]}")
        directory = self.sweep.directory("diverges")
        code, out, err = hopyard("run", self.sweep.write("diverges.yaml", text), "--dir", directory)
        self.assertEqual(code, 0, out + err)
        for row in leaderboard(directory):
            diverged = row["settings"]["train.optimizer.lr"] == 1e30
            self.assertEqual(row["state"], "failed" if diverged else "finished", row)
            self.assertEqual("not a finite number" in row["reason"], diverged)
        code, _, err = hopyard("run", self.sweep.write("all.yaml", text.replace("1.0e-3, ", "")), "--dir",
                               self.sweep.directory("all"))
        self.assertEqual(code, 1, err)
        self.assertIn("every trial failed", err)

    def test_command_line(self):
        self.refused(2, ["rum", "run"], "rum")
        self.refused(2, ["--frsh", "--fresh"], "run", self.sweep.config, "--frsh=1")
        self.refused(2, ["usage"], "leaderboard")
        self.refused(2, ["PATH=VALUE"], "run", self.sweep.config, "--set", "nonsense")
        self.refused(3, ["missing.yaml"], "run", "missing.yaml")
        self.refused(3, ["name the directory of a run"], "leaderboard", self.sweep.folder)

    def test_checkpoint(self):
        config = self.sweep.folder / "model/config.json"
        good = config.read_text()
        config.write_text(good.replace('"bert"', '"mamba"'))
        self.refused(3, ["mamba", "bert", "gpt2"], *self.run_config(self.sweep.text))
        config.write_text(good.replace("30522", "100"))
        self.refused(3, ["vocab"], *self.run_config(self.sweep.text))
        config.unlink()
        self.refused(3, ["config.json"], *self.run_config(self.sweep.text))

    def test_data(self):
        copy = self.sweep.folder / "data"
        shutil.copytree(ROOT / "data/sections/train", copy)
        text = self.sweep.text.replace(f"{ROOT}/data/sections/train", str(copy))
        part = copy / "part-00000.safetensors"
        whole = part.read_bytes()
        part.write_bytes(whole[:len(whole) // 2])
        self.refused(3, ["part-00000.safetensors"], *self.run_config(text))
        part.unlink()
        self.refused(3, ["part-00000.safetensors"], *self.run_config(text))
        part.write_bytes(whole)
        described = json.loads((copy / "dataset.json").read_text())
        described["labels"] = described["labels"][:3]
        (copy / "dataset.json").write_text(json.dumps(described))
        self.refused(3, ["labels"], *self.run_config(text))

    def columns(self, columns, labels=("a", "b")):
        """A data folder of 160 rows of zeros, but ids of 40,000; `columns` are (name, dtype, shape of a row)."""
        folder = self.sweep.folder / "columns"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        header, values = {}, b""
        for name, dtype, shape in sorted(columns):
            begin = len(values)
            values += struct.pack("<I", 40_000 if name == "input_ids" else 0) * (160 * math.prod(shape))
            header[name] = {"dtype": dtype, "shape": [160, *shape], "data_offsets": [begin, len(values)]}
        text = json.dumps(header).encode()
        (folder / "part.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values)
        (folder / "dataset.json").write_text(json.dumps({
            "format": "hopyard-dataset", "version": 1, "rows": 160, "labels": list(labels),
            "columns": {name: {"dtype": dtype, "shape": shape} for name, dtype, shape in columns},
            "parts": [{"file": "part.safetensors", "rows": 160}]}))
        return str(folder)

    def test_columns(self):
        ids, labels = ("input_ids", "I32", [8]), ("labels", "I32", [])
        mlp = {"model_type": "mlp", "input_size": 8, "hidden_sizes": [16]}
        bert = json.loads((self.sweep.folder / "model/config.json").read_text())
        bare = {key: value for key, value in bert.items() if key != "vocab_size"}
        cases = [
            (bert, "sequence-classification", [ids, ("labels", "I32", [1])], ["'labels'", "one value a row"]),
            (bert, "regression", [ids, ("labels", "F32", [1])], ["'labels'", "one value a row"]),
            (bert, "sequence-classification", [ids, labels, ("attention_mask", "I32", [9])], ["'attention_mask'"]),
            (bert, "sequence-classification", [("features", "F32", [8]), labels], ["'bert'", "'features'"]),
            (mlp, "sequence-classification", [ids, labels], ["'mlp'", "'input_ids'"]),
            (bare, "sequence-classification", [ids, labels], ["40000", "0 to 30521"]),
        ]
        for number, (model, task, columns, words) in enumerate(cases):
            with self.subTest(words):
                (self.sweep.folder / "model/config.json").write_text(json.dumps(model))
                folder = self.columns(columns)
                text = self.sweep.text.replace("sequence-classification", task).replace("{grid: [0, 2]}", "0")
                for part in ("train", "valid"):
                    text = text.replace(f"{ROOT}/data/sections/{part}", folder)
                if task == "regression":
                    text = text.replace("valid/accuracy, goal: max", "valid/mse, goal: min")
                config = self.sweep.write(f"columns-{number}.yaml", text)
                self.refused(3, words, "run", config, "--dir", self.sweep.directory(f"columns-{number}"))

    def test_a_layer_too_large_is_refused_at_once(self):
        path = self.sweep.folder / "model/config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"vocab_size": 1 << 28, "hidden_size": 8192}))
        begin = time.monotonic()
        self.refused(4, ["embeddings", "bytes"], *self.run_config(self.sweep.text))
        self.assertLess(time.monotonic() - begin, 20)

    def test_does_not_fit(self):
        for key, value, words in [
                ("resources.devices", "[{type: emulated, count: 1, memory: 3MiB, link: 1GiB/s}]", ["embeddings", "bytes"]),
                ("resources.host_memory", "10MiB", ["host"]),
                ("resources.disk.capacity", "1MiB", ["disk"])]:
            with self.subTest(key):
                self.refused(4, words, "run", self.sweep.config, "--dir", self.sweep.directory(key), "--set", f"{key}={value}")

    def test_run_directory_of_another_config_or_in_use(self):
        directory = self.sweep.directory("run")
        long = ["run", self.sweep.config, "--dir", directory, "--set", "train.epochs=1000"]
        process = subprocess.Popen([HOPYARD, *long], cwd=ROOT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + PATIENCE
            while not (pathlib.Path(directory) / "journal.sqlite").exists() or committed(directory) == 0:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.refused(2, ["in use"], *long)
        finally:
            process.kill()
            process.wait()
        self.refused(2, ["another config"], *long, "--set", "seed=99")

    def test_a_directory_whose_run_never_began_takes_another_config(self):
        directory = pathlib.Path(self.sweep.directory("run"))
        self.refused(2, ["train_rows"], "run", self.sweep.config, "--dir", directory, "--set", "data.train_rows=1000000")
        self.assertTrue((directory / "journal.sqlite").exists())
        code, out, err = hopyard("run", self.sweep.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertIn("train_rows: 160", (directory / "config.yaml").read_text())
        own = self.sweep.folder / "own"  # with a config that somebody wrote
        self.refused(2, ["train_rows"], "run", self.sweep.config, "--dir", own, "--set", "data.train_rows=1000000")
        with open(own / "config.yaml", "a", encoding="utf-8") as config:
            config.write("# mine\n")
        self.refused(2, ["another config"], "run", self.sweep.config, "--dir", own, "--set", "seed=99")
        self.assertIn("# mine", (own / "config.yaml").read_text())

    def runs_as(self, user):
        try:
            return hopyard("help", user=user)[0] == 0
        except PermissionError:
            return False

    def test_no_permission(self):
        nobody = 65534 if os.geteuid() == 0 else None  # root may write everywhere
        if not self.runs_as(nobody):
            self.skipTest("the program lies where only root may read, and root may write everywhere")
        self.sweep.folder.chmod(0o755)
        locked = self.sweep.folder / "locked"
        locked.mkdir(mode=0o000)
        self.addCleanup(locked.chmod, 0o700)
        for fresh in ["--fresh=false", "--fresh"]:
            self.refused(3, ["locked", "ermission"], "run", self.sweep.config, "--dir", locked / "run", fresh, user=nobody)
        self.refused(3, ["locked", "ermission"], "run", locked / "config.yaml", user=nobody)
        for verb in [["leaderboard"], ["plan"], ["export", "--trial=t00", "--out=x"]]:
            self.refused(3, ["locked", "ermission"], verb[0], locked / "run", *verb[1:], user=nobody)

    def test_paths_that_lead_nowhere(self):
        file = self.sweep.write("file", "")
        loop = self.sweep.folder / "loop"
        loop.symlink_to(loop)
        for nowhere in [f"{file}/run", f"{loop}/run", self.sweep.directory("x" * 300)]:
            self.refused(3, [nowhere], "run", self.sweep.config, "--dir", nowhere)
            self.refused(3, [nowhere], "run", self.sweep.config, "--dir", nowhere, "--fresh")
            self.refused(3, [nowhere], "leaderboard", nowhere)
            self.refused(3, [nowhere], "plan", nowhere)

    def test_fresh_moves_runs_only(self):
        folder = self.sweep.folder / "thesis"
        folder.mkdir()
        (folder / "config.yaml").write_text(self.sweep.text)
        (folder / "chapter").write_text("x")
        self.refused(2, ["thesis", "--dir"], "run", self.sweep.config, "--dir", folder, "--fresh")
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["chapter", "config.yaml"])

    def test_a_run_does_not_take_the_users_own_config_for_its_record(self):
        before = pathlib.Path(self.sweep.config).read_text()
        for more in [[], ["--fresh"]]:
            self.refused(2, ["config.yaml", "another name"], "run", self.sweep.config, "--dir", self.sweep.folder, *more)
        self.assertEqual(pathlib.Path(self.sweep.config).read_text(), before)

    def test_export(self):
        self.refused(3, ["name the directory of a run"], "export", self.sweep.folder, "--trial=t00", "--out", "x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
