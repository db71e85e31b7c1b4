"""Opening the plain files of a cache, and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from .errors import CacheError

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    # A link is refused; a pipe must not make the open wait for a writer.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


class PlainFile:
    """An open plain file of known size. It is closed when nothing refers to it any more."""

    def __init__(self, directory: Path, name: str):
        """Raises FileNotFoundError where there is none, CacheError if it is not a plain file."""
        self.path = directory / name
        try:
            if self.path.is_symlink():
                raise CacheError(f"{self.path}: is a symbolic link, which a cache never holds")
            self._descriptor = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be opened: {error.strerror}") from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CacheError(f"{self.path}: is not a plain file")
        self.size = status.st_size

    def __del__(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, offset: int, length: int) -> np.ndarray:
        """`length` bytes from `offset` on, as a new uint8 array. The range must lie in `size`."""
        if not 0 <= offset <= offset + length <= self.size:
            raise CacheError(f"{self.path}: is too short for bytes {offset} to {offset + length}")
        data = np.empty(length, np.uint8)
        done = 0
        try:
            while done < length:
                count = os.preadv(self._descriptor, [data[done:].data], offset + done)
                if count == 0:
                    raise CacheError(f"{self.path}: was cut off while it was read")
                done += count
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be read: {error.strerror}") from error
        return data


def read_whole(directory: Path, name: str, limit: int) -> bytes:
    """All bytes of a file that may have at most `limit`."""
    try:
        file = PlainFile(directory, name)
    except FileNotFoundError:
        raise CacheError(f"{directory / name}: is missing") from None
    if file.size > limit:
        raise CacheError(f"{file.path}: has {file.size} bytes, more than the {limit} allowed")
    return file.read(0, file.size).tobytes()
