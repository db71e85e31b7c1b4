"""From the stored bytes of a block to values: LZ4, filters, packing, narrow floats."""

from typing import NamedTuple

import lz4.block
import numpy as np

from patchbay.errors import require

CHUNK = 129_024
SIZES = {"f32": 4, "f16": 2, "bf16": 2}
_FIELDS = {"f32": 0x7F800000, "f16": 0x7C00, "bf16": 0x7F80}


class Encoding(NamedTuple):
    """How an array is stored, as its block's header says."""

    codec: int  # 0 none, 1 LZ4
    filter: int  # 0 none, 1 byte shuffle, 2 bit shuffle
    packing: int  # 0 none, 1 causal triangle
    fill: int  # the element above the diagonals
    offset: int  # what exponents were lowered by


def packed_length(encoding: Encoding, raw: int, side: int, size: int) -> int:
    """Bytes that the packing leaves of `raw`; `side` is T."""
    if encoding.packing == 0:
        return raw
    return raw // size // side // side * (side * (side + 1) // 2) * size


def decode(stored: bytes, encoding: Encoding, raw: int, side: int, element: str) -> bytes:
    """The raw bytes of an array, exactly `raw` of them."""
    size = SIZES[element]
    length = packed_length(encoding, raw, side, size)
    packed = stored if encoding.codec == 0 else _chunks(stored, encoding, length, element)
    require(len(packed) == length, "it decodes to another length")
    if encoding.packing == 0:
        return packed
    kind = np.uint32 if size == 4 else np.uint16
    squares = np.full((raw // size // side // side, side, side), encoding.fill, kind)
    rows, columns = np.tril_indices(side)
    squares[:, rows, columns] = np.frombuffer(packed, kind).reshape(len(squares), -1)
    return squares.tobytes()


def _chunks(stored: bytes, encoding: Encoding, length: int, element: str) -> bytes:
    count = -(-length // CHUNK)
    require(len(stored) >= 4 * count, "its table of chunks is cut off")
    lengths = np.frombuffer(stored, "<u4", count).tolist()
    at, parts = 4 * count, []
    for number, stored_length in enumerate(lengths):
        whole = min(CHUNK, length - number * CHUNK)
        require(0 < stored_length <= whole and at + stored_length <= len(stored),
                "a chunk has an impossible length")  # fmt: skip
        part = stored[at : at + stored_length]
        at += stored_length
        if stored_length < whole:
            try:
                part = lz4.block.decompress(part, uncompressed_size=whole)
            except lz4.block.LZ4BlockError:
                part = b""
            require(len(part) == whole, "it cannot be decompressed")
        parts.append(_unfilter(part, encoding, element))
    require(at == len(stored), "there is something after its last chunk")
    return b"".join(parts)


def _unfilter(part: bytes, encoding: Encoding, element: str) -> bytes:
    if encoding.filter == 0:
        return part
    size = SIZES[element]
    data = np.frombuffer(part, np.uint8)
    if encoding.filter == 1:
        count = data.size // size
        body = data[: count * size].reshape(size, count).T
        return body.tobytes() + data[count * size :].tobytes()
    count = data.size // size // 8 * 8
    # Plane p has bit p of every element: rows of bits, then columns into bytes.
    planes = np.unpackbits(data[: count * size].reshape(8 * size, -1), axis=1, bitorder="little")
    body = np.packbits(planes.T, axis=1, bitorder="little")
    result = np.concatenate([body.ravel(), data[count * size :]])
    if encoding.offset:
        field = _FIELDS[element]
        step = field & -field
        whole = result[: result.size // size * size].view("<u4" if size == 4 else "<u2")
        raised = (whole.astype(np.uint32) + np.uint32(encoding.offset * step)) & field
        whole[:] = (whole & (~field & (1 << 8 * size) - 1)) | raised.astype(whole.dtype)
    return result.tobytes()


def widen(raw: bytes, element: str) -> np.ndarray:
    """Elements as float32."""
    if element == "f32":
        return np.frombuffer(raw, "<f4")
    if element == "bf16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f2").astype(np.float32)
