"""Loads exported folders as users do and writes the logits that they give.

usage: load_export.py CLASS EXPORT EXPECTED OUT [CLASS EXPORT EXPECTED OUT ...]

CLASS is AutoModelForSequenceClassification or AutoModelForCausalLM, EXPORT the folder, EXPECTED the safetensors file with
input_ids and attention_mask, OUT the safetensors file to write. A missing or superfluous tensor is an error.
"""

import sys

import torch
import transformers
from safetensors.torch import load_file, save_file


def logits_of(class_name, export, expected):
    model, info = getattr(transformers, class_name).from_pretrained(export, output_loading_info=True)
    wrong = {what: keys for what, keys in info.items() if keys}
    if wrong:
        raise SystemExit(f"{export}: {wrong}")
    inputs = load_file(expected)
    with torch.no_grad():
        model.eval()
        return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits


def main():
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    for class_name, export, expected, out in zip(*[iter(arguments)] * 4):
        logits = logits_of(class_name, export, expected)
        save_file({"logits": logits.contiguous()}, out)


if __name__ == "__main__":
    main()
