"""Loads exported PEFT folders as users do and writes the logits that they give.

usage: load_peft.py CLASS BASE CLASSES EXPORT EXPECTED OUT [CLASS BASE CLASSES EXPORT EXPECTED OUT ...]

CLASS is AutoModelForSequenceClassification or AutoModelForCausalLM, BASE the base model's folder, CLASSES how many it
gets (0 for causal-lm), EXPORT the PEFT folder, EXPECTED the safetensors file with input_ids and attention_mask, OUT the
safetensors file to write. A missing or superfluous tensor is an error.
"""

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file

from exported_logits import write_all


def load(class_name, base, classes, export):
    options = {"num_labels": int(classes)} if int(classes) else {}
    model = getattr(transformers, class_name).from_pretrained(base, **options)
    model = PeftModel.from_pretrained(model, export)
    stored = load_file(f"{export}/adapter_model.safetensors")
    held = get_peft_model_state_dict(model)
    if stored.keys() != held.keys():
        raise SystemExit(f"{export}: {sorted(stored.keys() ^ held.keys())} on one side only")
    wrong = [name for name, tensor in stored.items() if not torch.equal(tensor, held[name])]
    if wrong:
        raise SystemExit(f"{export}: {wrong} were not loaded")
    return model


if __name__ == "__main__":
    write_all(load, 4)
