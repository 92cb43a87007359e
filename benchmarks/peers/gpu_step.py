#!/usr/bin/env python3
"""What a user would run instead on a GPU: training steps of a GPT-2 of 1.1 B parameters in bfloat16, by one peer.

  gpu_step.py --peer torch|fsdp2-offload|deepspeed-cpu [--out FILE] [--steps 3] [--rows 64] [--budget 12] [--smoke]

The shape, the batch and the precision are those of the group `gpu` of hopyard_bench: bfloat16 compute, float32 weights and
AdamW, random weights and tokens. `torch` is resident, with all of the card; the others keep parameters and moments in host
memory, recompute each block, and have --budget GiB of the card. Micro-batches that do not fit are halved. Where there is no
GPU, it runs on the CPU, to try it.

Prints one JSON object, and writes it to --out: peer, s_per_step (median after a warm-up step), micro_rows, losses, parameters,
flops_per_step, peak_bytes, versions; or peer and skipped, the reason. Needs torch alone, and DeepSpeed for the last.
"""
import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
import time

PEERS = ("torch", "fsdp2-offload", "deepspeed-cpu")
HYPERPARAMETERS = {"lr": 1e-4, "weight_decay": 0.01}
SMOKE = {"width": 64, "layers": 2, "vocabulary": 256, "tokens": 32, "heads": 4}


