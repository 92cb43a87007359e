"""Loads exported folders as users do and writes the logits that they give.

usage: load_export.py CLASS EXPORT EXPECTED OUT [CLASS EXPORT EXPECTED OUT ...]

CLASS is AutoModelForSequenceClassification or AutoModelForCausalLM, EXPORT the folder, EXPECTED the safetensors file with
input_ids and attention_mask, OUT the safetensors file to write. A missing or superfluous tensor is an error.
"""

import transformers

from exported_logits import write_all


def load(class_name, export):
    model, info = getattr(transformers, class_name).from_pretrained(export, output_loading_info=True)
    wrong = {what: keys for what, keys in info.items() if keys}
    if wrong:
        raise SystemExit(f"{export}: {wrong}")
    return model


if __name__ == "__main__":
    write_all(load, 2)
