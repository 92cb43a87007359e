"""Writes what peft and PyTorch compute, for tests/model/peft_test.cc to compare with.

usage: peft_cases.py OUT

Each case is a folder OUT/NAME with model/ (the base model, a Hugging Face folder), adapter/ (a PEFT folder) and
expected.safetensors: the inputs, logits, loss, grad.PARAMETER of what trains, trained.PARAMETER after ten AdamW steps.
Parameters have the names that peft saves them under, without "base_model.model.".
"""

import pathlib
import sys

import torch
import transformers
from cases import make_adamw, randomise, run_transformers, token_batch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

STEPS = 10


def plain_name(name):
    for part in ("base_model.model.", "modules_to_save.default.", ".default"):
        name = name.replace(part, "", 1)
    return name


def trainable(model):
    return {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def write_case(folder, model, inputs):
    model.eval()  # no dropout
    loss, logits = run_transformers(model, inputs)
    model.zero_grad()
    loss.backward()
    expected = {name: tensor.clone() for name, tensor in inputs.items()}
    expected |= {"logits": logits.detach().clone(), "loss": loss.detach().clone()}
    expected |= {f"grad.{name}": p.grad.clone() for name, p in trainable(model).items()}
    optimizer = make_adamw(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        run_transformers(model, inputs)[0].backward()
        optimizer.step()
    expected |= {f"trained.{name}": p.detach().clone() for name, p in trainable(model).items()}
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")


def case(out, name, base, inputs, seed, **lora):
    folder = out / name
    randomise(base, seed)
    base.save_pretrained(folder / "model")
    base = type(base).from_pretrained(folder / "model")  # so that it knows where it is from
    model = get_peft_model(base, LoraConfig(lora_dropout=0.1, **lora))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable(model).values():  # B is zero at first
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    model.save_pretrained(folder / "adapter")
    write_case(folder, model, inputs)


def bert(classes):
    return BertForSequenceClassification(BertConfig(
        vocab_size=97, max_position_embeddings=24, num_labels=classes, hidden_size=32, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=48, problem_type="single_label_classification"))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=61, n_positions=20, bos_token_id=0, eos_token_id=0, n_embd=32,
                                      n_layer=3, n_head=4))


def main():
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)  # the same models in each run: in some, AdamW scales the rounding of a gradient near zero up
    out = pathlib.Path(sys.argv[1])
    inputs = token_batch(97, 6, 12, 5, padded=True, seed=1)
    case(out, "bert-query-value", bert(5), inputs, 1, task_type="SEQ_CLS", r=4, lora_alpha=8,
         target_modules=["query", "value"], modules_to_save=["pooler"])
    case(out, "bert-all", bert(5), inputs, 2, task_type="SEQ_CLS", r=3, lora_alpha=5,
         target_modules=["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
         modules_to_save=["pooler"])
    # As peft is mostly used: only the classifier trains beside LoRA, in the last two layers.
    case(out, "bert-top-layers", bert(5), inputs, 3, task_type="SEQ_CLS", r=2, lora_alpha=2,
         target_modules=["query"], layers_to_transform=[1, 2], layers_pattern="layer")
    inputs = token_batch(61, 4, 10, 0, padded=False, seed=4)
    case(out, "gpt2-attention", gpt2(), inputs, 4, task_type="CAUSAL_LM", r=4, lora_alpha=16,
         target_modules=["c_attn"], fan_in_fan_out=True)
    case(out, "gpt2-all", gpt2(), inputs, 5, task_type="CAUSAL_LM", r=2, lora_alpha=3,
         target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)


if __name__ == "__main__":
    main()
