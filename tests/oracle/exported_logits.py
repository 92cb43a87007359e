"""What the loaders of exported folders have in common: the logits that a model gives for stored inputs."""

import sys

import torch
import transformers
from safetensors.torch import load_file, save_file


def logits_of(model, expected):
    """For the input_ids and attention_mask of the safetensors file `expected`."""
    inputs = load_file(expected)
    with torch.no_grad():
        model.eval()
        return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits


def write_all(load, count):
    """The command line is groups of `count` arguments for `load`, which gives a model, then EXPECTED and OUT."""
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for *arguments, expected, out in zip(*[iter(sys.argv[1:])] * (count + 2)):
        save_file({"logits": logits_of(load(*arguments), expected).contiguous()}, out)
