#!/usr/bin/env python3
"""Turns a table of texts and a tokenizer.json into a data folder that Hopyard maps into memory.

  prepare_text.py --input reviews.jsonl --tokenizer MODEL/tokenizer.json --out data/reviews
                  --text-column text --label-column label --max-tokens 128
  prepare_text.py --input books.parquet --tokenizer MODEL/tokenizer.json --out data/books
                  --text-column text --task causal-lm --max-tokens 512

The table is JSONL, CSV (with a header line) or Parquet, told by its ending. The folder holds

  dataset.json               rows, columns (dtype and shape of one row), label names, size of the vocabulary, source digest
  part-00000.safetensors ..  input_ids [n, t] I32; for text classification also attention_mask [n, t] U8 and labels [n] I32;
                             with --group-column COLUMN also that column [n] I32, for data.group_by: COLUMN

For causal-lm the documents are joined by the end token and packed to rows of exactly t ids; the rest is dropped.
With --split-by COLUMN the rows go to train/ (80 %), valid/ (10 %) and test/ (10 %) by the SHA-256 of that column's value,
and are ordered by it, so that equal values stay together and any first rows are a fair sample.
Without it the rows keep the order of the table, and the table is streamed.
The values of --group-column are kept where all of them are whole numbers, and otherwise numbered in the order of their
spelling, which dataset.json lists as "groups".
Needs: tokenizers, numpy, and pyarrow for Parquet.
"""
import argparse
import csv
import hashlib
import itertools
import json
import pathlib
import shutil
import sys

SPLITS = ("train", "valid", "test")
END_TOKENS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[SEP]")
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
ROWS_AT_A_TIME = 4096
ALIGNMENT = 64
RESERVED = ("input_ids", "attention_mask", "labels")
DTYPES = {"int32": "I32", "uint8": "U8"}


class Problem(Exception):
    """What is wrong with the input, as one sentence for a person."""


# ---- reading tables --------------------------------------------------------------------------------------------------


