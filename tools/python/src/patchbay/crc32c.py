"""CRC-32C (Castagnoli), by an installed native package or, without one, by numpy.

The numpy one reads the bytes as a polynomial over GF(2), the first byte with the highest powers.
Modulo the CRC's polynomial, xᵃ equals a sum of a few lower powers; by squaring, so does x^(8·2ᵐ·a)
with all exponents times 8·2ᵐ, and these are whole bytes. So the first half of a long array is
folded into the rest with a few exclusive ors of long slices, again and again, until some hundred
bytes are left, for which there is a table.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Callable, Optional, Tuple

import numpy as np

_REFLECTED = 0x82F63B78

# x^degree ≡ the sum of x^exponent: multiples of the polynomial with few terms, found by a search for
# those whose second exponent is below half the degree. Long ones need fewer terms.
_FOLDS: Tuple[Tuple[int, Tuple[int, ...]], ...] = (
    (5685, (1362, 426, 0)),
    (290, (136, 113, 107, 32, 0)),
)
_SHORT = 290
# A piece that stays in the second-level cache while it is folded.
_PIECE = 1 << 19


def _installed() -> Optional[Callable[[np.ndarray], int]]:
    """A native CRC-32C, if one is installed."""
    try:
        import google_crc32c

        if google_crc32c.implementation == "c":
            return lambda data: google_crc32c.value(data)
    except ImportError:
        pass
    try:
        import crc32c as package

        return lambda data: package.crc32c(data)
    except ImportError:
        return None


_native = _installed()


@lru_cache(maxsize=None)
def _table() -> Tuple[np.ndarray, np.ndarray]:
    """What each byte adds to the CRC register if 290 − 1 − row bytes follow it, uint32 [290 · 256],
    and where each of the rows begins."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = first >> np.uint32(1) ^ (first & np.uint32(1)) * np.uint32(_REFLECTED)
    rows = np.empty((_SHORT, 256), np.uint32)
    rows[-1] = first
    for row in range(_SHORT - 2, -1, -1):
        after = rows[row + 1]
        rows[row] = after >> np.uint32(8) ^ first[after & np.uint32(255)]
    return rows.reshape(-1), np.arange(0, rows.size, 256)


def _fold(data: np.ndarray) -> np.ndarray:
    """The last bytes of `data`, at most 290, after all before them were folded into them."""
    for degree, exponents in _FOLDS:
        while data.size > degree:
            scale = 1 << ((data.size - 1) // degree).bit_length() - 1
            front = data.size - degree * scale
            # No longer than the shortest way that bytes go: a slice is whole when it is used.
            run = scale * (degree - exponents[0])
            folded = data[:front]
            for start in range(0, front, run):
                part = folded[start : start + run]
                for exponent in exponents:
                    place = start + scale * (degree - exponent)
                    target = data[place : place + part.size]
                    np.bitwise_xor(target, part, out=target)
            data = data[front:]
    return data


def _register(data: np.ndarray, register: int) -> int:
    """The CRC register after the bytes of `data`."""
    for start in range(0, data.size, _PIECE):
        piece = data[start : start + _PIECE]
        # The register is added to the first four bytes. Of a shorter piece, the last, some bytes
        # of the register are left, which only move down.
        head = np.frombuffer(register.to_bytes(4, "little"), np.uint8)
        if piece.size < 4:
            shifted = register >> 8 * piece.size
            piece = piece ^ head[: piece.size]
        else:
            shifted = 0
            piece = piece.copy()
            piece[:4] ^= head
            piece = _fold(piece)
        table, rows = _table()
        register = int(np.bitwise_xor.reduce(table[rows[_SHORT - piece.size :] + piece])) ^ shifted
    return register


def crc32c(data: object) -> int:
    """The CRC-32C of the bytes of a buffer; of `b"123456789"` it is 0xE3069283."""
    if isinstance(data, np.ndarray):
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    else:
        octets = np.frombuffer(data, np.uint8)  # type: ignore[call-overload]
    if _native is not None:
        return int(_native(octets))
    return _register(octets, 0xFFFFFFFF) ^ 0xFFFFFFFF
