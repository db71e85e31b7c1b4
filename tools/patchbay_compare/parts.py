"""The comparison's parts: hooks, patch sweeps, times. Each prints a table."""

import re
import shutil
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.inputs import Prompts
from patchbay_compare.patchbay import Patchbay, write_pairs, write_prompts

TOLERANCE = 1e-4
SWEEPS = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v",
          "pattern"]  # fmt: skip


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


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()


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


def compare_hooks(bench: Bench, weights: str, prompts: list[list[int]]):
    """Every hook of run_with_cache against a cache of capture, prompt by prompt."""
    file, cache = bench.folder / "hooks.txt", bench.folder / f"hooks-{weights}"
    write_prompts(file, bench.prompts, prompts)
    bench.patchbay.capture(file, cache, weights, hooks="*,hook_unembed")
    hooked = lens.hooked(bench.model, weights)

    worst: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    names = set()

    def note(kind: str, absolute: float, relative: float):
        worst[kind] = [max(worst[kind][0], absolute), max(worst[kind][1], relative)]

    for index, tokens in enumerate(prompts):
        theirs = lens.run(hooked, bench.prompts.with_bos(tokens))
        ours = bench.patchbay.arrays(cache, index, bench.folder)
        logits, our_logits = theirs.pop("logits"), ours.pop("hook_unembed")
        names |= theirs.keys()
        if theirs.keys() != ours.keys():
            bench.failures.append(f"hooks differ: {sorted(theirs.keys() ^ ours.keys())[:8]}")
        for name in (name for name in theirs if name in ours):
            note(re.sub(r"\.\d+\.", ".*.", name), *difference(ours[name], theirs[name]))
        note("logits", *difference(our_logits, logits))
        if our_logits.shape == logits.shape:
            error = np.abs(log_softmax(our_logits) - log_softmax(logits)).max()
            note("log-softmax of logits", float(error), 0.0)

    lengths = [len(tokens) + 1 for tokens in prompts]
    print(f"\n{weights} weights: {len(names)} hooks, {len(prompts)} prompts of "
          f"{min(lengths)} to {max(lengths)} tokens")  # fmt: skip
    print(f"  {'hook':34}{'max |difference|':>18}{'relative to RMS':>18}")
    for kind, (absolute, relative) in worst.items():
        is_log_softmax = kind.startswith("log-softmax")
        shown = "" if is_log_softmax else f"{relative:.2e}"
        print(f"  {kind:34}{absolute:18.2e}{shown:>18}")
        bench.check(f"{weights} {kind}", absolute if is_log_softmax else relative)


def compare_sweeps(bench: Bench, weights: str, count: int, length: int, differ_at: int | None,
                   directions: list[str], names: list[str]):  # fmt: skip
    """Patch sweeps against transformer_lens.patching, pair by pair, cell by cell.

    The two take turns, sweep by sweep. Our time is that of the sweep, the cache's reading
    included and the model's loading not; the whole process stands behind it.
    """
    hooked = lens.hooked(bench.model, weights)
    pairs = bench.prompts.pairs(count, length, differ_at)
    bench.prompts.choose_answers(hooked, pairs)
    file, cache = bench.folder / "pairs.txt", bench.folder / f"pairs-{weights}"
    write_pairs(file, bench.prompts, pairs)
    bench.patchbay.capture(file, cache, weights)

    clean, corrupted, answers = (
        torch.tensor(values)
        for values in zip(*((*pair.tokens, pair.answers) for pair in pairs))
    )
    batch = lens.PairBatch(clean, corrupted, answers)
    with torch.no_grad():
        baseline = batch.logit_diff(hooked(clean)), batch.logit_diff(hooked(corrupted))
    clean_diff, corrupted_diff = (values.double().numpy() for values in baseline)

    print(f"\n{weights} weights: {count} pairs of {length} tokens, logit differences "
          f"{clean_diff.mean():.3f} clean, {corrupted_diff.mean():.3f} corrupted")  # fmt: skip
    print(f"  {'sweep':12}{'direction':>10}{'cells':>8}{'largest effect':>16}"
          f"{'max |difference|':>18}{'TransformerLens s':>19}{'ours s':>9}{'ratio':>7}"
          f"{'process s':>11}{'ratio':>7}")  # fmt: skip
    for direction in directions:
        base = corrupted_diff if direction == "denoise" else clean_diff
        for name in names:
            out = bench.folder / f"patch-{weights}-{direction}-{name}"
            rows, summary, process = bench.patchbay.patch(cache, [name], direction, out)
            start = time.perf_counter()
            theirs = lens.sweep(hooked, batch, name, direction).astype(np.float64)
            seconds = time.perf_counter() - start
            axes = (-1, *[1] * (theirs.ndim - 1))
            gap = (clean_diff - corrupted_diff).reshape(axes)
            effect = (theirs - base.reshape(axes)) / gap
            ours, patched = cells(rows, name, lens.SWEEPS[name].axes, theirs.shape)
            error = max(
                difference(ours, effect)[0],
                difference((patched - base.reshape(axes)) / gap, effect)[0],
                mean_error(summary, name, effect, gap),
            )
            own = sweep_of(summary, name)["seconds"]
            print(f"  {name:12}{direction:>10}{theirs[0].size:8}{np.abs(effect).max():16.3f}"
                  f"{error:18.2e}{seconds:19.2f}{own:9.3f}{seconds / own:7.0f}"
                  f"{process:11.2f}{seconds / process:7.1f}")  # fmt: skip
            bench.check(f"{weights} {name} {direction}", error)
        print(f"  analyze: {summary['timing']}, {summary['kernel']} kernels")


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


