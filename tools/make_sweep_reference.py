#!/usr/bin/env python3
"""Writes Tests/PatchingTests/Fixtures/sweeps-*.safetensors: patch sweeps and ablations beyond those of
patching.safetensors, computed with TransformerLens on the random models tiny and odd.

    /path/to/venv/bin/python tools/make_sweep_reference.py     (torch, transformer-lens 2.18)

For the pairs pair0, pair1, pair2 of the model's patching.safetensors, of different lengths T, patched
logit differences at the last position, float32, processed weights:
    pair0/denoise/q_by_pos, k_by_pos, v_by_pos    transformer_lens.patching          [L, T, H]
    pair0/denoise/pattern_by_dst                  get_act_patch_attn_head_pattern_by_pos, its last axes
                                                  exchanged                          [L, T, H]
    pair0/denoise/pattern_by_dst_src              …_pattern_dest_src_pos             [L, H, T, T]
    pair0/denoise/neurons                         mlp.hook_post at the last position [L, M]
    pair0/denoise/cells                           the groups of patchbay_compare.ablations: run_with_hooks
                                                  with all sites of a group          [groups]
    pair0/noise/…
and of the clean run without a part of it, by run_with_hooks:
    pair0/zero/z, mlp_out                         [L, H], [L, T]
    pair0/mean/…                                  the mean over all positions of six prompts: the three
                                                  clean ones, and of each length one more
    pair0/mean-pos/…                              … at each position, over the two of this length
    more0, more1, more2                           the other three prompts, [T] int32
    pair0/zero/z_at_end                           the head's output at the last position alone [L, H]

Normalised effects over these pairs and a fourth one, pair0's clean prompt against itself, whose gap
is 0; a cell's are over the pairs that have its position, float64 until they are written:
    effects/denoise/z                             ratio-of-means and mean-of-ratios [L, H]
    effects/denoise/attn_out, v_by_pos            [L, longest T], [L, longest T, H]
    effects/noise/…
"""

import os
from itertools import product
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.ablations import list_of_cells, patched
from safetensors.numpy import load_file, save_file
from transformer_lens import patching
from transformer_lens.utils import get_act_name

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "Tests/ModelTests/Fixtures"
FIXTURES = ROOT / "Tests/PatchingTests/Fixtures"

EFFECTS = ("z", "attn_out", "v_by_pos")
SMALLEST_GAP = 1e-6
SWEEPS = {
    **{
        f"{name}_by_pos": lens.Sweep(
            name, ("layer", "pos", "head"), patching.layer_pos_head_vector_patch_setter
        )
        for name in ("q", "k", "v")
    },
    "pattern_by_dst": lens.Sweep(
        "pattern", ("layer", "head_index", "dest_pos"), patching.layer_head_pos_pattern_patch_setter
    ),
    "pattern_by_dst_src": lens.Sweep(
        "pattern",
        ("layer", "head_index", "dest_pos", "src_pos"),
        patching.layer_head_dest_src_pos_pattern_patch_setter,
    ),
}


def neurons(model, pairs: lens.PairBatch, direction: str) -> np.ndarray:
    giving, receiving = (
        (pairs.clean, pairs.corrupted) if direction == "denoise" else (pairs.corrupted, pairs.clean)
    )
    _, cache = model.run_with_cache(giving)
    values = np.empty((model.cfg.n_layers, model.cfg.d_mlp), np.float32)
    for layer, neuron in np.ndindex(*values.shape):
        name = get_act_name("post", layer)

        def hook(value, hook):
            value[:, -1, neuron] = cache[name][:, -1, neuron]
            return value

        logits = model.run_with_hooks(receiving, fwd_hooks=[(name, hook)])
        values[layer, neuron] = pairs.logit_diff(logits)[0]
    return values


def padded(table: np.ndarray, axes: tuple[str, ...], length: int) -> np.ndarray:
    """NaN at the positions that a shorter pair lacks."""
    missing = [length - size if axis == "pos" else 0 for axis, size in zip(axes, table.shape)]
    widths = [(0, count) for count in missing]
    return np.pad(table.astype(np.float64), widths, constant_values=np.nan)


def effects(model, batches, name: str, direction: str) -> dict[str, np.ndarray]:
    """ioi_metric of ARENA and TransformerLens's demo, which averages logit differences first; and
    the mean of each pair's own effect, 0 where there is nothing to divide by."""
    axes, longest = lens.SWEEPS[name].axes, max(pairs.clean.shape[1] for pairs in batches)
    tables = [lens.sweep(model, pairs, name, direction)[0] for pairs in batches]
    patched = np.stack([padded(table, axes, longest) for table in tables])

    def unpatched(run: str) -> np.ndarray:
        values = [float(pairs.logit_diff(model(getattr(pairs, run)))[0]) for pairs in batches]
        columns = np.reshape(values, (-1, *[1] * len(axes)))
        return np.where(np.isnan(patched), np.nan, columns)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.nanmean(values, axis=0)

    clean, corrupted = unpatched("clean"), unpatched("corrupted")
    receiving = corrupted if direction == "denoise" else clean
    gap = clean - corrupted
    small = np.abs(gap) < SMALLEST_GAP
    own = np.where(small, 0, (patched - receiving) / np.where(small, 1, gap))
    return {
        "ratio-of-means": (mean(patched) - mean(receiving)) / (mean(clean) - mean(corrupted)),
        "mean-of-ratios": mean(own),
    }


