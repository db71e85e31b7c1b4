"""Undoing the byte shuffle and the bit shuffle of a chunk."""

from __future__ import annotations

import numpy as np

NONE, BYTE_SHUFFLE, BIT_SHUFFLE = range(3)

_EXPONENTS = {"f32": (23, 8), "f16": (10, 5), "bf16": (7, 8)}
"""Lowest bit and number of bits of the exponent."""


def undo(kind: int, data: bytearray, out: np.ndarray, element_type: str, offset: int) -> None:
    """Writes the elements of a filtered chunk.

    `data` has the chunk's bytes and may be overwritten; `out` is uint32 for f32, else uint16, of as
    many elements; `offset` is by how much the exponents were lowered, for the bit shuffle.
    """
    octets = np.frombuffer(data, np.uint8)
    if kind == BYTE_SHUFFLE:
        out.view(np.uint8).reshape(-1, out.itemsize)[...] = octets.reshape(out.itemsize, -1).T
    elif kind == BIT_SHUFFLE:
        count = out.size // 8 * 8
        if count:
            _join_planes(octets[: count * out.itemsize], out[:count])
        out[count:] = octets[count * out.itemsize :].view(out.dtype)
        if offset:
            _raise_exponents(out, element_type, offset)
    else:
        out.view(np.uint8)[...] = octets


def _mask(distance: int) -> np.uint64:
    """A word of alternately `distance` ones and as many zeros, the lowest bits being ones."""
    return np.uint64(sum(1 << bit for bit in range(64) if not bit & distance))


_MASKS = {1 << power: _mask(1 << power) for power in range(5)}


def _join_planes(planes: np.ndarray, out: np.ndarray) -> None:
    """Elements of b bits, 8 at least, from their b planes; `planes` may be overwritten.

    The planes are b rows of words of b bits. The words that stand at one place in all rows are a matrix
    of bits: row p, column i is bit p of element i. It is transposed by exchanging its
    quarters, then theirs, down to single bits, in all matrices at once; row i then is element i.
    """
    bits = 8 * out.itemsize
    length = planes.size // bits
    rows = planes.reshape(bits, length)
    words = -(-length // 8)
    if length % 8:
        padded = np.zeros((bits, 8 * words), np.uint8)
        padded[:, :length] = rows
        rows = padded
    rows = rows.view(np.uint64)
    moved = np.empty((bits // 2) * words, np.uint64)
    distance = bits // 2
    while distance:
        pairs = rows.reshape(-1, 2, distance * words)
        low, high = pairs[:, 0], pairs[:, 1]
        part = moved.reshape(low.shape)
        shift = np.uint64(distance)
        # Exchange the upper half of each low row with the lower half of its high row.
        np.right_shift(low, shift, out=part)
        np.bitwise_xor(part, high, out=part)
        np.bitwise_and(part, _MASKS[distance], out=part)
        np.bitwise_xor(high, part, out=high)
        np.left_shift(part, shift, out=part)
        np.bitwise_xor(low, part, out=low)
        distance //= 2
    elements = rows.view(out.dtype).T
    whole = out.size // bits
    out[: whole * bits].reshape(whole, bits)[...] = elements[:whole]
    if out.size % bits:
        out[whole * bits :] = elements[whole, : out.size % bits]


def _raise_exponents(elements: np.ndarray, element_type: str, offset: int) -> None:
    """Adds `offset` to every exponent, modulo its size; sign and mantissa stay."""
    lowest, width = _EXPONENTS[element_type]
    kind = elements.dtype.type
    moved = elements + kind((offset << lowest) & ((1 << 8 * elements.itemsize) - 1))
    # The mantissa is as it was; a carry into the sign is taken back.
    moved ^= elements
    moved &= kind(((1 << width) - 1) << lowest)
    elements ^= moved