def read_jsonl(path):
    """Yields (line number, row) of a JSONL file; blank lines are skipped."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError:
                raise Problem(f"{path}:{number}: this line is not UTF-8")
            except (ValueError, RecursionError) as error:
                raise Problem(f"{path}:{number}: this line is not JSON ({error})")
            if not isinstance(row, dict):
                raise Problem(f"{path}:{number}: expected one JSON object a line, found a {type(row).__name__}")
            yield number, row


def read_csv(path):
    """Yields (line number, row) of a CSV file whose first line names the columns."""
    csv.field_size_limit(1 << 30)
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise Problem(f"{path}:{reader.line_num}: this row does not have {len(reader.fieldnames)} columns "
                                  "like the header")
                yield reader.line_num, row
        except UnicodeDecodeError:
            raise Problem(f"{path}: not UTF-8 after line {reader.line_num}")
        except csv.Error as error:
            raise Problem(f"{path}:{reader.line_num}: {error}")


def read_parquet(path):
    """Yields (row number, row) of a Parquet file, one batch of it in memory at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Problem("reading Parquet needs pyarrow: run this with .venv/bin/python after `make setup`")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise Problem(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")


READERS = {".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}


def read_table(path):
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Problem(f"{path}: cannot tell the kind of this file; name it {', '.join(sorted(READERS))}")
    return reader(path)


def value_of(row, column, path, number):
    if column not in row:
        raise Problem(f"{path}:{number}: no column {column!r} here; there are {', '.join(map(str, row)) or 'none'}")
    return row[column]


def text_of(row, column, path, number):
    text = value_of(row, column, path, number)
    if not isinstance(text, str):
        raise Problem(f"{path}:{number}: column {column!r} must hold text, found {json.dumps(text, default=str)}")
    return text


def label_of(row, column, path, number):
    label = value_of(row, column, path, number)
    if isinstance(label, bool) or not isinstance(label, (str, int)) or label == "":
        raise Problem(f"{path}:{number}: column {column!r} must hold a label (text or a whole number), "
                      f"found {json.dumps(label, default=str)}")
    return str(label)


# ---- labels ----------------------------------------------------------------------------------------------------------


def collect_labels(path, column):
    """The sorted label names of a table: by value if all are whole numbers, else by spelling."""
    names = {label_of(row, column, path, number) for number, row in read_table(path)}
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


INT32 = range(-2**31, 2**31)


def collect_groups(path, column):
    """{value: number} of a table's groups, and their names where the values are no whole numbers."""
    if column in RESERVED:
        raise Problem(f"--group-column {column}: the data folder has a column of that name of its own")
    names = {label_of(row, column, path, number) for number, row in read_table(path)}
    try:
        numbers = {name: int(name) for name in names}
    except ValueError:
        names = sorted(names)
        return {name: number for number, name in enumerate(names)}, names
    outside = sorted(number for number in numbers.values() if number not in INT32)
    if outside:
        raise Problem(f"{path}: column {column!r} holds {outside[0]}, and groups have numbers of 32 bits")
    return numbers, None


def given_labels(text):
    """Label names from a dataset.json, a JSON list, a file with one a line, or a list separated by commas."""
    path = pathlib.Path(text)
    if path.is_dir():
        path = path / "dataset.json"
    if path.is_file():
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            try:
                value = json.loads(content)
            except ValueError as error:
                raise Problem(f"{path}: not JSON ({error})")
            names = value.get("labels") if isinstance(value, dict) else value
        else:
            names = [line.strip() for line in content.splitlines() if line.strip()]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Problem(f"{path}: no list of label names in it")
    elif "," in text:
        names = [name.strip() for name in text.split(",")]
    else:
        raise Problem(f"--labels {text}: neither a file nor a list separated by commas")
    if not names or len(set(names)) != len(names) or "" in names:
        raise Problem(f"--labels {text}: label names must be distinct and not empty")
    return names


# ---- tokenizing ------------------------------------------------------------------------------------------------------


class Encoder:
    """A tokenizer.json as rows of exactly `tokens` ids."""

    def __init__(self, path, tokens, end_token):
        from tokenizers import Tokenizer
        if not path.is_file():
            raise Problem(f"{path}: there is no such file; give the tokenizer.json of the model")
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the binding raises plain Exception
            raise Problem(f"{path}: not a readable tokenizer.json ({error})")
        self.path, self.tokens, self.end_token = path, tokens, end_token
        self.padding = self.tokenizer.padding
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.vocabulary = max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def pad_id(self):
        if self.padding:
            return self.padding["pad_id"]
        found = (self.tokenizer.token_to_id(token) for token in PAD_TOKENS)
        return next((id for id in found if id is not None), 0)

    def end_id(self):
        wanted = (self.end_token,) if self.end_token else END_TOKENS
        for token in wanted:
            id = self.tokenizer.token_to_id(token)
            if id is not None:
                return id
        raise Problem(f"{self.path}: none of the end tokens {' '.join(wanted)} is in its vocabulary; "
                      "name one with --end-token")

    def rows(self, texts):
        """ids [n, t] int32 and mask [n, t] uint8 of texts, cut or padded at their right end."""
        import numpy
        special = self.tokenizer.num_special_tokens_to_add(False)
        if special >= self.tokens:
            raise Problem(f"--max-tokens {self.tokens}: this tokenizer adds {special} special tokens, "
                          "which leaves no room for text")
        self.tokenizer.enable_truncation(max_length=self.tokens)
        encoded = self.tokenizer.encode_batch(texts)
        ids = numpy.full((len(texts), self.tokens), self.pad_id(), dtype=numpy.int32)
        mask = numpy.zeros((len(texts), self.tokens), dtype=numpy.uint8)
        for row, one in enumerate(encoded):
            ids[row, :len(one.ids)] = one.ids
            mask[row, :len(one.ids)] = 1
        return ids, mask

    def documents(self, texts):
        """The ids of each text, followed by the end token."""
        import numpy
        end = self.end_id()
        return [numpy.array(one.ids + [end], dtype=numpy.int32)
                for one in self.tokenizer.encode_batch(texts, add_special_tokens=False)]


class Packer:
    """Joins documents and cuts the stream into rows of exactly `tokens` ids."""

    def __init__(self, tokens):
        import numpy
        self.tokens, self.rest = tokens, numpy.zeros(0, dtype=numpy.int32)

    def add(self, documents):
        import numpy
        stream = numpy.concatenate([self.rest, *documents])
        whole = len(stream) // self.tokens * self.tokens
        self.rest = stream[whole:]
        return stream[:whole].reshape(-1, self.tokens)


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_safetensors(path, tensors):
    """Writes named arrays in the order given, without holes; the first starts at a multiple of 64 bytes, and each later one
    does where the sizes before it allow."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": DTYPES[str(array.dtype)], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for array in tensors.values():
            file.write(array.tobytes())


class FolderWriter:
    """Collects rows into parts in a temporary folder beside `out`; finish() puts it in the place of `out`."""

    def __init__(self, out, rows_per_part):
        if out.exists() and not (out / "dataset.json").is_file() and (not out.is_dir() or any(out.iterdir())):
            raise Problem(f"{out}: exists and is not a data folder; choose another --out or remove it")
        self.out, self.rows_per_part = out, rows_per_part
        self.temporary = out.parent / (out.name + ".partial")
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.waiting, self.waiting_rows, self.parts, self.columns = [], 0, [], {}

    def add(self, tensors):
        rows = len(tensors["input_ids"])
        if rows == 0:
            return
        self.columns = {name: {"dtype": DTYPES[str(array.dtype)], "shape": list(array.shape[1:])}
                        for name, array in tensors.items()}
        self.waiting.append(tensors)
        self.waiting_rows += rows
        while self.waiting_rows >= self.rows_per_part:
            self._write_part(self.rows_per_part)

    def _write_part(self, rows):
        import numpy
        joined = {name: numpy.concatenate([tensors[name] for tensors in self.waiting]) for name in self.waiting[0]}
        name = f"part-{len(self.parts):05d}.safetensors"
        write_safetensors(self.temporary / name, {key: array[:rows] for key, array in joined.items()})
        self.parts.append({"file": name, "rows": rows})
        self.waiting = [{key: array[rows:] for key, array in joined.items()}]
        self.waiting_rows -= rows

    def finish(self, description):
        """Writes dataset.json and moves the folder to its place; returns the number of rows."""
        if self.waiting_rows:
            self._write_part(self.waiting_rows)
        rows = sum(part["rows"] for part in self.parts)
        if rows == 0:
            shutil.rmtree(self.temporary)
            raise Problem(f"{self.out}: no rows to write: the table is empty or too short for one row")
        dataset = {"format": "hopyard-dataset", "version": 1, "rows": rows, "columns": self.columns, **description,
                   "parts": self.parts}
        (self.temporary / "dataset.json").write_text(json.dumps(dataset, indent=1) + "\n", encoding="utf-8")
        if self.out.exists():
            shutil.rmtree(self.out)
        self.temporary.rename(self.out)
        return rows


# ---- from table to folder --------------------------------------------------------------------------------------------


def sha256_of_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def split_of(value):
    """(split, order) of a row by the SHA-256 of its split value: of ten, eight train, one validates, one tests."""
    digest = hashlib.sha256(str(value).encode()).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return SPLITS[max(0, tenth - 7)], digest


def chunks(rows):
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, ROWS_AT_A_TIME)):
        yield chunk


class Progress:
    """One line that redraws on a terminal; elsewhere one line at the end."""

    def __init__(self, what):
        self.what, self.rows, self.live = what, 0, sys.stderr.isatty()

    def add(self, rows):
        self.rows += rows
        if self.live:
            print(f"\r{self.what}: {self.rows:,} rows", end="", file=sys.stderr, flush=True)

    def done(self):
        if self.live:
            print(file=sys.stderr)


def prepare(options):
    """Writes the folder or folders that `options` (see arguments()) ask for; returns {folder: rows}."""
    path = options.input
    if not path.is_file():
        raise Problem(f"{path}: there is no such file")
    classify = options.task == "text-classification"
    if classify and not options.label_column:
        raise Problem("text classification needs --label-column (or say --task causal-lm)")
    if not classify and (options.label_column or options.labels):
        raise Problem("causal-lm takes no labels: leave out --label-column and --labels")
    if not classify and options.group_column:
        raise Problem("causal-lm joins documents to rows, which are of no one group: leave out --group-column")
    if options.max_tokens < 1 or options.rows_per_part < 1:
        raise Problem("--max-tokens and --rows-per-part must be at least 1")

    encoder = Encoder(options.tokenizer, options.max_tokens, options.end_token)
    description = {"vocabulary": encoder.vocabulary,
                   "source": {"digest": "sha256:" + sha256_of_file(path), "file": path.name}}
    label_ids = {}
    if classify:
        names = given_labels(options.labels) if options.labels else collect_labels(path, options.label_column)
        label_ids = {name: id for id, name in enumerate(names)}
        description = {"labels": names, **description}
    group_ids = {}
    if options.group_column:
        group_ids, names = collect_groups(path, options.group_column)
        if names:
            description["groups"] = names

    def item(number, row):
        """(text, label id or None, group id or None) of a row."""
        text = text_of(row, options.text_column, path, number)
        if not classify:
            return text, None, None
        label = label_of(row, options.label_column, path, number)
        if label not in label_ids:
            raise Problem(f"{path}:{number}: label {label!r} is not one of the {len(label_ids)} given by --labels")
        group = group_ids[label_of(row, options.group_column, path, number)] if group_ids else None
        return text, label_ids[label], group

    def write(out, items, progress):
        import numpy
        writer, packer = FolderWriter(out, options.rows_per_part), Packer(options.max_tokens)
        try:
            for chunk in chunks(items):
                texts, labels, groups = zip(*chunk)
                if classify:
                    ids, mask = encoder.rows(list(texts))
                    columns = {"input_ids": ids, "labels": numpy.array(labels, dtype=numpy.int32)}
                    if group_ids:
                        columns[options.group_column] = numpy.array(groups, dtype=numpy.int32)
                    writer.add({**columns, "attention_mask": mask})
                else:
                    writer.add({"input_ids": packer.add(encoder.documents(list(texts)))})
                progress.add(len(chunk))
            return writer.finish(description)
        finally:
            shutil.rmtree(writer.temporary, ignore_errors=True)

    progress, written = Progress("tokenizing"), {}
    if options.split_by:
        splits = {split: [] for split in SPLITS}
        for number, row in read_table(path):
            split, order = split_of(value_of(row, options.split_by, path, number))
            splits[split].append((order, number, *item(number, row)))
        for split, rows in splits.items():
            rows.sort(key=lambda row: row[:2])
            folder = options.out / split
            written[folder] = write(folder, (row[2:] for row in rows), progress)
    else:
        written[options.out] = write(options.out, (item(number, row) for number, row in read_table(path)), progress)
    progress.done()
    return written


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--input", type=pathlib.Path, required=True, help="the table: .jsonl, .csv or .parquet")
    add("--tokenizer", type=pathlib.Path, required=True, help="the model's tokenizer.json")
    add("--out", type=pathlib.Path, required=True, help="the data folder to write (replaced if it is one already)")
    add("--task", choices=["text-classification", "causal-lm"], default="text-classification")
    add("--text-column", default="text")
    add("--label-column", help="for text classification")
    add("--labels", help="label names in the order of their ids: a dataset.json, a JSON list, a file with one a line, or "
                         "a,b,c; without it, the sorted labels of the table")
    add("--group-column", metavar="COLUMN", help="keep this column, for data.group_by: whole numbers, or names to number")
    add("--max-tokens", type=int, default=128, help="tokens in a row, t")
    add("--end-token", help="for causal-lm: the token between documents; found by its usual names otherwise")
    add("--rows-per-part", type=int, default=16384, help="multiples of 64 keep every column aligned")
    add("--split-by", metavar="COLUMN", help="write train/, valid/ and test/ by the hash of this column")
    return parser.parse_args(argv)


def main(argv=None):
    try:
        for folder, rows in prepare(arguments(argv)).items():
            print(f"{folder}: {rows:,} rows")
        return 0
    except Problem as problem:
        print(f"prepare_text.py: {problem}", file=sys.stderr)
    except ImportError as error:
        print(f"prepare_text.py: {error.name} is missing; run it with .venv/bin/python after `make setup`", file=sys.stderr)
    except OSError as error:
        print(f"prepare_text.py: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
