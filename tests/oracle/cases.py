"""Writes what transformers and PyTorch compute, for tests/model/oracle_test.cc to compare with.

usage: cases.py MINILM OUT

Each case is a folder OUT/NAME with model/ (a Hugging Face folder) and expected.safetensors: the inputs, logits, loss,
grad.PARAMETER, and where the case trains, trained.PARAMETER after twenty AdamW steps on micro-batches of inputs.
"""

import json
import pathlib
import re
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

STEPS = 20
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01


def token_batch(vocabulary, batch, tokens, classes, padded, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, tokens, dtype=torch.long)
    if padded:
        lengths = torch.randint(2, tokens + 1, (batch,), generator=generator)
        mask = (torch.arange(tokens)[None] < lengths[:, None]).long()
    ids = torch.randint(1, vocabulary, (batch, tokens), generator=generator) * mask
    inputs = {"input_ids": ids, "attention_mask": mask}
    if classes == 1:
        inputs["labels"] = torch.randn(batch, generator=generator)
    elif classes:
        inputs["labels"] = torch.randint(0, classes, (batch,), generator=generator)
    return inputs


def randomise(model, seed):
    """Biases and norms too, so that a parameter in the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def decays(name):
    return not (name.endswith("bias") or "LayerNorm" in name or ".ln_" in name)


def layer_of(name, blocks):
    """0 the embeddings, 1 to `blocks` the blocks, `blocks` + 1 the head."""
    if ".embeddings." in name:
        return 0
    block = re.search(r"\.layer\.(\d+)\.", name)
    return int(block[1]) + 1 if block else blocks + 1


def make_adamw(model, layer_decay=1.0):
    blocks = getattr(model.config, "num_hidden_layers", 0) if layer_decay != 1 else 0
    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = LEARNING_RATE * layer_decay ** (blocks + 1 - layer_of(name, blocks)) if blocks else LEARNING_RATE
        groups.append({"params": [parameter], "lr": rate, "weight_decay": WEIGHT_DECAY if decays(name) else 0.0})
    return torch.optim.AdamW(groups, lr=LEARNING_RATE)


def write_case(folder, model, inputs, run, train_clip=None, trains=False, layer_decay=1.0):
    """run(model, inputs) gives (loss, logits)."""
    model.eval()  # no dropout
    loss, logits = run(model, inputs)
    model.zero_grad()
    loss.backward()
    expected = {name: tensor.clone() for name, tensor in inputs.items()}
    expected |= {"logits": logits.detach().clone(), "loss": loss.detach().clone()}
    expected |= {f"grad.{name}": p.grad.clone() for name, p in model.named_parameters()}
    if trains:
        optimizer = make_adamw(model, layer_decay)
        for _ in range(STEPS):
            optimizer.zero_grad()
            run(model, inputs)[0].backward()
            if train_clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), train_clip)
            optimizer.step()
        expected |= {f"trained.{name}": p.detach().clone() for name, p in model.named_parameters()}
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")


def run_transformers(model, inputs):
    labels = inputs.get("labels", inputs["input_ids"])
    output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels)
    return output.loss, output.logits


def transformers_case(out, name, model, inputs, seed, **options):
    folder = out / name
    if seed is not None:
        randomise(model, seed)
    model.save_pretrained(folder / "model")
    write_case(folder, model, inputs, run_transformers, **options)


def bert_config(classes, **sizes):
    problem = "regression" if classes == 1 else "single_label_classification"
    return BertConfig(vocab_size=97, max_position_embeddings=24, num_labels=classes, problem_type=problem, **sizes)


def bert_cases(out):
    small = bert_config(5, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    inputs = token_batch(97, 6, 12, 5, padded=True, seed=1)
    transformers_case(out, "bert-padded", BertForSequenceClassification(small), inputs, 1, trains=True)
    transformers_case(out, "bert-layer-decay", BertForSequenceClassification(small), inputs, 9, trains=True,
                      layer_decay=0.9)
    wide = bert_config(3, hidden_size=40, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
                       hidden_act="gelu_new", layer_norm_eps=1e-6, pad_token_id=3)
    inputs = token_batch(97, 3, 24, 3, padded=False, seed=2)
    transformers_case(out, "bert-gelu-new", BertForSequenceClassification(wide), inputs, 2)
    relu = bert_config(1, hidden_size=24, num_hidden_layers=1, num_attention_heads=1, intermediate_size=24,
                       hidden_act="relu", type_vocab_size=1)
    inputs = token_batch(97, 4, 5, 1, padded=True, seed=3)
    transformers_case(out, "bert-regression", BertForSequenceClassification(relu), inputs, 3)


def gpt2_cases(out):
    def config(**sizes):
        return GPT2Config(vocab_size=61, n_positions=20, bos_token_id=0, eos_token_id=0, **sizes)

    inputs = token_batch(61, 4, 10, 0, padded=False, seed=4)
    model = GPT2LMHeadModel(config(n_embd=32, n_layer=2, n_head=4))
    transformers_case(out, "gpt2-tied", model, inputs, 4, trains=True, train_clip=0.5)
    inputs = token_batch(61, 3, 20, 0, padded=True, seed=5)
    model = GPT2LMHeadModel(config(n_embd=24, n_layer=3, n_head=2, n_inner=40, scale_attn_by_inverse_layer_idx=True))
    transformers_case(out, "gpt2-padded", model, inputs, 5)
    inputs = token_batch(61, 2, 7, 0, padded=False, seed=6)
    model = GPT2LMHeadModel(config(n_embd=16, n_layer=1, n_head=1, activation_function="gelu", scale_attn_weights=False,
                                   tie_word_embeddings=False))
    transformers_case(out, "gpt2-untied", model, inputs, 6)


def minilm_case(out, minilm):
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(minilm, num_labels=16)
    inputs = token_batch(30522, 4, 32, 16, padded=True, seed=7)
    transformers_case(out, "minilm", model, inputs, None)


def mlp_case(out):
    torch.manual_seed(8)
    hidden = torch.nn.ModuleList([torch.nn.Linear(10, 24), torch.nn.Linear(24, 16)])
    model = torch.nn.ModuleDict({"hidden": hidden, "head": torch.nn.Linear(16, 4)})
    sequence = torch.nn.Sequential(hidden[0], torch.nn.Tanh(), hidden[1], torch.nn.Tanh(), model["head"])
    folder = out / "mlp"
    (folder / "model").mkdir(parents=True)
    config = {"model_type": "mlp", "input_size": 10, "hidden_sizes": [24, 16], "activation": "tanh", "dropout": 0.1}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    save_file({name: p.detach().clone() for name, p in model.named_parameters()}, folder / "model" / "model.safetensors")
    generator = torch.Generator().manual_seed(8)
    inputs = {"features": torch.randn(9, 10, generator=generator),
              "labels": torch.randint(0, 4, (9,), generator=generator)}

    def run(_, batch):
        logits = sequence(batch["features"])
        return torch.nn.functional.cross_entropy(logits, batch["labels"]), logits

    write_case(folder, model, inputs, run, trains=True)


def main():
    transformers.logging.disable_progress_bar()
    minilm, out = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(0)  # the same models in each run: in some, AdamW scales the rounding of a gradient near zero up
    bert_cases(out)
    gpt2_cases(out)
    mlp_case(out)
    minilm_case(out, minilm)


if __name__ == "__main__":
    main()
