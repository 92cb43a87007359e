"""What tools/prepare_text.py writes, read back by the safetensors library, and what it refuses. Needs .venv."""
import contextlib
import hashlib
import io
import json
import unittest

from tools_under_test import Tree, load_tool

import numpy
import pyarrow
import pyarrow.parquet
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

prepare_text = load_tool("prepare_text.py")

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "tool", "to", "play", "games"]


def word_tokenizer():
    """A tokenizer of nine words that adds [CLS] and [SEP], as tokenizer.json."""
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return tokenizer.to_str()


ROWS = [{"name": "a", "text": "A tool", "label": "utils"}, {"name": "b", "text": "to play games to play", "label": "games"},
        {"name": "c", "text": "", "label": "utils"}]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


class PrepareText(unittest.TestCase):
    def run_tool(self, files, *arguments, table="table.jsonl"):
        """(exit code, what it said, {folder: (dataset.json, [part tensors])}) of a run in a fresh folder."""
        with Tree({"tokenizer.json": word_tokenizer(), **files}) as root, \
                contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            arguments = [argument.replace("ROOT", str(root)) for argument in arguments]
            code = prepare_text.main(["--input", str(root / table), "--tokenizer", str(root / "tokenizer.json"),
                                      "--out", str(root / "out"), *arguments])
            folders = {}
            for path in sorted((root / "out").rglob("dataset.json")):
                dataset = json.loads(path.read_text())
                parts = [load_file(path.parent / part["file"]) for part in dataset["parts"]]
                folders[path.parent.relative_to(root).as_posix()] = dataset, parts
            self.assertEqual([], [str(path) for path in root.rglob("*.partial")])
        return code, said.getvalue(), folders

    CLASSIFY = ("--label-column", "label", "--max-tokens", "5")

    def test_rows_are_cut_padded_and_masked(self):
        code, _, folders = self.run_tool({"table.jsonl": jsonl(ROWS)}, *self.CLASSIFY)
        self.assertEqual(0, code)
        dataset, (part,) = folders["out"]
        self.assertEqual({
            "format": "hopyard-dataset", "version": 1, "rows": 3,
            "columns": {"input_ids": {"dtype": "I32", "shape": [5]}, "labels": {"dtype": "I32", "shape": []},
                        "attention_mask": {"dtype": "U8", "shape": [5]}},
            "labels": ["games", "utils"], "vocabulary": 9,
            "source": {"digest": "sha256:" + hashlib.sha256(jsonl(ROWS).encode()).hexdigest(), "file": "table.jsonl"},
            "parts": [{"file": "part-00000.safetensors", "rows": 3}],
        }, dataset)
        self.assertEqual([[1, 4, 5, 2, 0], [1, 6, 7, 8, 2], [1, 2, 0, 0, 0]], part["input_ids"].tolist())
        self.assertEqual([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], part["attention_mask"].tolist())
        self.assertEqual([1, 0, 1], part["labels"].tolist())
        self.assertEqual([numpy.int32, numpy.uint8, numpy.int32],
                         [part[name].dtype for name in ("input_ids", "attention_mask", "labels")])

    def test_csv_and_parquet_give_the_same_parts(self):
        _, _, expected = self.run_tool({"table.jsonl": jsonl(ROWS)}, *self.CLASSIFY)
        csv = "name,text,label\n" + "".join(f'{row["name"]},"{row["text"]}",{row["label"]}\n' for row in ROWS)
        _, said, got = self.run_tool({"table.csv": csv}, *self.CLASSIFY, table="table.csv")
        self.assertEqual(str(expected["out"][1]), str(got["out"][1]), said)
        with Tree({}) as root:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), root / "table.parquet")
            _, said, got = self.run_tool({}, *self.CLASSIFY, table=root / "table.parquet")
        self.assertEqual(str(expected["out"][1]), str(got["out"][1]), said)

    def test_parts_have_the_asked_rows_and_start_aligned(self):
        rows = [{"text": "a tool " * (i % 4), "label": i % 3} for i in range(150)]
        with Tree({"tokenizer.json": word_tokenizer(), "table.jsonl": jsonl(rows)}) as root, \
                contextlib.redirect_stdout(io.StringIO()):
            prepare_text.main(["--input", str(root / "table.jsonl"), "--tokenizer", str(root / "tokenizer.json"), "--out",
                               str(root / "out"), *self.CLASSIFY, "--rows-per-part", "64"])
            dataset = json.loads((root / "out/dataset.json").read_text())
            self.assertEqual([64, 64, 22], [part["rows"] for part in dataset["parts"]])
            self.assertEqual(["0", "1", "2"], dataset["labels"])
            labels = []
            for part in dataset["parts"]:
                raw = (root / "out" / part["file"]).read_bytes()
                length = int.from_bytes(raw[:8], "little")
                header = json.loads(raw[8:8 + length])
                self.assertEqual(0, (8 + length) % 64)
                starts = [8 + length + tensor["data_offsets"][0] for tensor in header.values()]
                self.assertTrue(part["rows"] != 64 or all(start % 64 == 0 for start in starts), starts)
                self.assertTrue(all(start % 4 == 0 for start in starts), starts)
                labels += load_file(root / "out" / part["file"])["labels"].tolist()
            self.assertEqual([i % 3 for i in range(150)], labels)

    def test_labels_given_keep_their_ids(self):
        for given in ("utils,net,games", "ROOT/names.txt", "ROOT/names.json", "ROOT/other"):
            _, said, folders = self.run_tool({
                "table.jsonl": jsonl(ROWS), "names.txt": "utils\nnet\ngames\n", "names.json": '["utils", "net", "games"]',
                "other/dataset.json": '{"labels": ["utils", "net", "games"]}',
            }, *self.CLASSIFY, "--labels", given)
            self.assertEqual(["utils", "net", "games"], folders["out"][0]["labels"], said)
            self.assertEqual([0, 2, 0], folders["out"][1][0]["labels"].tolist())

    def test_a_group_column_is_kept(self):
        rows = [{**row, "section": section} for row, section in zip(ROWS, ("9", -4, "9"))]
        code, said, folders = self.run_tool({"table.jsonl": jsonl(rows)}, *self.CLASSIFY, "--group-column", "section")
        self.assertEqual(0, code, said)
        dataset, (part,) = folders["out"]
        self.assertEqual({"dtype": "I32", "shape": []}, dataset["columns"]["section"])
        self.assertEqual([9, -4, 9], part["section"].tolist())
        self.assertNotIn("groups", dataset)
        rows = [{**row, "section": section} for row, section in zip(ROWS, ("web", "net", "web"))]
        _, _, folders = self.run_tool({"table.jsonl": jsonl(rows)}, *self.CLASSIFY, "--group-column", "section")
        dataset, (part,) = folders["out"]
        self.assertEqual([1, 0, 1], part["section"].tolist())
        self.assertEqual(["net", "web"], dataset["groups"])

    def test_groups_have_equal_numbers_in_all_splits(self):
        rows = [{"name": f"n{i}", "text": "tool", "label": "x", "section": f"s{i % 7}"} for i in range(200)]
        code, said, folders = self.run_tool({"table.jsonl": jsonl(rows)}, *self.CLASSIFY, "--group-column", "section",
                                            "--split-by", "name")
        self.assertEqual(0, code, said)
        self.assertEqual(3, len(folders))
        counts = numpy.zeros(7, dtype=int)
        for dataset, parts in folders.values():
            self.assertEqual([f"s{i}" for i in range(7)], dataset["groups"])
            counts += numpy.bincount(numpy.concatenate([part["section"] for part in parts]), minlength=7)
        self.assertEqual([29] * 4 + [28] * 3, counts.tolist())

    def test_bad_group_columns_are_told_in_one_sentence(self):
        for rows, column, words in (([{**row, "labels": 1} for row in ROWS], "labels", "of its own"),
                                    (ROWS, "section", "no column 'section'"),
                                    ([{**row, "section": 2**31} for row in ROWS], "section", "numbers of 32 bits")):
            code, said, _ = self.run_tool({"table.jsonl": jsonl(rows)}, *self.CLASSIFY, "--group-column", column)
            self.assertEqual(3, code)
            self.assertIn(words, said)
        code, said, _ = self.run_tool({"table.jsonl": jsonl(ROWS)}, "--task", "causal-lm", "--max-tokens", "5",
                                      "--group-column", "name")
        self.assertEqual(3, code)
        self.assertIn("of no one group", said)

    def test_split_is_by_hash_and_in_its_order(self):
        rows = [{"name": f"package-{i}", "text": "tool", "label": str(i)} for i in range(1000)]
        _, said, folders = self.run_tool({"table.jsonl": jsonl(rows)}, *self.CLASSIFY, "--split-by", "name")
        self.assertEqual({"out/train", "out/valid", "out/test"}, set(folders), said)
        sizes = {name: dataset["rows"] for name, (dataset, _) in folders.items()}
        self.assertEqual(1000, sum(sizes.values()))
        self.assertTrue(760 < sizes["out/train"] < 840 and 70 < sizes["out/valid"] < 130, sizes)
        for name, (dataset, parts) in folders.items():
            self.assertEqual(1000, len(dataset["labels"]))
            hashes = [hashlib.sha256(f"package-{dataset['labels'][id]}".encode()).digest() for id in parts[0]["labels"]]
            self.assertEqual(sorted(hashes), hashes)
            tenths = {int.from_bytes(digest[:8], "big") % 10 for digest in hashes}
            self.assertEqual({"out/train": set(range(8)), "out/valid": {8}, "out/test": {9}}[name], tenths)

    def test_causal_rows_are_packed_without_holes(self):
        _, said, folders = self.run_tool({"table.jsonl": jsonl(ROWS)}, "--task", "causal-lm", "--max-tokens", "4")
        dataset, (part,) = folders["out"]
        stream = [4, 5, 2, 6, 7, 8, 6, 7, 2, 2]  # each document ends with [SEP]; the last two ids do not fill a row
        self.assertEqual(stream[:8], part["input_ids"].ravel().tolist(), said)
        self.assertEqual({"input_ids": {"dtype": "I32", "shape": [4]}}, dataset["columns"])
        self.assertEqual(["input_ids"], list(part))
        self.assertNotIn("labels", dataset)

    def test_a_second_run_replaces_its_folder_but_no_other(self):
        for files, code in (({"out/dataset.json": "{}", "out/part-00009.safetensors": ""}, 0),
                            ({"out/diary.txt": "dear"}, 3)):
            got, said, folders = self.run_tool({"table.jsonl": jsonl(ROWS), **files}, *self.CLASSIFY)
            self.assertEqual(code, got)
            self.assertTrue(code == 0 or "is not a data folder" in said, said)
            self.assertEqual(code == 0, "out" in folders and len(folders["out"][1]) == 1)

    def test_bad_input_is_told_in_one_sentence(self):
        good = jsonl(ROWS)
        cases = [
            ({}, self.CLASSIFY, "there is no such file"),
            ({"table.jsonl": good + "{nonsense\n"}, self.CLASSIFY, "table.jsonl:4: this line is not JSON"),
            ({"table.jsonl": good + "[1]\n"}, self.CLASSIFY, "expected one JSON object a line, found a list"),
            ({"table.jsonl": good + '{"text": "x"}\n'}, self.CLASSIFY, "4: no column 'label' here; there are text"),
            ({"table.jsonl": '{"text": 7, "label": "a"}\n'}, self.CLASSIFY, "column 'text' must hold text, found 7"),
            ({"table.jsonl": '{"text": "x", "label": 1.5}\n'}, self.CLASSIFY, "must hold a label"),
            ({"table.jsonl": ""}, self.CLASSIFY, "no rows to write"),
            ({"table.jsonl": good}, (), "needs --label-column"),
            ({"table.jsonl": good}, (*self.CLASSIFY, "--labels", "net,admin"), "is not one of the 2 given by --labels"),
            ({"table.jsonl": good}, (*self.CLASSIFY, "--labels", "absent"), "neither a file nor a list"),
            ({"table.jsonl": good}, (*self.CLASSIFY, "--labels", "a,b,a"), "must be distinct"),
            ({"table.jsonl": good}, ("--label-column", "label", "--max-tokens", "2"), "leaves no room for text"),
            ({"table.jsonl": good}, (*self.CLASSIFY, "--max-tokens", "0"), "must be at least 1"),
            ({"table.jsonl": good}, (*self.CLASSIFY, "--split-by", "absent"), "no column 'absent'"),
            ({"table.jsonl": good}, ("--task", "causal-lm", "--max-tokens", "64"), "too short for one row"),
            ({"table.jsonl": good}, ("--task", "causal-lm", "--end-token", "<stop>"), "name one with --end-token"),
            ({"table.jsonl": good, "tokenizer.json": "{}"}, self.CLASSIFY, "not a readable tokenizer.json"),
        ]
        for files, arguments, sentence in cases:
            code, said, folders = self.run_tool(files, *arguments)
            self.assertEqual(3, code, sentence)
            self.assertIn(sentence, said)
            self.assertEqual(1, said.count("\n"), said)
            self.assertEqual({}, folders)
        for table, text, sentence in (("table.csv", "text,label\na\n", "table.csv:2: this row does not have 2 columns"),
                                      ("table.parquet", "no", "not a readable Parquet file"),
                                      ("table.tsv", "no", "cannot tell the kind of this file")):
            code, said, _ = self.run_tool({table: text}, *self.CLASSIFY, table=table)
            self.assertEqual(3, code)
            self.assertIn(sentence, said)


if __name__ == "__main__":
    unittest.main()
