"""The arrays that every store keeps: those of `patchbay-bench store`, written once to files."""

from pathlib import Path

import numpy as np

from patchbay_stores.isolation import program

Arrays = dict[str, np.ndarray]

SHAPES = {
    "blocks.0.hook_resid_pre": (16, 768),
    "blocks.0.mlp.hook_post": (16, 3072),
    "blocks.0.attn.hook_pattern": (12, 16, 16),
}
"""By hook, of one prompt; float32."""


def write(bench: Path, folder: Path, prompts: int, seed: int) -> None:
    program(bench, "arrays", "--out", folder, "--prompts", prompts, "--seed", seed)


def load(folder: Path, prompts: int) -> Arrays:
    """The first prompts' arrays, [prompts, ...] by hook."""
    return {
        hook: np.fromfile(folder / f"{hook}.f32", np.float32, prompts * int(np.prod(shape)))
        .reshape(prompts, *shape)
        for hook, shape in SHAPES.items()
    }  # fmt: skip


def prompts_of(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))
