#!/usr/bin/env python3
"""Makes optuna_regrets.txt: what Optuna's TPESampler reaches with its defaults, for tpe_test.cc to compare with.

    .venv-oracle/bin/python tests/select/optuna_reference.py > tests/select/optuna_regrets.txt
"""

import math
import platform

import optuna

TRIALS = 50
SEEDS = 30


def branin(x):
    a, b, c, r, s, t = 1, 5.1 / (4 * math.pi**2), 5 / math.pi, 6, 10, 1 / (8 * math.pi)
    return a * (x[1] - b * x[0] ** 2 + c * x[0] - r) ** 2 + s * (1 - t) * math.cos(x[0]) + s


def hartmann6(x):
    alpha = [1.0, 1.2, 3.0, 3.2]
    a = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    p = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
         [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
    return -sum(alpha[i] * math.exp(-sum(a[i][j] * (x[j] - p[i][j] * 1e-4) ** 2 for j in range(6))) for i in range(4))


FUNCTIONS = {
    "branin": (branin, [(-5.0, 10.0), (0.0, 15.0)], 0.39788735772973816),
    "hartmann6": (hartmann6, [(0.0, 1.0)] * 6, -3.322368011391339),
}


def regret(name, seed):
    function, ranges, minimum = FUNCTIONS[name]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(
        lambda trial: function([trial.suggest_float(f"x{i}", low, high) for i, (low, high) in enumerate(ranges)]),
        n_trials=TRIALS)
    return study.best_value - minimum


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"# Regret after {TRIALS} trials of Optuna {optuna.__version__}'s TPESampler with its defaults, seeds 0 to "
          f"{SEEDS - 1}, Python {platform.python_version()};")
    print("# made by tests/select/optuna_reference.py")
    for name in FUNCTIONS:
        for seed in range(SEEDS):
            print(f"{name} {seed} {regret(name, seed):.17g}", flush=True)


if __name__ == "__main__":
    main()