def tokens_per_second(report: str) -> float:
    """The rate that capture prints; loading the model is not counted in it."""
    found = re.search(r"([\d,.]+) tokens/s", report)
    return float(found[1].replace(",", "")) if found else float("nan")


def compare_times(bench: Bench, weights: str, count: int, length: int, differ_at: int | None,
                  batch: int, repeats: int, disk: Path | None):  # fmt: skip
    """run_with_cache in batches of equal length, without padding, against capture of the same
    prompts to the scratch folder and, where one is named, to a folder on a disk; beside them the
    forward pass alone and the disk alone. All take turns, so that other work slows all.

    The prompts are random ones or, with differ_at, clean and corrupted ones in turns that differ
    at that position only."""
    if differ_at is None:
        prompts = bench.prompts.prompts(count, length, length)
    else:
        pairs = bench.prompts.pairs((count + 1) // 2, length, differ_at)
        prompts = [tokens[1:] for pair in pairs for tokens in pair.tokens][:count]
    groups = torch.tensor([bench.prompts.with_bos(prompt) for prompt in prompts]).split(batch)
    hooked = lens.hooked(bench.model, weights)
    file, cache = bench.folder / "times.txt", bench.folder / "times"
    write_prompts(file, bench.prompts, prompts)
    tokens = count * length

    def theirs() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            for group in groups:
                hooked.run_with_cache(group)
        return time.perf_counter() - start

    def capture(folder: Path) -> float:
        report, _ = bench.patchbay.capture(file, folder, weights)
        shutil.rmtree(folder)
        reports.append(report)
        return tokens / tokens_per_second(report)

    def forward() -> float:
        return tokens / tokens_per_second(bench.patchbay.forward_pass(file))

    reports: list[str] = []
    rows = {f"run_with_cache, {batch} prompts a call": theirs}
    if weights == "transformerlens":
        rows["our forward pass, writing nothing"] = forward
    rows["capture"] = lambda: capture(cache)
    if disk:
        rows["capture to the disk, synchronised"] = lambda: capture(disk / "patchbay-times")
    with torch.no_grad():
        hooked.run_with_cache(groups[0])  # the first call is slower than all others
    seconds = {what: [] for what in rows}
    rates = []
    for _ in range(repeats):
        for what, run in rows.items():
            seconds[what].append(run())
        if disk:
            rates.append(bench.patchbay.disk_rate(disk))

    kind = "prompts" if differ_at is None else f"prompts in pairs that differ at {differ_at}"
    print(f"\n{weights} weights: {count} {kind} of {length} tokens, all hooks, "
          f"median of {repeats} runs [shortest, longest]")  # fmt: skip
    for what, times in seconds.items():
        middle = statistics.median(times)
        print(f"  {what:36}{middle:9.3f} s  [{min(times):.3f}, {max(times):.3f}]"
              f"{tokens / middle:10.0f} tokens/s")  # fmt: skip
    print(f"  {reports[-1].strip()}")
    if disk:
        print(f"  the disk alone: {statistics.median(rates)} GB/s written and synchronised")
