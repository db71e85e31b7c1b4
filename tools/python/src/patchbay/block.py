"""The header of a block: whose bytes follow it, and how they are encoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from . import filters
from .crc32c import crc32c
from .errors import CacheError

SIZE = 64
_LAYOUT = struct.Struct("<8s8sIIIIBBBBIIIIIB3sI")
_TRIANGLE, _SHARED_ROWS = 1, 2
_ELEMENT_TYPES = {1: "f32", 2: "f16", 3: "bf16"}


@dataclass(frozen=True)
class Identity:
    """Which array of which cache a block must have."""

    plan: bytes
    segment: int
    hook: int
    prompt: int
    tokens: int
    element_type: str


@dataclass(frozen=True)
class Encoding:
    """How an array became stored bytes."""

    lz4: bool
    filter: int
    triangle: bool
    fill: int
    exponent_offset: int
    base: Optional[int] = None
    """The prompt whose array begins with the rows that are left out, where there are any."""
    shared: int = 0
    """How many they are."""


@dataclass(frozen=True)
class Header:
    """The checked fields of a block's header."""

    identity: Identity
    encoding: Encoding
    raw_length: int
    stored_length: int
    stored_crc: int
    raw_crc: int


def parse(data: bytes, version: int) -> Header:
    """The header in 64 bytes; CacheError where it is damaged or says what the format has not."""
    (
        magic,
        plan,
        segment,
        hook,
        prompt,
        tokens,
        codec,
        kind,
        packing,
        element,
        raw_length,
        stored_length,
        stored_crc,
        raw_crc,
        word,
        offset,
        last,
        crc,
    ) = _LAYOUT.unpack(data)
    if crc32c(data[:60]) != crc:
        raise CacheError("the block header is damaged")
    if magic != b"PBblock\n":
        raise CacheError("there is no block header")
    triangle, shares = packing == _TRIANGLE, packing == _SHARED_ROWS
    if (
        codec > 1
        or kind > (filters.BIT_SHUFFLE if codec else filters.NONE)
        or packing > (0, _TRIANGLE, *[_SHARED_ROWS] * 3)[version - 1]
        or element not in _ELEMENT_TYPES
        or (word and not packing)
        or (triangle and element != 1 and word >> 16)
        or (offset and (kind != filters.BIT_SHUFFLE or element == 2 and offset >= 32))
        or (any(last) and not shares)
        or (offset and version == 1)
    ):
        raise CacheError("the block header has an encoding that the format has not")
    return Header(
        Identity(plan, segment, hook, prompt, tokens, _ELEMENT_TYPES[element]),
        Encoding(
            codec == 1,
            kind,
            triangle,
            word if triangle else 0,
            offset,
            word if shares else None,
            int.from_bytes(last, "little"),
        ),
        raw_length,
        stored_length,
        stored_crc,
        raw_crc,
    )
