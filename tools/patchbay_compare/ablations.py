"""Ablations and lists of cells beside loops of run_with_hooks."""

import csv
from dataclasses import dataclass

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, cells, difference
from patchbay_compare.sweeps import baselines, capture_pairs
from transformer_lens import utils

# By hook: its axes in our files, and where a cell lies in the activation [B, T, ...].
ABLATIONS = {
    "z": (("layer", "head"), lambda index: (slice(None), slice(None), index)),
    "mlp_out": (("layer", "pos"), lambda index: (slice(None), index)),
}
SOURCES = ["zero", "mean", "mean-pos"]


@dataclass(frozen=True)
class Site:
    """A part of an activation; None stands for all."""

    hook: str
    layer: int
    pos: int | None = None
    head: int | None = None

    def index(self) -> tuple:
        where = (slice(None), slice(None) if self.pos is None else self.pos)
        return where if self.head is None else (*where, self.head)


def compare_ablations(bench: Bench, weights: str, count: int, length: int):
    """`analyze ablate` and `analyze patch --cells` on random pairs."""
    hooked, batch, cache = capture_pairs(bench, weights, count, length, None)
    clean, corrupted = baselines(hooked, batch)
    _, clean_cache = hooked.run_with_cache(batch.clean)
    print(f"\n{weights} weights: {count} pairs of {length} tokens, one run_with_hooks a cell")
    print(f"  {'':24}{'cells':>7}{'largest effect':>16}{'max |difference|':>18}")

    def report(what: str, ours: np.ndarray, theirs: np.ndarray):
        error = difference(ours, theirs)[0]
        print(f"  {what:24}{theirs[0].size:7}{np.abs(theirs).max():16.3f}{error:18.2e}")
        bench.check(f"{weights} {what}", error)

    for source in SOURCES:
        out = bench.folder / f"ablate-{weights}-{source}"
        rows, _, _ = bench.patchbay.ablate(cache, list(ABLATIONS), source, out)
        for name, (axes, _) in ABLATIONS.items():
            theirs = ablated(hooked, batch, clean_cache, name, source) - clean.reshape(-1, 1, 1)
            report(f"ablate {name}, {source}", cells(rows, name, axes, theirs.shape)[0], theirs)

    groups = list_of_cells(hooked.cfg.n_layers, hooked.cfg.n_heads, length)
    for direction in ("denoise", "noise"):
        file = bench.folder / f"cells-{weights}.csv"
        write_cells(file, groups)
        out = bench.folder / f"cells-{weights}-{direction}"
        rows, _, _ = bench.patchbay.patch_cells(cache, file, direction, out)
        ours = np.full((count, len(groups)), np.nan)
        for row in rows:
            ours[int(row["pair"]), int(row["cell"])] = float(row["effect"])
        base = corrupted if direction == "denoise" else clean
        theirs = patched(hooked, batch, groups, direction) - base.reshape(-1, 1)
        report(f"list of cells, {direction}", ours, theirs / (clean - corrupted).reshape(-1, 1))


@torch.no_grad()
def ablated(hooked, batch: lens.PairBatch, cache, name: str, source: str) -> np.ndarray:
    """Logit differences [B, layers, cells] of clean runs without a part of an activation."""
    _, where = ABLATIONS[name]
    values = []
    for layer in range(hooked.cfg.n_layers):
        hook_name = utils.get_act_name(name, layer)
        activation = cache[hook_name]  # [B, T, ...]
        # Each distinct prompt counts once.
        _, first = np.unique(batch.clean.numpy(), axis=0, return_index=True)
        distinct = activation[torch.tensor(first)]
        given = {
            "zero": torch.zeros_like(activation),
            "mean": distinct.mean((0, 1), keepdim=True).expand_as(activation),
            "mean-pos": distinct.mean(0, keepdim=True).expand_as(activation),
        }[source]
        for index in range(activation.shape[2 if name == "z" else 1]):

            def hook(value, hook, at=where(index)):
                value[at] = given[at]
                return value

            logits = hooked.run_with_hooks(batch.clean, fwd_hooks=[(hook_name, hook)])
            values.append(batch.logit_diff(logits))
    stacked = torch.stack(values, 1).double().numpy()
    return stacked.reshape(len(stacked), hooked.cfg.n_layers, -1)


def list_of_cells(layers: int, heads: int, length: int) -> list[list[Site]]:
    """Groups of one to three sites, of one layer and of several, in the order of the model."""
    last = layers - 1
    return [
        [Site("z", 0, head=0)],
        [Site("z", 0, head=1), Site("z", last, head=heads - 1, pos=length - 1)],
        [Site("resid_pre", 1, pos=length - 2), Site("mlp_out", last, pos=length - 1)],
        [Site("resid_pre", 1, pos=length // 2), Site("resid_pre", last, pos=length - 1)],
        [Site("attn_out", 0), Site("mlp_out", 0), Site("z", 1, head=0)],
        [Site("q", last, head=0), Site("k", last, head=0), Site("v", last, head=1)],
        [Site("resid_post", last, pos=length - 1)],
    ]


def write_cells(path, groups: list[list[Site]]):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "hook", "layer", "head", "pos"])
        for number, group in enumerate(groups):
            for site in group:
                head, pos = ("" if value is None else value for value in (site.head, site.pos))
                writer.writerow([f"group{number}", site.hook, site.layer, head, pos])


@torch.no_grad()
def patched(hooked, batch: lens.PairBatch, groups: list[list[Site]], direction: str):
    """Logit differences [B, groups] with all sites of a group from the other run."""
    giving, receiving = (
        (batch.clean, batch.corrupted)
        if direction == "denoise"
        else (batch.corrupted, batch.clean)
    )
    _, cache = hooked.run_with_cache(giving)
    values = []
    for group in groups:
        hooks = []
        for site in group:
            name = utils.get_act_name(site.hook, site.layer)

            def hook(value, hook, at=site.index(), given=cache[name]):
                value[at] = given[at]
                return value

            hooks.append((name, hook))
        values.append(batch.logit_diff(hooked.run_with_hooks(receiving, fwd_hooks=hooks)))
    return torch.stack(values, 1).double().numpy()
