"""Bytes, writing, random reading and scanning, one round of one store at a time."""

import json
import random
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from patchbay_stores import arrays as array_files
from patchbay_stores.arrays import SHAPES, Arrays, prompts_of
from patchbay_stores.isolation import alone, program
from patchbay_stores.ours import PatchbayPython
from patchbay_stores.store import Read, Store, files_of

Figures = dict[str, float]

READS = 400


def one_round(store: Store, source: Path, folder: Path, prompts: int, seed: int) -> Figures:
    """Figures of a store in this process, which should have done nothing else before."""
    arrays = array_files.load(source, prompts)
    raw = sum(array.nbytes for array in arrays.values())
    for module in store.modules:
        __import__(module)
    folder.mkdir()
    start = time.perf_counter()
    store.write(folder, arrays)
    figures = {"write_gbs": raw / (time.perf_counter() - start) / 1e9}
    if isinstance(store, PatchbayPython):
        del figures["write_gbs"]  # a program that makes its arrays first
    figures["bytes_ratio"] = sum(path.stat().st_size for path in files_of(folder)) / raw

    # A reader for each, let go before the next one: LMDB opens a store once in a process.
    _check(store, store.reader(folder), arrays)
    latencies = _random_reads(store.reader(folder), prompts, seed)
    figures["random_p50_us"] = latencies[len(latencies) // 2]
    figures["random_p99_us"] = latencies[len(latencies) * 99 // 100]
    for threads in (1, 2):
        seconds = _scan(store.reader(folder, threads), prompts, threads)
        figures[f"scan{threads}_gbs"] = raw / seconds / 1e9
    return figures


def _check(store: Store, read: Read, arrays: Arrays) -> None:
    """The store gives what was written; afterwards its files are in memory."""
    for hook, array in arrays.items():
        for prompt in range(prompts_of(arrays)):
            if read(hook, prompt).tobytes() != array[prompt].tobytes():
                raise RuntimeError(f"{store.name} gives other values at prompt {prompt}, {hook}")


def _random_reads(read: Read, prompts: int, seed: int) -> list[float]:
    """Microseconds to read all arrays of a prompt, sorted, of the second of two passes."""
    generator = random.Random(seed)
    order = [generator.randrange(prompts) for _ in range(READS)]
    latencies: list[float] = []
    for _ in range(2):
        latencies = []
        for prompt in order:
            start = time.perf_counter()
            for hook in SHAPES:
                read(hook, prompt)
            latencies.append((time.perf_counter() - start) * 1e6)
    return sorted(latencies)


def _scan(read: Read, prompts: int, threads: int) -> float:
    """Seconds to read every array, hook after hook, each thread its part of the prompts."""

    def part(number: int) -> None:
        for hook in SHAPES:
            for prompt in range(prompts * number // threads, prompts * (number + 1) // threads):
                read(hook, prompt)

    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(part, range(threads)))
        return time.perf_counter() - start


def bench_round(bench: Path, folder: Path, prompts: int, seed: int) -> dict[str, Figures]:
    """What patchbay-bench says of the same arrays: `copy`, `kernels` and `store`."""
    answer = json.loads(
        program(bench, "store", "--json", "--runs", 1, "--directory", folder,
                "--prompts", prompts, "--seed", seed)
    )  # fmt: skip
    return {
        "memory copy (ceiling)": answer["copy"],
        "LZ4 + bit shuffle, in cache (ceiling)": answer["kernels"],
        "Patchbay, patchbay-bench": answer["store"],
    }


def measure(
    stores: list[Store], bench: Path, source: Path, folder: Path, prompts: int, rounds: int,
    seed: int,
) -> dict[str, Figures]:  # fmt: skip
    """Medians of rounds in which the stores take turns, ceilings first."""
    found: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for name, figures in bench_round(bench, folder, prompts, seed).items():
            found.setdefault(name, []).append(figures)
        for store in stores:
            path = folder / "store"
            try:
                figures = alone(one_round, store, source, path, prompts, seed)
            finally:
                shutil.rmtree(path, ignore_errors=True)
            found.setdefault(store.name, []).append(figures)
    return {name: _medians(of_store) for name, of_store in found.items()}


def _medians(rounds: list[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
