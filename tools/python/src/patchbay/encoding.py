"""From stored bytes to the elements of an array."""

from __future__ import annotations

import math
from typing import Dict, Optional, Tuple

import lz4.block
import numpy as np

from . import filters, limits
from .block import Encoding
from .errors import CacheError

CHUNK = 129_024
_WORDS: Dict[str, np.dtype] = {
    "f32": np.dtype("<u4"),
    "f16": np.dtype("<u2"),
    "bf16": np.dtype("<u2"),
}


def packed_count(encoding: Encoding, shape: Tuple[int, ...]) -> int:
    """How many elements are encoded of an array of this shape."""
    count = math.prod(shape)
    if encoding.triangle:
        count = count // shape[-1] * (shape[-1] + 1) // 2
    if encoding.shared:
        count = count // shape[0] * (shape[0] - encoding.shared)
    return count


def decode(
    stored: np.ndarray,
    encoding: Encoding,
    shape: Tuple[int, ...],
    element_type: str,
    base: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The array as the words of its elements, uint32 or uint16, of `shape`.

    `stored` is uint8. The shape has passed the limits, and ends in two equal sizes of at least 2
    where the encoding is a triangle. `base` is the array, in words, that begins with the rows which
    the encoding leaves out: no more than it has, nor than the shape has. Raises CacheError where the
    bytes are not an encoding of it.
    """
    word = _WORDS[element_type]
    length = packed_count(encoding, shape) * word.itemsize
    if encoding.lz4:
        packed = _decompress(stored, encoding, length, element_type)
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
    stored: np.ndarray, encoding: Encoding, length: int, element_type: str
) -> np.ndarray:
    chunks = -(-length // CHUNK)
    if not 4 * chunks < stored.size < length:
        raise CacheError(f"{stored.size} bytes cannot be {length} bytes that LZ4 made smaller")
    if length > limits.EXPANSION * stored.size:
        raise CacheError(f"{stored.size} bytes cannot be {length}: LZ4 does not expand so much")
    table = stored[: 4 * chunks].view("<u4").tolist()
    if sum(table) != stored.size - 4 * chunks:
        raise CacheError("the lengths of its chunks are not that of the block")
    packed = np.empty(length, np.uint8).view(_WORDS[element_type])
    per_chunk = CHUNK // packed.itemsize
    start = 4 * chunks
    for chunk, size in enumerate(table):
        out = packed[chunk * per_chunk : (chunk + 1) * per_chunk]
        if not 0 < size <= out.nbytes:
            raise CacheError(f"chunk {chunk} of {out.nbytes} bytes has {size} stored")
        data = stored[start : start + size]
        start += size
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