def means(activations: list[torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """What takes the place of an activation [T, …] of a prompt of `length` tokens, by source."""
    everywhere = torch.cat(activations).mean(0)
    by_position = torch.stack([some for some in activations if len(some) == length]).mean(0)
    return {
        "zero": torch.zeros_like(by_position),
        "mean": everywhere.expand(length, *everywhere.shape),
        "mean-pos": by_position,
    }


def ablations(model, batches, more: list[torch.Tensor], index: int) -> dict[str, np.ndarray]:
    prompts = [batch.clean for batch in batches] + more
    caches = [model.run_with_cache(prompt)[1] for prompt in prompts]
    pairs = batches[index]
    length, layers = pairs.clean.shape[1], model.cfg.n_layers
    tables = {}
    for name, count in (("z", model.cfg.n_heads), ("mlp_out", length)):
        for layer, cell in product(range(layers), range(count)):
            hook_name = get_act_name(name, layer)
            given = means([cache[hook_name][0] for cache in caches], length)
            places = {"": (slice(None), slice(None), cell) if name == "z" else (slice(None), cell)}
            if name == "z":
                places["_at_end"] = (slice(None), length - 1, cell)
            for (suffix, at), source in product(places.items(), given):

                def hook(value, hook, at=at, source=source):
                    value[at] = given[source][None][at]
                    return value

                logits = model.run_with_hooks(pairs.clean, fwd_hooks=[(hook_name, hook)])
                table = tables.setdefault(
                    f"{source}/{name}{suffix}", np.empty((layers, count), np.float32)
                )
                table[layer, cell] = pairs.logit_diff(logits)[0]
    return tables


@torch.no_grad()
def write(folder: str):
    model = lens.hooked(lens.load_gpt2(MODELS / folder), "transformerlens")
    reference = load_file(MODELS / folder / "patching.safetensors")
    tokens = {
        key: torch.tensor(reference[key][None].astype(np.int64))
        for key in reference
        if key.endswith(("_tokens", "answers"))
    }
    batches = [
        lens.PairBatch(
            *(tokens[f"pair{index}/{what}"] for what in ("clean_tokens", "corrupted_tokens", "answers"))
        )
        for index in range(3)
    ]
    lens.SWEEPS.update(SWEEPS)
    generator = torch.Generator().manual_seed(50)
    more = [
        torch.randint(model.cfg.d_vocab, batch.clean.shape, generator=generator) for batch in batches
    ]
    arrays = {f"more{index}": tokens[0].numpy().astype(np.int32) for index, tokens in enumerate(more)}
    for index, pairs in enumerate(batches):
        groups = list_of_cells(model.cfg.n_layers, model.cfg.n_heads, pairs.clean.shape[1])
        for direction in ("denoise", "noise"):
            key = f"pair{index}/{direction}"
            for name in SWEEPS:
                values = lens.sweep(model, pairs, name, direction)[0]
                if name == "pattern_by_dst":
                    values = values.transpose(0, 2, 1)
                arrays[f"{key}/{name}"] = np.ascontiguousarray(values)
            arrays[f"{key}/neurons"] = neurons(model, pairs, direction)
            arrays[f"{key}/cells"] = patched(model, pairs, groups, direction)[0].astype(np.float32)
        for name, values in ablations(model, batches, more, index).items():
            arrays[f"pair{index}/{name}"] = values
    same = lens.PairBatch(batches[0].clean, batches[0].clean, batches[0].answers)
    for direction, name in product(("denoise", "noise"), EFFECTS):
        forms = effects(model, [*batches, same], name, direction)
        for form, values in forms.items():
            arrays[f"effects/{direction}/{name}/{form}"] = values.astype(np.float32)
        difference = np.abs(forms["ratio-of-means"] - forms["mean-of-ratios"]).max()
        print(f"{folder:6} {direction} {name}: the two forms differ by up to {difference:.3f}")
        assert difference > 0.01
    for key, values in arrays.items():
        assert np.isfinite(values).all() and np.ptp(values) > 1e-3, key
    path = FIXTURES / f"sweeps-{folder}.safetensors"
    save_file(arrays, path)
    print(f"{path.stat().st_size:9,}  {path.name}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in ("tiny", "odd"):
        write(folder)
