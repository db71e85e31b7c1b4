"""What the comparison's parts share: what they work on, and how numbers are compared."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from patchbay_compare.inputs import Prompts
from patchbay_compare.patchbay import Patchbay

TOLERANCE = 1e-4


@dataclass
class Bench:
    """What every part works on."""

    patchbay: Patchbay
    model: object  # of Hugging Face
    prompts: Prompts
    folder: Path  # scratch
    failures: list[str] = field(default_factory=list)

    def check(self, what: str, value: float):
        """Notes a failure; a NaN is one."""
        if not value <= TOLERANCE:
            self.failures.append(f"{what}: {value:.2e} is beyond {TOLERANCE:.0e}")


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference, and the same relative to the root mean square of theirs.

    Infinite entries, the masked attention scores, must be the same; NaN equals nothing.
    """
    if ours.shape != theirs.shape:
        return np.inf, np.inf
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite]):
        return np.inf, np.inf
    ours, theirs = ours[finite].astype(np.float64), theirs[finite].astype(np.float64)
    largest = float(np.abs(ours - theirs).max())
    return largest, largest / max(float(np.sqrt(np.mean(theirs**2))), 1e-30)


def cells(rows: list[dict], name: str, axes: tuple, shape: tuple) -> tuple:
    """The columns effect and patched of a sweep as arrays [pairs, *axes]; NaN where none."""
    effect, patched = np.full(shape, np.nan), np.full(shape, np.nan)
    for row in rows:
        if row["hook"].rpartition("hook_")[2] == name:
            index = (int(row["pair"]), *(int(row[axis]) for axis in axes))
            effect[index], patched[index] = float(row["effect"]), float(row["patched"])
    return effect, patched


def sweep_of(summary: dict, name: str) -> dict:
    return next(sweep for sweep in summary["sweeps"] if sweep["hook"] == name)


def mean_error(summary: dict, name: str, effect: np.ndarray, gap: np.ndarray) -> float:
    """patch.json's two means over pairs: the ratio of means and the mean of ratios."""
    sweep = sweep_of(summary, name)
    errors = []
    for key, expected in (
        ("effect", (effect * gap).mean(0) / gap.mean()),
        ("effect_mean_of_ratios", effect.mean(0)),
    ):
        ours = np.array(sweep[key], np.float64).reshape(sweep["shape"])
        errors.append(difference(ours, expected)[0])
    return max(errors)
