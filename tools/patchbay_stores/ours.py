"""Patchbay's caches: written by patchbay-bench, read by the Python package or by cachedump."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from patchbay_stores.arrays import Arrays, prompts_of
from patchbay_stores.isolation import program
from patchbay_stores.store import Read, Store

PACKAGE = Path(__file__).resolve().parents[1] / "python/src"


class _Patchbay(Store):
    packages = ("numpy", "lz4", "google-crc32c")

    def __init__(self, binaries: Path, seed: int):
        self.binaries, self.seed = binaries, seed

    def write(self, folder: Path, arrays: Arrays) -> None:
        """patchbay-bench makes the arrays itself, from the seed that `arrays` were made from."""
        program(
            self.binaries / "patchbay-bench", "store", "--keep", folder / "cache",
            "--prompts", prompts_of(arrays), "--seed", self.seed,
        )  # fmt: skip


class PatchbayPython(_Patchbay):
    name = "Patchbay, its Python reader"
    modules = ("lz4.block",)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        sys.path.insert(0, str(PACKAGE))
        import patchbay

        cache = patchbay.open(folder / "cache")
        _ = cache.prompts, cache.pairs  # these files are checked when they are read
        return lambda hook, prompt: cache[prompt][hook]


class PatchbaySwift(_Patchbay):
    """For damage alone: its speed is what `patchbay-bench store` says."""

    name = "Patchbay, cachedump export"
    modules = ("numpy",)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        out = folder.parent / "export"
        shutil.rmtree(out, ignore_errors=True)
        try:
            program(self.binaries / "cachedump", "export", folder / "cache", "--out", out,
                    "--format", "npy", "--quiet")  # fmt: skip
        except subprocess.CalledProcessError as error:
            if error.returncode < 0:  # a crash of the program is one of this reader
                os.kill(os.getpid(), -error.returncode)
            raise
        return lambda hook, prompt: np.load(out / f"prompt-{prompt:06d}" / f"{hook}.npy")
