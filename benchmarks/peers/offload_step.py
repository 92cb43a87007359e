#!/usr/bin/env python3
"""What a user would run instead for a model larger than its device: training steps with offloaded state, by one peer.

  offload_step.py --model DIR --data DIR --peer torch|fsdp2|fsdp2-offload|deepspeed-cpu|deepspeed-nvme [--steps 8]

Trains a Hugging Face causal language model (a folder with config.json; random weights from --seed unless it has weights)
on a prepared data folder (input_ids [n, t]). `torch` is the resident reference (fused AdamW). All of them run without a GPU
and, where one is found, on it. DeepSpeed builds its CPU optimizer at the first use: minutes, with ninja, and libaio-dev for
nvme.

Prints one JSON object: peer, device, s_per_step (median after a warm-up step), steps_s, losses, parameters, versions.
Needs torch, transformers, safetensors, and deepspeed for the last two.
"""
import argparse
import json
import os
import pathlib
import statistics
import time

PEERS = ("torch", "fsdp2", "fsdp2-offload", "deepspeed-cpu", "deepspeed-nvme")
HYPERPARAMETERS = {"lr": 1e-3, "weight_decay": 0.01}


def read_batches(options, where):
    import torch
    from safetensors.torch import load_file
    parts = sorted(pathlib.Path(options.data).glob("part-*.safetensors"))
    ids = torch.cat([load_file(str(path))["input_ids"] for path in parts]).long()
    return [ids[(step * options.batch_size) % len(ids):][:options.batch_size].to(where) for step in range(options.steps)]


def make_model(options):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(options.seed)
    if any(pathlib.Path(options.model).glob("*.safetensors")):
        model = AutoModelForCausalLM.from_pretrained(options.model)
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.model))
    model.config.use_cache = False
    return model


def resident_stepper(model, where, fused):
    import torch
    model.to(where)
    return loop_of(model, torch.optim.AdamW(model.parameters(), fused=fused, **HYPERPARAMETERS))


def fsdp2_stepper(model, where, offload):
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
    cuda = where == "cuda"
    dist.init_process_group("nccl" if cuda else "gloo")
    mesh = init_device_mesh(where, (1,))
    policy = CPUOffloadPolicy(pin_memory=cuda) if offload else OffloadPolicy()
    blocks = max((module for module in model.modules() if isinstance(module, torch.nn.ModuleList)), key=len)
    for block in blocks:
        fully_shard(block, mesh=mesh, offload_policy=policy)
    fully_shard(model, mesh=mesh, offload_policy=policy)
    return loop_of(model, torch.optim.AdamW(model.parameters(), **HYPERPARAMETERS))


def loop_of(model, optimizer):
    def step(ids):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step


def deepspeed_stepper(model, where, options, disk):
    import deepspeed
    cuda = where == "cuda"
    place = {"device": "nvme" if disk else "cpu", "pin_memory": cuda}
    optimizer_place, parameter_place = dict(place), dict(place)
    if disk:
        os.makedirs(options.nvme, exist_ok=True)
        optimizer_place.update(nvme_path=os.path.abspath(options.nvme), buffer_count=4)
        parameter_place.update(nvme_path=os.path.abspath(options.nvme), buffer_count=16,
                               buffer_size=max(parameter.numel() for parameter in model.parameters()))
    config = {"train_micro_batch_size_per_gpu": options.batch_size,
              "optimizer": {"type": "AdamW", "params": HYPERPARAMETERS},
              "zero_optimization": {"stage": 3, "offload_optimizer": optimizer_place, "offload_param": parameter_place}}
    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo")
    engine = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)[0]

    def step(ids):
        loss = engine(input_ids=ids, labels=ids).loss
        engine.backward(loss)
        engine.step()
        return loss.item()
    return step


def make_stepper(model, where, options):
    if options.peer == "torch":
        return resident_stepper(model, where, fused=True)
    if options.peer.startswith("fsdp2"):
        return fsdp2_stepper(model, where, offload=options.peer.endswith("offload"))
    return deepspeed_stepper(model, where, options, disk=options.peer.endswith("nvme"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True)
    add("--data", required=True)
    add("--peer", choices=PEERS, required=True)
    add("--steps", type=int, default=8)
    add("--batch-size", type=int, default=4)
    add("--nvme", default="build/peers/nvme", help="where DeepSpeed keeps what it offloads to disk")
    add("--threads", type=int, default=os.cpu_count())
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.steps < 2:
        parser.error("--steps must be at least 2: the first is a warm-up")
    return options


def main():
    options = arguments()
    os.environ.update(HF_HUB_OFFLINE="1", MASTER_ADDR="127.0.0.1", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    os.environ.setdefault("MASTER_PORT", "29511")
    import torch
    import transformers
    torch.set_num_threads(options.threads)
    where = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(options)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    step = make_stepper(model, where, options)
    model.train()
    losses, times = [], []
    for ids in read_batches(options, where):
        start = time.perf_counter()
        losses.append(round(step(ids), 6))
        times.append(time.perf_counter() - start)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if options.peer.startswith("deepspeed"):
        import deepspeed
        versions["deepspeed"] = deepspeed.__version__
    print(json.dumps({"peer": options.peer, "device": where, "s_per_step": round(statistics.median(times[1:]), 4),
                      "steps_s": [round(seconds, 4) for seconds in times], "losses": losses, "parameters": parameters,
                      "versions": versions}))


if __name__ == "__main__":
    main()
