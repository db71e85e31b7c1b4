"""What readers make of flipped bits, cut files and writers that were killed."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np

from patchbay_stores import arrays as array_files
from patchbay_stores.arrays import SHAPES, Arrays, prompts_of
from patchbay_stores.isolation import forked, silence
from patchbay_stores.store import Read, Store, bytes_in, files_of

TRUNCATIONS = (0, 1, 10, 30, 50, 70, 90, 99, 99.99)
"""Per cent of the largest file that are left."""
PROMPTS = 40
"""Of the stores whose files are damaged."""
KILLED_PROMPTS = 400
"""Of the stores whose writers are killed."""
KILLS = (30, 70)
"""Per cent of the bytes that are there when the writer is killed."""


def damage(
    store: Store, source: Path, folder: Path, flips: int, truncations: int, seed: int
) -> dict:
    """Counts by class of outcome, in this process, which forks for every reading."""
    for module in store.modules:
        __import__(module)
    path = folder / "store"
    small = array_files.load(source, PROMPTS)
    _write_whole(store, path, small)
    found = {
        "flips": _flip(store, path, small, flips, random.Random(seed)),
        "truncations": _truncate(store, path, small, truncations),
    }
    large = array_files.load(source, KILLED_PROMPTS)
    _write_whole(store, path, large)
    whole = bytes_in(path)
    found["kills"] = {share: _kill(store, path, large, whole, share) for share in KILLS}
    shutil.rmtree(path)
    return found


def _write_whole(store: Store, path: Path, arrays: Arrays) -> None:
    """Writes the store and makes sure that it reads as it was written."""

    def write() -> str:
        store.write(path, arrays)
        return "written"

    _empty(path)
    if forked(write) != "written":
        raise RuntimeError(f"{store.name} cannot write")
    if _outcome(store, path, arrays) != "harmless":
        raise RuntimeError(f"{store.name} does not give what was written")


def _empty(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()


def _tally(store: Store, path: Path, arrays: Arrays) -> Counter:
    """Prompts by what their reader gets: all arrays "right", an "error" at one of them, or other
    numbers without an error: "ZEROS" where all that differs is zero, else "WRONG". A store that
    does not open is one "nothing opens"."""
    tally: Counter = Counter()
    try:
        read = store.reader(path)
    except BaseException:  # some bindings raise what is no Exception
        return Counter(["nothing opens"])
    for prompt in range(prompts_of(arrays)):
        seen = {_compare(read, hook, prompt, arrays[hook][prompt]) for hook in SHAPES}
        tally[next(kind for kind in ("WRONG", "ZEROS", "error", "right") if kind in seen)] += 1
    return tally


def _compare(read: Read, hook: str, prompt: int, expected: np.ndarray) -> str:
    try:
        got = np.asarray(read(hook, prompt))
    except BaseException:
        return "error"
    if got.tobytes() == expected.tobytes():
        return "right"
    same_shape = got.shape == expected.shape
    return "ZEROS" if same_shape and not np.any(got[got != expected]) else "WRONG"


def _outcome(store: Store, path: Path, arrays: Arrays) -> str:
    """One class for the whole store. Wrong numbers count as silent even where other prompts give
    an error."""

    def work() -> str:
        tally = _tally(store, path, arrays)
        if tally["WRONG"] or tally["ZEROS"]:
            return "SILENT"
        return "detected" if tally["error"] or tally["nothing opens"] else "harmless"

    return forked(work)


def _flip(store: Store, path: Path, arrays: Arrays, count: int, generator: random.Random) -> dict:
    """Single bits, over all bytes of all files alike."""
    files = files_of(path)
    sizes = [file.stat().st_size for file in files]
    found: Counter = Counter()
    for _ in range(count):
        file = generator.choices(files, sizes)[0]
        bit = generator.randrange(8 * file.stat().st_size)
        _flip_bit(file, bit)
        found[_outcome(store, path, arrays)] += 1
        _flip_bit(file, bit)
    return dict(found)


def _flip_bit(file: Path, bit: int) -> None:
    with open(file, "r+b", buffering=0) as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))


def _truncate(store: Store, path: Path, arrays: Arrays, count: int) -> dict:
    largest = max(files_of(path), key=lambda file: file.stat().st_size)
    data = largest.read_bytes()
    found: Counter = Counter()
    for share in TRUNCATIONS[:count]:
        largest.write_bytes(data[: int(len(data) * share / 100)])
        found[_outcome(store, path, arrays)] += 1
    largest.write_bytes(data)
    return dict(found)


def _kill(store: Store, path: Path, arrays: Arrays, whole: int, share: int) -> dict:
    """Kills the writer at a share of the whole bytes, to within a tenth of them: a writer that is
    faster than this process can look is started again."""
    reached = 0.0
    for _ in range(50):
        _empty(path)
        killed = _kill_writer(store, path, arrays, share / 100 * whole)
        reached = 100 * bytes_in(path) / whole
        if killed and abs(reached - share) <= 10:
            break
    else:
        return {"reached": reached, "prompts": {"not killed in time": 1}}
    answer = forked(lambda: json.dumps(_tally(store, path, arrays)))
    prompts = json.loads(answer) if answer.startswith("{") else {answer: 1}
    return {"reached": reached, "prompts": prompts}


def _kill_writer(store: Store, path: Path, arrays: Arrays, enough: float) -> bool:
    """Whether the writer was still writing when enough bytes were there."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()  # the programs that it starts are killed with it
            silence()
            store.write(path, arrays)
        finally:
            os._exit(0)
    while bytes_in(path) < enough:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
    os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    time.sleep(0.05)  # for the programs that it started
    return os.WIFSIGNALED(status)
