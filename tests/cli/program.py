"""The program under test, and a small sweep for it: a tiny random BERT on real rows of the Debian sections."""
import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOPYARD = os.environ.get("HOPYARD", str(ROOT / "build/release/hopyard"))

PATIENCE = 120  # seconds: how long anything may take before a test gives up

CONFIG = """
version: 1
name: small
seed: 3
data: {{train: {root}/data/sections/train, valid: {root}/data/sections/valid, train_rows: 160, valid_rows: 40, partitions: 4}}
model:
  checkpoint: {model}
  task: sequence-classification
  freeze: {{grid: [0, 2]}}
train:
  epochs: 1
  batch_size: 16
  optimizer: {{type: adamw, lr: {{grid: [1.0e-3, 3.0e-3]}}}}
search: {{method: grid, metric: valid/accuracy, goal: max}}
resources:
  devices: [{{type: emulated, count: 2, memory: 24MiB, link: 1GiB/s}}]
  host_memory: 48MiB
  disk: {{path: spill, capacity: 1GiB}}
"""


class Sweep:
    """A folder with a model, a config and room for runs; gone when the object is."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="hopyard_test_")
        self.folder = pathlib.Path(self._folder.name)
        model = self.folder / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps({
            "model_type": "bert", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 3,
            "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 2,
            "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
            "initializer_range": 0.02, "layer_norm_eps": 1e-12}))
        self.text = CONFIG.format(root=ROOT, model=model)
        self.config = self.write("config.yaml", self.text)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def directory(self, name):
        return str(self.folder / name)


def start_run(test, config, directory):
    """A run in a process of its own, which does not outlive the test."""
    process = subprocess.Popen([HOPYARD, "run", config, "--dir", directory], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    test.addCleanup(process.stderr.close)
    test.addCleanup(process.wait)
    test.addCleanup(process.kill)
    return process


def hopyard(*arguments, timeout=300, user=None):
    """Runs the program; returns (exit code, standard output, standard error)."""
    other = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run([HOPYARD, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT, **other)
    return done.returncode, done.stdout, done.stderr


def committed(directory):
    """Visits that the journal has; also of a run that is under way."""
    path = pathlib.Path(directory) / "journal.sqlite"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as looked:
        try:
            return looked.execute("SELECT count(*) FROM visits").fetchone()[0]
        except sqlite3.OperationalError:  # it is being made
            return 0


def journal(directory):
    """The journal of a run that nobody runs, to be looked at and changed; close it."""
    return sqlite3.connect(pathlib.Path(directory) / "journal.sqlite")


def leaderboard(directory):
    code, out, err = hopyard("leaderboard", directory, "--format=json")
    assert code == 0, err
    return json.loads(out)


def digests(directory):
    return {row["trial"]: row["digest"] for row in leaderboard(directory)}


def first_rows(source, rows, target, **columns):
    """A data folder of the first so many rows of one that has a single part, with further columns of whole numbers."""
    source, target = pathlib.Path(source), pathlib.Path(target)
    shutil.copytree(source, target)
    described = json.loads((source / "dataset.json").read_text())
    part = described["parts"][0]["file"]
    whole = (source / part).read_bytes()
    begin = 8 + struct.unpack("<Q", whole[:8])[0]
    header, values = {}, b""
    for name, tensor in json.loads(whole[8:begin]).items():
        if name == "__metadata__":
            continue
        first, last = tensor["data_offsets"]
        size = (last - first) // tensor["shape"][0] * rows
        header[name] = tensor | {"shape": [rows, *tensor["shape"][1:]], "data_offsets": [len(values), len(values) + size]}
        values += whole[begin + first:begin + first + size]
    for name, numbers in columns.items():
        column = struct.pack(f"<{rows}i", *numbers)
        header[name] = {"dtype": "I32", "shape": [rows], "data_offsets": [len(values), len(values) + len(column)]}
        described["columns"][name] = {"dtype": "I32", "shape": []}
        values += column
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (target / part).write_bytes(struct.pack("<Q", len(text)) + text + values)
    described["rows"] = described["parts"][0]["rows"] = rows
    (target / "dataset.json").write_text(json.dumps(described))
    return str(target)
