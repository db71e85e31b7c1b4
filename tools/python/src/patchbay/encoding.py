"""From stored bytes to the elements of an array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import lz4.block
import numpy as np

from . import filters, limits
from .block import Encoding
from .crc32c import crc32c
from .errors import CacheError

CHUNK = 129_024
"""Bytes of a chunk of arrays without rows, and the most of any."""
_WORDS: Dict[str, np.dtype] = {
    "f32": np.dtype("<u4"),
    "f16": np.dtype("<u2"),
    "bf16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class Chunking:
    """How packed bytes are cut into chunks before they are compressed."""

    size: int = CHUNK
    """Bytes of every chunk but the last one."""
    has_crcs: bool = False
    """Whether the table has each chunk's CRC-32C, and the block's header that of the table."""

    @property
    def entry(self) -> int:
        """Bytes of the table for a chunk."""
        return 8 if self.has_crcs else 4

    def table(self, length: int) -> int:
        """Bytes of the table of so many packed bytes."""
        return self.entry * -(-length // self.size)


def chunking(version: int, row: Optional[int]) -> Chunking:
    """That of a format version; `row` is the bytes of a row where an array has some."""
    if version < 4:
        return Chunking()
    if row is None or not 0 < row <= CHUNK:
        return Chunking(has_crcs=True)
    most = 4096 if version > 4 else 16_384
    return Chunking(row * max(1, most // row), True)


def packed_count(encoding: Encoding, shape: Tuple[int, ...]) -> int:
    """How many elements are encoded of an array of this shape."""
    count = math.prod(shape)
    if encoding.triangle:
        count = count // shape[-1] * (shape[-1] + 1) // 2
    if encoding.shared:
        count = count // shape[0] * (shape[0] - encoding.shared)
    return count


def covered(
    encoding: Encoding, shape: Tuple[int, ...], element_type: str, chunks: Chunking, stored: int
) -> int:
    """How many of the stored bytes, from the first on, the CRC in a block's header is of."""
    if not (encoding.lz4 and chunks.has_crcs):
        return stored
    table = chunks.table(packed_count(encoding, shape) * _WORDS[element_type].itemsize)
    if table > stored:
        raise CacheError(f"{stored} bytes are stored, which are no table of {table}")
    return table


def decode(
    stored: np.ndarray,
    encoding: Encoding,
    shape: Tuple[int, ...],
    element_type: str,
    base: Optional[np.ndarray] = None,
    chunks: Chunking = Chunking(),
    check: bool = True,
) -> np.ndarray:
    """The array as the words of its elements, uint32 or uint16, of `shape`.

    `stored` is uint8. The shape has passed the limits, and ends in two equal sizes of at least 2
    where the encoding is a triangle. `base` is the array, in words, that begins with the rows which
    the encoding leaves out: no more than it has, nor than the shape has. With `check` chunks that have
    CRCs are held against them. Raises CacheError where the bytes are not an encoding of it.
    """
    word = _WORDS[element_type]
    length = packed_count(encoding, shape) * word.itemsize
    if encoding.lz4:
        packed = _decompress(stored, encoding, length, element_type, chunks, check)
    elif stored.size != length:
        raise CacheError(f"{stored.size} bytes are stored of an array of {length}")
    else:
        packed = stored.view(word)
    if base is not None:
        rows = packed.reshape(shape[0] - encoding.shared, *shape[1:])
        return np.concatenate([base[: encoding.shared], rows])
    if not encoding.triangle:
        return packed.reshape(shape)
    return _unpack_triangles(packed, shape, encoding.fill)


def _decompress(
    stored: np.ndarray,
    encoding: Encoding,
    length: int,
    element_type: str,
    chunks: Chunking,
    check: bool,
) -> np.ndarray:
    start = chunks.table(length)
    if not start < stored.size < length:
        raise CacheError(f"{stored.size} bytes cannot be {length} bytes that LZ4 made smaller")
    if length > limits.EXPANSION * stored.size:
        raise CacheError(f"{stored.size} bytes cannot be {length}: LZ4 does not expand so much")
    table = stored[:start].view("<u4").reshape(-1, chunks.entry // 4)
    sizes = table[:, 0].tolist()
    if sum(sizes) != stored.size - start:
        raise CacheError("the lengths of its chunks are not that of the block")
    packed = np.empty(length, np.uint8).view(_WORDS[element_type])
    per_chunk = chunks.size // packed.itemsize
    for chunk, size in enumerate(sizes):
        out = packed[chunk * per_chunk : (chunk + 1) * per_chunk]
        if not 0 < size <= out.nbytes:
            raise CacheError(f"chunk {chunk} of {out.nbytes} bytes has {size} stored")
        data = stored[start : start + size]
        start += size
        if check and chunks.has_crcs and crc32c(data) != int(table[chunk, 1]):
            raise CacheError(f"chunk {chunk} of its stored bytes is damaged")
        if size == out.nbytes:
            filtered = bytearray(data)
        else:
            filtered = _decompress_chunk(data, out.nbytes, chunk)
        filters.undo(encoding.filter, filtered, out, element_type, encoding.exponent_offset)
    return packed


def _decompress_chunk(data: np.ndarray, length: int, chunk: int) -> bytearray:
    try:
        filtered = lz4.block.decompress(data, uncompressed_size=length, return_bytearray=True)
    except (lz4.block.LZ4BlockError, ValueError) as error:
        raise CacheError(f"chunk {chunk} cannot be decompressed: {error}") from error
    if len(filtered) != length:
        raise CacheError(f"chunk {chunk} has {len(filtered)} bytes instead of {length}")
    return filtered


def _unpack_triangles(packed: np.ndarray, shape: Tuple[int, ...], fill: int) -> np.ndarray:
    size = shape[-1]
    rows = packed.reshape(-1, size * (size + 1) // 2)
    squares = np.full((rows.shape[0], size, size), fill, packed.dtype)
    start = 0
    for row in range(size):
        squares[:, row, : row + 1] = rows[:, start : start + row + 1]
        start += row + 1
    return squares.reshape(shape)


def widen(words: np.ndarray, element_type: str) -> np.ndarray:
    """The float32 values of elements, of the same shape."""
    if element_type == "f32":
        return words.view(np.float32)
    if element_type == "f16":
        return words.view(np.float16).astype(np.float32)
    wide = words.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)
