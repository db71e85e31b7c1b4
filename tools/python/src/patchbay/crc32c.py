"""CRC-32C (Castagnoli) in numpy: many stretches of a buffer side by side, then joined."""

from functools import lru_cache

import numpy as np

try:  # Either package, where it is installed, is many times faster.
    from google_crc32c import value as _native
except ImportError:
    try:
        from crc32c import crc32c as _native
    except ImportError:
        _native = None

_POLYNOMIAL = 0x82F63B78  # reflected


def _make_tables() -> np.ndarray:
    """[8, 256]: table k has the CRC of a byte followed by k zero bytes."""
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (crc & 1) * _POLYNOMIAL
        tables[0, byte] = crc
    for k in range(1, 8):
        before = tables[k - 1]
        tables[k] = before >> 8 ^ tables[0, before & 255]
    return tables


_TABLES = _make_tables()
_FIRST = _TABLES[0].tolist()


def crc32c(data) -> int:
    """The CRC-32C of a bytes-like object."""
    if _native is not None:
        return int(_native(bytes(data)))
    return _advance(0xFFFFFFFF, np.frombuffer(data, np.uint8)) ^ 0xFFFFFFFF


def _advance(crc: int, data: np.ndarray) -> int:
    """The register after `data`, from `crc` on."""
    lanes = 1
    while lanes < 4096 and data.size >= 2 * lanes * 128:
        lanes *= 2
    length = data.size // lanes // 8 * 8  # bytes of a lane
    if lanes == 1 or length == 0:
        for byte in data.tolist():
            crc = crc >> 8 ^ _FIRST[(crc ^ byte) & 255]
        return crc
    words = np.ascontiguousarray(data[: lanes * length]).view("<u4").reshape(lanes, -1, 2)
    register = np.zeros(lanes, np.uint32)
    register[0] = crc
    for step in range(words.shape[1]):
        low, high = words[:, step, 0] ^ register, words[:, step, 1]
        register = np.zeros(lanes, np.uint32)
        for k in range(4):
            register ^= _TABLES[7 - k][low >> 8 * k & 255] ^ _TABLES[3 - k][high >> 8 * k & 255]
    while register.size > 1:
        register = _shift(register[0::2], length) ^ register[1::2]
        length *= 2
    return _advance(int(register[0]), data[lanes * words.shape[1] * 8 :])


@lru_cache(maxsize=256)
def _zeros(count: int) -> np.ndarray:
    """[4, 256]: what `count` zero bytes make of each byte of a register."""
    columns = [1 << bit for bit in range(32)]  # of the identity
    power = [crc >> 8 ^ _FIRST[crc & 255] for crc in columns]  # one zero byte

    def apply(matrix: list, vector: int) -> int:
        result = 0
        for column in matrix:
            if vector & 1:
                result ^= column
            vector >>= 1
        return result

    while count:
        if count & 1:
            columns = [apply(power, column) for column in columns]
        power = [apply(power, column) for column in power]
        count >>= 1
    tables = np.zeros((4, 256), np.uint32)
    for k in range(4):
        for byte in range(256):
            tables[k, byte] = apply(columns, byte << 8 * k)
    return tables


def _shift(registers: np.ndarray, count: int) -> np.ndarray:
    tables = _zeros(count)
    return (
        tables[0][registers & 255]
        ^ tables[1][registers >> 8 & 255]
        ^ tables[2][registers >> 16 & 255]
        ^ tables[3][registers >> 24]
    )
