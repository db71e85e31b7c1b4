"""What the tests share: the golden caches, copies of them, and seeds that are printed."""

import hashlib
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools/python/src"))

from patchbay import crc32c  # noqa: E402

GOLDEN = ROOT / "Tests/CacheFormatTests/Golden"
FORMATS = [
    f"format-{version}-{element}" for version in (1, 2, 3, 4, 5) for element in ("f32", "f16", "bf16")
]


def seeded(test: unittest.TestCase) -> random.Random:
    """A generator whose seed is printed; PATCHBAY_SEED gives it again."""
    seed = int(os.environ.get("PATCHBAY_SEED") or random.randrange(1 << 32))
    print(f"{test.id()}: PATCHBAY_SEED={seed}", file=sys.stderr)
    return random.Random(seed)


def bits(array: np.ndarray) -> bytes:
    """The bits of an array, by which NaNs and zeros of both signs are told apart."""
    return array.tobytes()


class CacheCopy:
    """A copy of a golden cache, to be changed and removed at the end of a test."""

    def __init__(self, test: unittest.TestCase, name: str = "format-2-f32"):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "cache"
        shutil.copytree(GOLDEN / name, self.path)

    def change_manifest(self, change) -> None:
        """Lets `change` change the manifest's object, and gives it the CRC of its new bytes."""
        manifest = json.loads((self.path / "manifest").read_bytes()[:-16])
        change(manifest)
        body = json.dumps(manifest).encode() + b"\n"
        line = b"crc32c %08x\n" % crc32c.crc32c(body)
        (self.path / "manifest").write_bytes(body + line)

    def change_plan(self, change) -> None:
        """Lets `change` change the plan's object, and the manifest vouch for it."""
        plan = json.loads((self.path / "plan.json").read_bytes())
        change(plan)
        text = json.dumps(plan).encode()
        (self.path / "plan.json").write_bytes(text)
        digest = hashlib.sha256(text).hexdigest()
        self.change_manifest(lambda manifest: manifest.update(plan=digest))


class OpenSegment:
    """The bytes of a segment, to be changed; `close` makes every checksum fit them again."""

    def __init__(self, copy: CacheCopy, number: int = 0):
        self._copy = copy
        self._number = number
        self._path = copy.path / f"segment-{number:06d}.pbs"
        self.data = bytearray(self._path.read_bytes())
        self.hooks = len(json.loads((copy.path / "plan.json").read_bytes())["hooks"])
        self.prompts = struct.unpack_from("<I", self.data, 20)[0]
        self.index = struct.unpack_from("<Q", self.data, len(self.data) - 64 + 8)[0]
        self._chunks = {}
        if struct.unpack_from("<I", self.data, 8)[0] >= 4:
            for hook, prompt, offset in self.blocks():
                if self.data[offset + 32] == 1:
                    self._chunks[hook, prompt] = self._chunk_count(offset)

    def entry(self, hook: int, prompt: int) -> int:
        """Where an entry of the index is."""
        return self.index + 16 * (hook * self.prompts + prompt)

    def blocks(self):
        """Hook, prompt within the segment, and offset of every stored block."""
        for hook in range(self.hooks):
            for prompt in range(self.prompts):
                offset = struct.unpack_from("<Q", self.data, self.entry(hook, prompt))[0]
                if offset:
                    yield hook, prompt, offset

    def stored_length(self, offset: int) -> int:
        """The stored length that a block's header gives."""
        return struct.unpack_from("<I", self.data, offset + 40)[0]

    def close(self, signs_chunks: bool = True) -> None:
        """Writes the file, with all its checksums and the manifest's made anew.

        Without `signs_chunks` those of chunks stay as they are; only their table is vouched for.
        """
        for hook, prompt, offset in list(self.blocks()):
            if not 64 <= offset <= self.index - 64:
                continue
            end = offset + 64 + self.stored_length(offset)
            if (hook, prompt) in self._chunks and self.data[offset + 32] == 1:
                count = self._chunks[hook, prompt]
                if signs_chunks:
                    self._sign_chunks(offset + 64, end, count)
                end = min(offset + 64 + 8 * count, end)
            stored = self.data[offset + 64 : end]
            struct.pack_into("<I", self.data, offset + 44, crc32c.crc32c(bytes(stored)))
            self._seal(offset)
            crc = self.data[offset + 60 : offset + 64]
            place = self.entry(hook, prompt) + 12
            self.data[place : place + 4] = crc
        end = self.index + 16 * self.hooks * self.prompts + 4 * self.prompts
        index = crc32c.crc32c(bytes(self.data[self.index : end]))
        struct.pack_into("<I", self.data, len(self.data) - 20, index)
        self._seal(0)
        self._seal(len(self.data) - 64)
        self._path.write_bytes(self.data)

        def change(manifest):
            manifest["segments"][self._number].update(size=len(self.data), index=f"{index:08x}")

        self._copy.change_manifest(change)

    def _chunk_count(self, offset: int) -> int:
        """The entries of length and CRC in a block's table, which only its lengths tell."""
        count, rest = 0, self.stored_length(offset)
        while rest > 0:
            rest -= 8 + struct.unpack_from("<I", self.data, offset + 64 + 8 * count)[0]
            count += 1
        return count

    def _sign_chunks(self, table: int, end: int, count: int) -> None:
        """Signs the chunks whose lengths leave them in the block."""
        start = table + 8 * count
        for place in range(table, min(start, end - 7), 8):
            stop = start + struct.unpack_from("<I", self.data, place)[0]
            if stop > end:
                break
            crc = crc32c.crc32c(bytes(self.data[start:stop]))
            struct.pack_into("<I", self.data, place + 4, crc)
            start = stop

    def _seal(self, offset: int) -> None:
        crc = crc32c.crc32c(bytes(self.data[offset : offset + 60]))
        struct.pack_into("<I", self.data, offset + 60, crc)
