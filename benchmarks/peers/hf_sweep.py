#!/usr/bin/env python3
"""What a user would run instead of a Hopyard sweep: PyTorch and transformers, trials one after another or under Ray Tune.

  hf_sweep.py --checkpoint DIR --train DIR --valid DIR --mode sequential|ray --trials '[{"lr": 1e-4, "freeze": 0}, ...]'

Reads the data folders that Hopyard reads and a Hugging Face checkpoint folder. Each trial: AdamW, constant learning rate,
fp32, fixed batch size, no weight decay on biases and norms, `freeze` leading layers frozen (0 none, 1 the embeddings, 1+k
also the first k encoder layers), then one evaluation of the validation rows.

Prints one JSON object: makespan_s (training and evaluation of all trials, without starting Python or Ray), trials (lr,
freeze, seconds, samples_per_s, valid_accuracy, last_loss), versions.
Needs torch, transformers, safetensors, and ray[tune] for --mode ray.
"""
import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

EVALUATION_BATCH = 128


def load(folder, rows):
    """The columns of the first `rows` rows of a data folder (0: of all)."""
    import torch
    from safetensors.torch import load_file
    parts = [load_file(str(path)) for path in sorted(pathlib.Path(folder).glob("part-*.safetensors"))]
    columns = {name: torch.cat([part[name] for part in parts]) for name in ("input_ids", "attention_mask", "labels")}
    return {name: column[:rows] if rows else column for name, column in columns.items()}


def inputs(columns, rows):
    return {name: columns[name][rows].long() for name in ("input_ids", "attention_mask")}


def accuracy(model, valid):
    import torch
    hits = 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(valid["labels"]), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            hits += (model(**inputs(valid, rows)).logits.argmax(-1) == valid["labels"][rows]).sum().item()
    return hits / len(valid["labels"])


def parameter_groups(model, weight_decay):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [{"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": weight_decay},
            {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0}]


def run_trial(trial, options, threads):
    import torch
    from transformers import AutoModelForSequenceClassification
    torch.set_num_threads(threads)
    train, valid = load(options.train, options.train_rows), load(options.valid, options.valid_rows)
    labels = json.loads((pathlib.Path(options.train) / "dataset.json").read_text())["labels"]
    torch.manual_seed(trial.get("seed", 0))
    model = AutoModelForSequenceClassification.from_pretrained(options.checkpoint, num_labels=len(labels))
    if trial.get("freeze", 0) >= 1:
        model.base_model.embeddings.requires_grad_(False)
        for layer in model.base_model.encoder.layer[:trial["freeze"] - 1]:
            layer.requires_grad_(False)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=trial["lr"], fused=True)
    rows, start, loss = len(train["labels"]), time.perf_counter(), None
    model.train()
    for _ in range(options.epochs):
        order = torch.randperm(rows)
        for first in range(0, rows, options.batch_size):
            batch = order[first:first + options.batch_size]
            result = model(**inputs(train, batch), labels=train["labels"][batch].long())
            result.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss = result.loss.item()
    seconds = time.perf_counter() - start
    return dict(trial, seconds=round(seconds, 2), samples_per_s=round(options.epochs * rows / seconds, 1),
                valid_accuracy=round(accuracy(model, valid), 4), last_loss=round(loss, 4))


def run_sequential(trials, options):
    start = time.perf_counter()
    results = [run_trial(trial, options, options.threads) for trial in trials]
    return time.perf_counter() - start, results


def run_ray(trials, options):
    """As many trials at a time as there are threads, one thread each."""
    import ray
    from ray import tune
    ray.init(num_cpus=options.threads, include_dashboard=False, log_to_driver=False, configure_logging=False)
    start = time.perf_counter()
    trainable = tune.with_resources(lambda config: run_trial(config["trial"], options, 1), {"cpu": 1})
    tuner = tune.Tuner(trainable, param_space={"trial": tune.grid_search(trials)},
                       run_config=tune.RunConfig(verbose=0, storage_path=os.path.abspath(options.scratch)))
    grid = tuner.fit()
    makespan = time.perf_counter() - start
    errors = [str(error) for error in grid.errors]
    if errors:
        raise SystemExit("hf_sweep.py: a trial failed under Ray Tune: " + errors[0])
    kept = ("lr", "freeze", "seconds", "samples_per_s", "valid_accuracy", "last_loss")
    return makespan, [{key: result.metrics[key] for key in kept if key in result.metrics} for result in grid]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True)
    add("--train", required=True)
    add("--valid", required=True)
    add("--trials", required=True, help="a JSON list of {lr, freeze, seed}")
    add("--mode", choices=["sequential", "ray"], default="sequential")
    add("--train-rows", type=int, default=0, help="the first rows only; 0 for all")
    add("--valid-rows", type=int, default=0)
    add("--epochs", type=int, default=1)
    add("--batch-size", type=int, default=32)
    add("--threads", type=int, default=os.cpu_count())
    add("--scratch", default="build/peers/ray", help="where Ray Tune keeps its own files")
    options = parser.parse_args()
    for name in ("checkpoint", "train", "valid"):
        setattr(options, name, os.path.abspath(getattr(options, name)))
    return options


def main():
    options = arguments()
    import torch
    import transformers
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    transformers.logging.set_verbosity_error()
    if options.mode == "ray":
        import ray
        versions["ray"] = ray.__version__
    run = run_ray if options.mode == "ray" else run_sequential
    makespan, trials = run(json.loads(options.trials), options)
    print(json.dumps({"mode": options.mode, "makespan_s": round(makespan, 2), "trials": trials, "versions": versions}))


if __name__ == "__main__":
    main()
