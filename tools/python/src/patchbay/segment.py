"""A segment: the file that has the arrays of some consecutive prompts."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from . import block, encoding, limits
from .crc32c import crc32c
from .errors import CacheError
from .files import PlainFile
from .manifest import SegmentEntry
from .plan import Hook, Plan

_HEADER = struct.Struct("<8sIIIII32sI")
_TRAILER = struct.Struct("<8sQQQ8sII12sI")
_RECORD = 64
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4")])


class Segment:
    """An open segment whose header, trailer and index were checked against manifest and plan."""

    def __init__(self, directory: Path, entry: SegmentEntry, plan: Plan):
        try:
            self._file = PlainFile(directory, entry.name)
        except FileNotFoundError:
            raise CacheError(f"{directory / entry.name}: is missing") from None
        self.path = self._file.path
        self._entry = entry
        self._plan = plan
        size = self._file.size
        if size != entry.size or size % 64 or size < 2 * _RECORD:
            raise self._wrong(f"has {size} bytes where the manifest says {entry.size}")
        self._check_header()
        self._index_offset, index_length = self._check_trailer()
        self._read_index(index_length)

    def _wrong(self, what: str) -> CacheError:
        return CacheError(f"{self.path}: {what}")

    def _record(self, layout: struct.Struct, offset: int, magic: bytes) -> Tuple:
        data = self._file.read(offset, _RECORD).tobytes()
        found = layout.unpack(data)
        if found[0] != magic or crc32c(data[:60]) != found[-1]:
            raise self._wrong(f"is damaged in the {_RECORD} bytes from {offset} on")
        return found[1:-1]

    def _check_header(self) -> None:
        expected = (
            self._plan.version,
            self._entry.number,
            self._entry.first_prompt,
            self._entry.prompts,
            len(self._plan.hooks),
            self._plan.digest,
        )
        if self._record(_HEADER, 0, b"PBsegmt\n") != expected:
            raise self._wrong("has a header that is not the one of manifest and plan")

    def _check_trailer(self) -> Tuple[int, int]:
        at = self._file.size - _RECORD
        offset, length, size, digest, number, crc, zeros = self._record(
            _TRAILER, at, b"PBtrail\n"
        )
        if (
            size != self._file.size
            or digest != self._plan.digest[:8]
            or number != self._entry.number
            or crc != self._entry.index_crc
            or any(zeros)
        ):
            raise self._wrong("has a trailer that is not the one of manifest and plan")
        prompts = self._entry.prompts
        if length != 16 * len(self._plan.hooks) * prompts + 4 * prompts:
            raise self._wrong(f"has an index of {length} bytes")
        if offset < _RECORD or offset % 64 or not 0 <= at - offset - length < 64:
            raise self._wrong(f"has an index at {offset}, which does not end at the trailer")
        return offset, length

    def _read_index(self, length: int) -> None:
        room = self._file.read(self._index_offset, self._file.size - _RECORD - self._index_offset)
        index = room[:length]
        if crc32c(index) != self._entry.index_crc or room[length:].any():
            raise self._wrong("has a damaged index")
        hooks, prompts = len(self._plan.hooks), self._entry.prompts
        entries = index[: 16 * hooks * prompts].view(_ENTRY).reshape(hooks, prompts)
        self.tokens = index[16 * hooks * prompts :].view("<u4")
        """uint32, T of each prompt."""
        if self.tokens.max() > limits.TOKENS or self.tokens.sum(dtype="u8") != self._entry.tokens:
            raise self._wrong("has other token counts than the manifest")
        self._entries = entries
        self._check_places()

    def _check_places(self) -> None:
        derived = self._entries["offset"] == 0
        if (self._entries["length"][derived] != 0).any():
            raise self._wrong("has an index entry that is neither stored nor derived")
        recipes = np.array([hook.recipe is not None for hook in self._plan.hooks.values()], bool)
        if derived[~recipes].any():
            raise self._wrong("lacks an array that has no recipe")
        stored = self._entries[~derived]
        # Of less than 2³² each, no more than the index has: their sum fits.
        ends = _RECORD + np.cumsum(
            (stored["length"].astype(np.uint64) + np.uint64(block.SIZE + 63)) // np.uint64(64)
        ) * np.uint64(64)
        starts = np.concatenate(([np.uint64(_RECORD)], ends))
        if (starts[:-1] != stored["offset"]).any() or int(starts[-1]) != self._index_offset:
            raise self._wrong("has holes between its blocks, or overlaps")

    def derived_crc(self, hook: Hook, prompt: int) -> Optional[int]:
        """The CRC-32C of an array that is derived; None of one that is stored."""
        entry = self._entries[hook.number, prompt - self._entry.first_prompt]
        return int(entry["crc"]) if entry["offset"] == 0 else None

    def tokens_of(self, prompt: int) -> int:
        """T of a prompt, by its number in the cache."""
        return int(self.tokens[prompt - self._entry.first_prompt])

    def read(self, hook: Hook, prompt: int, check: bool) -> np.ndarray:
        """A stored array as new float32 of the hook's shape; CacheError where it is damaged.

        Without `check` the checksums of the stored bytes and the zeros after them are not looked at.
        """
        header, stored = self._block(hook, prompt, check)
        base = None
        if header.encoding.base is not None:
            try:
                base = self._base(hook, header.encoding.base, check)
            except CacheError as error:
                raise CacheError(
                    f"it shares rows with prompt {header.encoding.base},"
                    f" whose array is damaged: {error}"
                ) from error
        words = self._decode(header, stored, hook, check, base)
        return encoding.widen(words, self._plan.element_type)

    def _base(self, hook: Hook, prompt: int, check: bool) -> np.ndarray:
        if self.derived_crc(hook, prompt) is not None:
            raise CacheError("it is not stored")
        header, stored = self._block(hook, prompt, check)
        if header.encoding.base is not None:
            raise CacheError("it shares rows itself, so that it cannot be a base")
        return self._decode(header, stored, hook, check)

    def _decode(
        self,
        header: block.Header,
        stored: np.ndarray,
        hook: Hook,
        check: bool,
        base: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        tokens = header.identity.tokens
        return encoding.decode(
            stored,
            header.encoding,
            hook.shape_for(tokens),
            self._plan.element_type,
            base,
            self._chunking(hook, tokens),
            check,
        )

    def _chunking(self, hook: Hook, tokens: int) -> encoding.Chunking:
        row = None
        if hook.has_rows and tokens > 0:
            row = math.prod(hook.shape_for(tokens)) // tokens * self._plan.element_size
        return encoding.chunking(self._plan.version, row)

    def _block(self, hook: Hook, prompt: int, check: bool) -> Tuple[block.Header, np.ndarray]:
        """The checked header of a stored array, and its stored bytes."""
        tokens = self.tokens_of(prompt)
        shape = hook.shape_for(tokens)
        entry = self._entries[hook.number, prompt - self._entry.first_prompt]
        length = int(entry["length"])
        data = self._file.read(int(entry["offset"]), block.SIZE + -(-length // 64) * 64)
        header = block.parse(data[: block.SIZE].tobytes(), self._plan.version)
        identity = block.Identity(
            self._plan.digest[:8],
            self._entry.number,
            hook.number,
            prompt,
            tokens,
            self._plan.element_type,
        )
        if header.identity != identity or int(data[60:64].view("<u4")[0]) != int(entry["crc"]):
            raise CacheError("the block is not the one that the index names")
        if header.stored_length != length:
            raise CacheError(f"{header.stored_length} bytes are stored; the index says {length}")
        triangle = header.encoding.triangle
        if triangle and (tokens < 2 or not hook.ends_in_squares):
            raise CacheError("it is packed as triangles, which its shape has not")
        if header.raw_length != math.prod(shape) * self._plan.element_size:
            raise CacheError(f"it has {header.raw_length} bytes, which its shape has not")
        self._check_sharing(header, hook)
        stored = data[block.SIZE : block.SIZE + length]
        if check:
            covered = encoding.covered(
                header.encoding,
                shape,
                self._plan.element_type,
                self._chunking(hook, tokens),
                stored.size,
            )
            if crc32c(stored[:covered]) != header.stored_crc:
                raise CacheError("its stored bytes are damaged")
            if data[block.SIZE + length :].any():
                raise CacheError("the zeros after its stored bytes are damaged")
        return header, stored

    def _check_sharing(self, header: block.Header, hook: Hook) -> None:
        base, shared = header.encoding.base, header.encoding.shared
        if base is None:
            return
        if not hook.has_rows or header.raw_length == 0:
            raise CacheError("it shares rows, which its shape has not")
        if not self._entry.first_prompt <= base < header.identity.prompt:
            raise CacheError(f"prompt {base} is no earlier one of its segment to share rows with")
        if not 1 <= shared <= min(header.identity.tokens, self.tokens_of(base)):
            raise CacheError(f"it shares {shared} rows, which the two prompts have not")
