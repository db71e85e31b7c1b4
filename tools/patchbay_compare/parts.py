"""Hooks and times of captures beside run_with_cache. Each part prints a table."""

import re
import shutil
import statistics
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, difference
from patchbay_compare.patchbay import write_prompts


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()


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


def tokens_per_second(report: str) -> float:
    """The rate that capture prints; loading the model is not counted in it."""
    found = re.search(r"([\d,.]+) tokens/s", report)
    return float(found[1].replace(",", "")) if found else float("nan")


def equal_lengths(prompts: list[list[int]], batch: int) -> list[torch.Tensor]:
    """Batches of prompts of equal length, as many as there must be."""
    by_length = defaultdict(list)
    for prompt in prompts:
        by_length[len(prompt)].append(prompt)
    return [some for group in by_length.values() for some in torch.tensor(group).split(batch)]


def prompt_texts(file: Path) -> list[str]:
    """The different prompts of a prompt file, clean and corrupted ones: its first two columns."""
    lines = [line for line in file.read_text().splitlines() if line and line[0] != "#"]
    return list(dict.fromkeys(text for line in lines for text in line.split("\t")[:2]))


def compare_times(bench: Bench, weights: str, count: int, length: int, differ_at: int | None,
                  texts: Path | None, batch: int, repeats: int, disk: Path | None):  # fmt: skip
    """run_with_cache in batches of equal length, without padding, against capture of the same
    prompts to the scratch folder and, where one is named, to a folder on a disk; beside them the
    forward pass alone and the disk alone. All take turns, so that other work slows all.

    The prompts are random ones or, with differ_at, clean and corrupted ones in turns that differ
    at that position only, or those of a prompt file."""
    if texts:
        prompts = [bench.prompts.tokenizer.encode(text) for text in prompt_texts(texts)]
    elif differ_at is None:
        prompts = bench.prompts.prompts(count, length, length)
    else:
        pairs = bench.prompts.pairs((count + 1) // 2, length, differ_at)
        prompts = [tokens[1:] for pair in pairs for tokens in pair.tokens][:count]
    groups = equal_lengths([bench.prompts.with_bos(prompt) for prompt in prompts], batch)
    hooked = lens.hooked(bench.model, weights)
    file, cache = bench.folder / "times.txt", bench.folder / "times"
    write_prompts(file, bench.prompts, prompts)
    tokens = sum(len(prompt) + 1 for prompt in prompts)

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

    kind = f"prompts in pairs that differ at {differ_at}" if differ_at and not texts else "prompts"
    print(f"\n{weights} weights: {len(prompts)} {kind} of {tokens / len(prompts):.1f} tokens, all "
          f"hooks, median of {repeats} runs [shortest, longest]")  # fmt: skip
    for what, times in seconds.items():
        middle = statistics.median(times)
        print(f"  {what:36}{middle:9.3f} s  [{min(times):.3f}, {max(times):.3f}]"
              f"{tokens / middle:10.0f} tokens/s")  # fmt: skip
    print(f"  {reports[-1].strip()}")
    if disk:
        print(f"  the disk alone: {statistics.median(rates)} GB/s written and synchronised")
