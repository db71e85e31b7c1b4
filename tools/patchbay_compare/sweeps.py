"""Patch sweeps and their speed beside transformer_lens.patching."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, cells, difference, mean_error, sweep_of
from patchbay_compare.patchbay import write_pairs

SWEEPS = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v",
          "pattern"]  # fmt: skip
# Ours takes a fiftieth of a round, so that one run of it says little: a round has its median.
OURS_A_ROUND = 5


@dataclass
class Timing:
    """One round: seconds of each side, and GFLOPS of the fastest product just after it."""

    theirs: float
    ours: float  # the sweep on all threads, the cache's reading included
    process: float  # and the whole process
    one_thread: float
    peak: float
    peak_one: float


def compare_sweeps(bench: Bench, weights: str, count: int, length: int, differ_at: int | None,
                   directions: list[str], names: list[str], repeats: int):  # fmt: skip
    """Patch sweeps against transformer_lens.patching, pair by pair, cell by cell.

    The two take turns, round by round, ours OURS_A_ROUND times each; medians count. Our time is
    that of the sweep, the cache's reading included and the model's loading not; the whole
    process stands behind it.
    """
    hooked, batch, cache = capture_pairs(bench, weights, count, length, differ_at)
    clean_diff, corrupted_diff = baselines(hooked, batch)
    gap = clean_diff - corrupted_diff
    threads = bench.patchbay.threads

    print(f"\n{weights} weights: {count} pairs of {length} tokens, logit differences "
          f"{clean_diff.mean():.3f} clean, {corrupted_diff.mean():.3f} corrupted; "
          f"medians of {repeats}")  # fmt: skip
    print(f"  {'sweep':11}{'direction':>9}{'cells':>7}{'largest effect':>15}{'|difference|':>13}"
          f"{'TransformerLens s':>18}{'ours s':>8}{'ratio':>6}{'process s':>10}{'ratio':>6}"
          f"{'GFLOP':>8}{'GFLOPS':>8}{'of peak':>8}{'1 thread s':>11}{'of peak':>8}"
          f"{f'{threads} threads':>10}")  # fmt: skip
    for direction in directions:
        base = corrupted_diff if direction == "denoise" else clean_diff
        for name in names:
            rounds = []
            for _ in range(repeats):
                out = bench.folder / f"patch-{weights}-{direction}-{name}"
                several, alone = (
                    [bench.patchbay.patch(cache, [name], direction, out, used)
                     for _ in range(OURS_A_ROUND)]
                    for used in (None, 1)
                )  # fmt: skip
                rows, summary, _ = several[-1]
                start = time.perf_counter()
                theirs = lens.sweep(hooked, batch, name, direction).astype(np.float64)
                seconds = time.perf_counter() - start
                peak = bench.patchbay.peak()
                rounds.append(Timing(
                    seconds, statistics.median(sweep_of(run[1], name)["seconds"] for run in several),
                    statistics.median(run[2] for run in several),
                    statistics.median(sweep_of(run[1], name)["seconds"] for run in alone),
                    peak["all"], peak["one_thread"],
                ))  # fmt: skip
            axes = (-1, *[1] * (theirs.ndim - 1))
            effect = (theirs - base.reshape(axes)) / gap.reshape(axes)
            ours, patched = cells(rows, name, lens.SWEEPS[name].axes, theirs.shape)
            error = max(
                difference(ours, effect)[0],
                difference((patched - base.reshape(axes)) / gap.reshape(axes), effect)[0],
                mean_error(summary, name, effect, gap.reshape(axes)),
            )
            print_row(name, direction, effect, error, rounds, sweep_of(summary, name)["gflop"])
            bench.check(f"{weights} {name} {direction}", error)
        print(f"  {summary['kernel']} kernels; peak: the fastest of our products in the same "
              f"round, {rounds[-1].peak:.0f} GFLOPS on {threads} threads and "
              f"{rounds[-1].peak_one:.0f} on one in the last")  # fmt: skip


def print_row(name: str, direction: str, effect: np.ndarray, error: float, rounds: list[Timing],
              gflop: float):  # fmt: skip
    def median(value) -> float:
        return statistics.median(value(timing) for timing in rounds)

    theirs, ours = median(lambda t: t.theirs), median(lambda t: t.ours)
    process, alone = median(lambda t: t.process), median(lambda t: t.one_thread)
    share = median(lambda t: gflop / t.ours / t.peak)
    share_alone = median(lambda t: gflop / t.one_thread / t.peak_one)
    print(f"  {name:11}{direction:>9}{effect[0].size:7}{np.abs(effect).max():15.3f}{error:13.1e}"
          f"{theirs:18.2f}{ours:8.3f}{theirs / ours:6.0f}{process:10.2f}{theirs / process:6.1f}"
          f"{gflop:8.1f}{gflop / ours:8.1f}{share:8.0%}{alone:11.3f}{share_alone:8.0%}"
          f"{alone / ours:9.2f}x")  # fmt: skip


def capture_pairs(bench: Bench, weights: str, count: int, length: int, differ_at: int | None):
    """TransformerLens's model, random pairs with answers, and a cache of them."""
    hooked = lens.hooked(bench.model, weights)
    pairs = bench.prompts.pairs(count, length, differ_at)
    bench.prompts.choose_answers(hooked, pairs)
    name = f"pairs-{weights}-{count}-{length}-{len(list(bench.folder.glob('pairs-*.txt')))}"
    file, cache = bench.folder / f"{name}.txt", bench.folder / name
    write_pairs(file, bench.prompts, pairs)
    bench.patchbay.capture(file, cache, weights)
    clean, corrupted, answers = (
        torch.tensor(values)
        for values in zip(*((*pair.tokens, pair.answers) for pair in pairs))
    )
    return hooked, lens.PairBatch(clean, corrupted, answers), cache


def baselines(hooked, batch: lens.PairBatch) -> tuple[np.ndarray, np.ndarray]:
    """Logit differences of the clean and the corrupted runs, by pair."""
    with torch.no_grad():
        runs = batch.logit_diff(hooked(batch.clean)), batch.logit_diff(hooked(batch.corrupted))
    return tuple(values.double().numpy() for values in runs)