def make_model(options, checkpointed):
    """A GPT-2 whose blocks are recomputed in the backward pass if asked for; on no device yet."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    width, heads = options.width, options.heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            rows, tokens, _ = x.shape
            q, k, v = (part.view(rows, tokens, heads, width // heads).transpose(1, 2)
                       for part in self.attention(self.norm1(x)).split(width, dim=2))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(mixed.transpose(1, 2).reshape(rows, tokens, width))
            return x + self.narrow(functional.gelu(self.widen(self.norm2(x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(options.vocabulary, width), nn.Embedding(options.tokens, width)
            self.blocks = nn.ModuleList(Block() for _ in range(options.layers))
            self.norm = nn.LayerNorm(width)

        def forward(self, ids):
            x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False) if checkpointed else block(x)
            logits = functional.linear(self.norm(x), self.words.weight)[:, :-1]
            return functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    with torch.device("meta"):
        return Model()


def fill(model):
    """Random weights, from one block of random numbers, since drawing a billion takes a while."""
    import torch
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(7)) * 0.02
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            flat = value.view(-1)
            if "norm" in name:
                flat.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            values = block.to(flat.device)
            for begin in range(0, flat.numel(), values.numel()):
                piece = flat[begin:begin + values.numel()]
                piece.copy_(values[:piece.numel()])


def resident(options, where):
    import torch
    model = make_model(options, checkpointed=False).to_empty(device=where)
    fill(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **HYPERPARAMETERS)

    def loss_of(ids):
        with torch.autocast(where, dtype=torch.bfloat16):
            return model(ids)
    return model, optimizer, loss_of


def fsdp2_offload(options, where):
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
    dist.init_process_group("cuda:nccl,cpu:gloo" if where == "cuda" else "gloo")
    model = make_model(options, checkpointed=True)
    policy = {"mesh": init_device_mesh(where, (1,)), "offload_policy": CPUOffloadPolicy(pin_memory=where == "cuda"),
              "mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)}
    for block in model.blocks:
        fully_shard(block, **policy)
    fully_shard(model, **policy)
    model.to_empty(device="cpu")
    fill(model)
    # The vectorised update of all of a parameter, as fast as PyTorch has one on the CPU.
    return model, torch.optim.AdamW(model.parameters(), fused=True, **HYPERPARAMETERS), model


def stepper(options, where):
    """step(batch): one optimizer step over its micro-batches; its loss. And the number of parameters."""
    import torch
    model, optimizer, loss_of = (resident if options.peer == "torch" else fsdp2_offload)(options, where)

    def update():
        nonlocal optimizer
        try:
            optimizer.step()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:  # parameters of a kind for which nothing is fused
            print(f"gpu_step.py: AdamW is not fused: {error}", file=sys.stderr)
            optimizer = torch.optim.AdamW(model.parameters(), **HYPERPARAMETERS)
            optimizer.step()

    def step(batch):
        total = 0.0
        micro_batches = batch.split(options.micro_rows)
        for number, ids in enumerate(micro_batches, 1):
            if options.peer == "fsdp2-offload":  # gradients stay on the card until those of the last are there
                model.set_requires_gradient_sync(number == len(micro_batches) or options.gradients_to_host)
            loss = loss_of(ids) / len(micro_batches)
            loss.backward()
            total += loss.detach()
        update()
        optimizer.zero_grad()
        return float(total)
    return step, sum(parameter.numel() for parameter in model.parameters())


def deepspeed_stepper(options, where):
    import deepspeed
    model = make_model(options, checkpointed=True).to_empty(device="cpu")
    fill(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    place = {"device": "cpu", "pin_memory": where == "cuda"}
    config = {"train_micro_batch_size_per_gpu": options.micro_rows,
              "gradient_accumulation_steps": options.rows // options.micro_rows, "bf16": {"enabled": True},
              "optimizer": {"type": "AdamW", "params": HYPERPARAMETERS},
              "zero_optimization": {"stage": 3, "offload_optimizer": place, "offload_param": place}}
    deepspeed.init_distributed(dist_backend="nccl" if where == "cuda" else "gloo")
    engine = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)[0]

    def step(batch):
        total = 0.0
        for ids in batch.split(options.micro_rows):
            loss = engine(ids)
            engine.backward(loss)
            engine.step()
            total += float(loss) * options.micro_rows / options.rows
        return total
    return step, parameters


def measure(options, where):
    import torch
    if where == "cuda" and options.peer != "torch":
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.budget * 2 ** 30 / whole))
    make = deepspeed_stepper if options.peer.startswith("deepspeed") else stepper
    step, parameters = make(options, where)
    generator = torch.Generator().manual_seed(1)
    losses, times = [], []
    for _ in range(options.steps + 1):
        batch = torch.randint(options.vocabulary, (options.rows, options.tokens), generator=generator).to(where)
        begin = time.perf_counter()
        losses.append(round(step(batch), 4))
        if where == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    tokens = options.rows * options.tokens
    attention = 6 * options.layers * options.width * options.tokens  # causal: half of 12 · layers · width · tokens
    versions = {"torch": torch.__version__}
    if options.peer.startswith("deepspeed"):
        versions["deepspeed"] = importlib.metadata.version("deepspeed")
    return {"peer": options.peer, "device": torch.cuda.get_device_name() if where == "cuda" else "cpu",
            "s_per_step": round(statistics.median(times[1:]), 4), "steps_s": [round(seconds, 4) for seconds in times],
            "rows": options.rows, "tokens": options.tokens, "micro_rows": options.micro_rows,
            "gradients_to_host": options.gradients_to_host,
            "budget_gib": options.budget if options.peer != "torch" else None, "losses": losses, "parameters": parameters,
            "flops_per_step": tokens * (6 * parameters + attention),
            "peak_bytes": torch.cuda.max_memory_reserved() if where == "cuda" else None, "versions": versions}


def smaller_again(options):
    """Starts anew with less on the card: what ran out of memory has left nothing behind then. First FSDP2's gradients go
    home with each micro-batch, then micro-batches are halved."""
    if options.peer == "fsdp2-offload" and not options.gradients_to_host:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.argv, "--gradients-to-host"])
    if options.micro_rows == 1:
        return {"peer": options.peer, "skipped": f"one row does not fit in {options.budget:g} GiB"}
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.argv, "--micro-rows", str(options.micro_rows // 2)])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--peer", choices=PEERS, required=True)
    add("--out", help="file for the JSON object")
    add("--steps", type=int, default=3, help="after a warm-up step")
    add("--rows", type=int, default=64, help="of a batch, --tokens each")
    add("--micro-rows", type=int, default=4, help="of the first try")
    add("--gradients-to-host", action="store_true", help="fsdp2-offload: those of each micro-batch, not their sum alone")
    add("--budget", type=float, default=12, metavar="GiB")
    for name, value in (("width", 2048), ("layers", 20), ("heads", 16), ("vocabulary", 32768), ("tokens", 1024)):
        add(f"--{name}", type=int, default=value)
    add("--smoke", action="store_true", help="a small model, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main():
    options = arguments()
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    os.environ.setdefault("MASTER_PORT", "29513")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    import torch
    if options.peer.startswith("deepspeed") and importlib.util.find_spec("deepspeed") is None:
        result = {"peer": options.peer, "skipped": "DeepSpeed is not there"}
    else:
        try:
            result = measure(options, "cuda" if torch.cuda.is_available() else "cpu")
        except torch.OutOfMemoryError:
            result = smaller_again(options)
    text = json.dumps(result)
    print(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
