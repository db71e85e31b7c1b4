#!/usr/bin/env python3
"""Writes Tests/PatchingTests/Fixtures/statistics.json: what TransformerLens's PatchingResult, and
SciPy and statsmodels, say about made-up effects, all in float64. Seeded; no network is used.

    /path/to/venv/bin/python tools/make_statistics_reference.py
        (transformer-lens 4.3, scipy 1.17, statsmodels 0.15)

    generator         torch.randint(0, bound) from derive_generator(seed, *labels): of 2000 numbers
                      the first eight and the last eight
    cells             effects of n pairs with mean, standard_error (null for one pair), median
                      (torch.median), intervals and p_values, each with what it was asked for
    false_discovery   p-values and their q-values: bh (Benjamini-Hochberg), by (-Yekutieli), in which
                      SciPy and statsmodels agree but for the last digits

The strings "nan" and "inf" stand for the numbers that JSON does not have. A p-value of 0 for
effects with a NaN is really what TransformerLens says.
"""

import json
import math
import os
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import scipy  # noqa: E402
import statsmodels  # noqa: E402
import torch  # noqa: E402
from scipy.stats import false_discovery_control  # noqa: E402
from statsmodels.stats.multitest import multipletests  # noqa: E402
from transformer_lens.patching import PatchingResult  # noqa: E402
from transformer_lens.utilities.statistics import derive_generator  # noqa: E402

FIXTURE = Path(__file__).resolve().parent.parent / "Tests/PatchingTests/Fixtures/statistics.json"

COUNTS = [1, 2, 5, 12, 13, 40]
INTERVALS = [
    dict(statistic="mean", seed=0, confidence=0.95, n_resamples=1000),
    dict(statistic="median", seed=0, confidence=0.95, n_resamples=1000),
    dict(statistic="mean", seed=20_260_101, confidence=0.5, n_resamples=257),
    dict(statistic="median", seed=7, confidence=0.99, n_resamples=3),
]
P_VALUES = [
    dict(alternative="two-sided", seed=0, n_permutations=1000),
    dict(alternative="greater", seed=0, n_permutations=1000),
    dict(alternative="less", seed=0, n_permutations=1000),
    dict(alternative="two-sided", seed=2**63 + 11, n_permutations=300),
]


def number(value) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)


def made_up_effects(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    noise = random.standard_normal(count)
    with_nan, with_inf = noise.copy(), noise.copy()
    with_nan[count // 2] = math.nan
    with_inf[count // 2] = math.inf
    return {
        "normal": noise,
        "positive": 0.3 + 0.5 * noise,
        "skewed": -np.exp(2 * noise),
        "tiny": noise * 1e-9 - 3e-10,
        "ties": np.round(noise * 2) / 2,
        "tenths": np.round(noise, 1) + 0.1,
        "recovery": np.round(random.random(count), 2),
        "zeros": np.zeros(count),
        "one not zero": np.eye(1, count)[0] * 0.7,
        "constant": np.full(count, 0.1),
        "negative constant": np.full(count, -1 / 3),
        "nan": with_nan,
        "inf": with_inf,
    }


def cells(count: int, effects: dict[str, np.ndarray]) -> list[dict]:
    values = torch.tensor(np.stack(list(effects.values())))
    assert values.dtype == torch.float64
    result = PatchingResult(
        values=values,
        axis_names=["layer"],
        index_df=pd.DataFrame({"layer": range(len(values))}),
        metric_names=["metric"],
        reduced=False,
        baseline=torch.zeros(count, dtype=torch.float64),
    )
    means, medians = result.mean(), values.median(dim=-1).values
    errors = result.stderr() if count > 1 else [None] * len(values)
    intervals = [result.bootstrap_ci(of_effect=True, **options) for options in INTERVALS]
    p_values = [result.permutation_pvalue(**options) for options in P_VALUES]
    return [
        {
            "name": f"{name}, n = {count}",
            "effects": [number(value) for value in effects[name]],
            "mean": number(means[cell]),
            "standard_error": None if errors[cell] is None else number(errors[cell]),
            "median": number(medians[cell]),
            "intervals": [
                {**options, "lower": number(lower[cell]), "upper": number(upper[cell])}
                for options, (lower, upper) in zip(INTERVALS, intervals)
            ],
            "p_values": [
                {**options, "p": number(p[cell])} for options, p in zip(P_VALUES, p_values)
            ],
        }
        for cell, name in enumerate(effects)
    ]


def generated(seed: int, labels: list[str], bound: int) -> dict:
    numbers = torch.randint(0, bound, (2000,), generator=derive_generator(seed, *labels)).tolist()
    return {
        "seed": seed,
        "labels": labels,
        "bound": bound,
        "first": numbers[:8],
        "last": numbers[-8:],
    }


def q_values(p: list[float], method: str) -> list[float]:
    q = false_discovery_control(p, method=method)
    other = multipletests(p, method=f"fdr_{method}")[1]
    np.testing.assert_allclose(other, q, rtol=1e-14, atol=0)
    return q.tolist()


def false_discoveries(random: np.random.Generator) -> list[dict]:
    families = [
        [0.04],
        [1.0, 1.0, 1.0],
        [0.0, 0.0, 1.0],
        [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216],
        (random.integers(1, 1002, 60) / 1001).tolist(),
        (random.random(200) ** 3).tolist(),
    ]
    return [{"p": p, **{how: q_values(p, how) for how in ("bh", "by")}} for p in families]


def main() -> None:
    random = np.random.default_rng(11)
    effects = {count: made_up_effects(count, random) for count in COUNTS}
    effects[300] = {"normal": random.standard_normal(300) + 0.1}
    fixture = {
        "versions": {
            "transformer-lens": version("transformer-lens"),
            "torch": torch.__version__,
            "scipy": scipy.__version__,
            "statsmodels": statsmodels.__version__,
        },
        "generator": [
            generated(0, ["bootstrap", "mean"], 40),
            generated(0, ["bootstrap", "median"], 2**28 - 1),
            generated(2**64 - 1, ["permutation"], 2),
            generated(3, [], 1_000_003),
        ],
        "cells": [cell for count in effects for cell in cells(count, effects[count])],
        "false_discovery": false_discoveries(random),
    }
    lines = json.dumps(fixture, indent=None, allow_nan=False).replace('{"name"', '\n{"name"')
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(lines + "\n")
    print(f"{FIXTURE.name}: {len(fixture['cells'])} cells, {FIXTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
