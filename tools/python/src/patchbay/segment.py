"""One segment file: mapped, its header, index and blocks checked."""

import mmap
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchbay import encoding
from patchbay.crc32c import crc32c
from patchbay.errors import CacheError, require

ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4")])
_ELEMENTS = {1: "f32", 2: "f16", 3: "bf16"}


class Block(NamedTuple):
    """A stored array: how it is stored, its lengths, and its bytes."""

    encoding: encoding.Encoding
    raw: int
    stored: bytes


def read_plain(path: Path, limit: int) -> bytes:
    """A file that must be a plain one, not behind a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CacheError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        require(stat.S_ISREG(status.st_mode), f"{path} is not a plain file")
        require(status.st_size <= limit, f"{path} is larger than such a file may be")
        return file.read()


class Segment:
    """Prompts `first` to `first + prompts - 1`, all hooks of each."""

    def __init__(self, path: Path, number: int, first: int, listed: dict, plan: dict, key: bytes):
        self.path, self.number, self.first, self.plan, self.key = path, number, first, plan, key
        self.prompts = listed["prompts"]
        hooks = len(plan["hooks"])
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise CacheError(f"{path}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            require(stat.S_ISREG(status.st_mode), f"{path} is not a plain file")
            require(status.st_size == listed["size"] >= 128 and status.st_size % 64 == 0,
                    f"{path} has {status.st_size} bytes, the manifest says {listed['size']}")  # fmt: skip
            self.map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)

        header = self._record(0, b"PBsegmt\n", "its header")
        expected = (plan["formatVersion"], number, first, self.prompts, hooks)
        require(struct.unpack_from("<5I", header, 8) == expected and header[28:60] == key,
                f"the header of {path} is that of another segment")  # fmt: skip
        end = len(self.map) - 64
        trailer = self._record(end, b"PBtrail\n", "its trailer")
        offset, length, size, prefix = struct.unpack_from("<3Q8s", trailer, 8)
        segment, crc = struct.unpack_from("<2I", trailer, 40)
        wanted = 16 * hooks * self.prompts + 4 * self.prompts
        require(prefix == key[:8] and segment == number and not any(trailer[48:60]),
                f"the trailer of {path} belongs to another segment")  # fmt: skip
        require(length == wanted and size == len(self.map)
                and offset == end - (wanted + 63) // 64 * 64 and offset >= 64,
                f"the trailer of {path} has impossible lengths")  # fmt: skip
        index = self.map[offset:end]
        require(crc32c(index[:length]) == crc == int(listed["index"], 16) and
                not any(index[length:]), f"the index of {path} is damaged")  # fmt: skip
        self.entries = np.frombuffer(index, ENTRY, hooks * self.prompts).reshape(hooks, -1)
        self.tokens = np.frombuffer(index, "<u4", self.prompts, 16 * hooks * self.prompts)
        self._check_index(offset, listed)

    def _record(self, offset: int, magic: bytes, what: str) -> bytes:
        record = self.map[offset : offset + 64]
        (crc,) = struct.unpack_from("<I", record, 60)
        require(record[:8] == magic and crc32c(record[:60]) == crc,
                f"{self.path} is damaged: {what}")  # fmt: skip
        return record

    def _check_index(self, end: int, listed: dict) -> None:
        """Blocks follow one another up to the index; only hooks with a recipe are derived."""
        flat = self.entries.ravel()
        derived = (flat["offset"] == 0) & (flat["length"] == 0)
        can_derive = np.repeat(["recipe" in hook for hook in self.plan["hooks"]], self.prompts)
        stored = flat[~derived]
        starts = stored["offset"].astype(object)
        ends = [
            start + 64 + (length + 63) // 64 * 64
            for start, length in zip(starts, stored["length"].tolist())
        ]
        require(not np.any(derived & ~can_derive) and [64, *ends] == [*starts, end],
                f"the index of {self.path} is impossible")  # fmt: skip
        require(int(self.tokens.sum()) == listed["tokens"] and self.tokens.max(initial=0) <= 1 << 24,
                f"the index of {self.path} has other tokens than the manifest")  # fmt: skip

    def block(self, hook: int, prompt: int, check: bool) -> Block:
        """A stored array of the prompt `first + prompt`."""
        entry = self.entries[hook, prompt]
        offset = int(entry["offset"])
        name = f"prompt {self.first + prompt}, {self.plan['hooks'][hook]['name']}"
        header = self._record(offset, b"PBblock\n", name)
        where = f"{self.path} is damaged at {name}"
        fields = struct.unpack_from("<8s4I4B4I", header, 8)
        prefix, segment, its_hook, its_prompt, tokens = fields[:5]
        codec, filtering, packing, element = fields[5:9]
        raw, length, stored_crc, _ = fields[9:]
        fill, shift = struct.unpack_from("<IB", header, 52)
        require((prefix, segment, its_hook, its_prompt)
                == (self.key[:8], self.number, hook, self.first + prompt)
                and struct.unpack_from("<I", header, 60)[0] == entry["crc"],
                f"{where}: another array stands in its place")  # fmt: skip
        way = encoding.Encoding(codec, filtering, packing, fill, shift)
        kind = _ELEMENTS.get(element)
        old = self.plan["formatVersion"] == 1
        sound = (
            kind == self.plan["elementType"]
            and tokens == self.tokens[prompt]
            and codec <= 1
            and filtering <= 2
            and packing <= (0 if old else 1)
            and not any(header[52:60] if old else header[57:60])
            and (codec == 1 or filtering == 0)
            and (packing == 1 or fill == 0)
            and (shift == 0 or filtering == 2 and (shift < 32 or kind != "f16"))
            and length == entry["length"]
        )
        require(sound, f"{where}: its header says what no writer writes")
        shape = self.plan["hooks"][hook]["shape"]
        size = encoding.SIZES[self.plan["elementType"]]
        count = 1
        for dimension in shape:
            count *= int(tokens) if dimension == "T" else dimension
        packable = packing == 0 or shape[-2:] == ["T", "T"] and tokens >= 2
        packed = encoding.packed_length(way, raw, int(tokens), size) if packable else -1
        require(packable and raw == count * size and count * 4 <= 1 << 31
                and (length == packed if codec == 0 else packed // 255 <= length < packed),
                f"{where}: its lengths are impossible")  # fmt: skip
        stored = self.map[offset + 64 : offset + 64 + length]
        if check:
            padding = self.map[offset + 64 + length : offset + 64 + (length + 63) // 64 * 64]
            require(crc32c(stored) == stored_crc and not any(padding),
                    f"{where}: its bytes fail their checksum")  # fmt: skip
        return Block(way, raw, stored)
