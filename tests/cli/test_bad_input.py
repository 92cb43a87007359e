"""Bad input gets one sentence that names the thing, the documented exit code, and nothing is lost."""
import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest

from program import HOPYARD, ROOT, Sweep, hopyard


class BadInput(unittest.TestCase):
    def setUp(self):
        self.sweep = Sweep()

    def refused(self, code, words, *arguments):
        got, out, err = hopyard(*arguments)
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
            (text.replace("72MiB", "75497472"), ["unit"]),
            (text.replace("batch_size: 16", "batch_size: many"), ["bad.yaml:", "batch_size"]),
            (text + "seed: 4\n", ["seed"]),
            (text.replace("version: 1\n", ""), ["version"]),
        ]
        for bad, words in cases:
            with self.subTest(words):
                self.refused(2, words, *self.run_config(bad))

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

    def test_does_not_fit(self):
        for key, value, words in [
                ("resources.devices", "[{type: emulated, count: 1, memory: 3MiB, link: 1GiB/s}]", ["embeddings", "bytes"]),
                ("resources.host_memory", "34MiB", ["host"]),
                ("resources.disk.capacity", "1MiB", ["disk"])]:
            with self.subTest(key):
                self.refused(4, words, "run", self.sweep.config, "--dir", self.sweep.directory(key), "--set", f"{key}={value}")

    def test_run_directory_of_another_config_or_in_use(self):
        directory = self.sweep.directory("run")
        process = subprocess.Popen([HOPYARD, "run", self.sweep.config, "--dir", directory], cwd=ROOT,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if (pathlib.Path(directory) / "journal.sqlite").exists():
                    break
                time.sleep(0.05)
            self.refused(2, ["in use"], "run", self.sweep.config, "--dir", directory)
        finally:
            process.kill()
            process.wait()
        self.refused(2, ["another config"], "run", self.sweep.config, "--dir", directory, "--set", "seed=99")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_no_permission(self):
        locked = self.sweep.folder / "locked"
        locked.mkdir(mode=0o500)
        self.refused(3, ["locked"], "run", self.sweep.config, "--dir", locked / "run")

    def test_export(self):
        self.refused(3, ["name the directory of a run"], "export", self.sweep.folder, "--trial=t00", "--out", "x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
