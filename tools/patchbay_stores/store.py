"""What the comparison asks of a store, and the files it finds there."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from patchbay_stores.arrays import Arrays

Read = Callable[[str, int], np.ndarray]
"""From a hook and a prompt's number to that array, in memory of the caller's own."""


class Store(ABC):
    """A way to keep arrays of prompts, with the settings its users would take for checked and
    compressed storage. One chunk is one prompt's array."""

    name: str
    packages: tuple[str, ...]
    """What pip calls them; the first is the store itself."""
    modules: tuple[str, ...]
    """What `write` and `reader` import. Importing them starts no thread that they need later, so
    that a process may import them, fork, and leave their use to the children."""

    @abstractmethod
    def write(self, folder: Path, arrays: Arrays) -> None:
        """Writes prompt after prompt into a folder that is there and empty."""

    @abstractmethod
    def reader(self, folder: Path, threads: int = 1) -> Read:
        """Opens what `write` left, for that many threads to read at the same time."""


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def bytes_in(folder: Path) -> int:
    """Bytes that its files take on the disk just now, while somebody may write and rename them."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += 512 * os.stat(os.path.join(parent, name)).st_blocks
            except FileNotFoundError:
                pass
    return total
