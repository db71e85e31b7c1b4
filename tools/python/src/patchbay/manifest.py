"""The manifest: which segments are in the cache."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from . import limits
from .crc32c import crc32c
from .errors import CacheError
from .fields import Fields, parse
from .files import read_whole

FILE = "manifest"
_LINE = re.compile(rb"crc32c ([0-9a-f]{8})\n")


@dataclass(frozen=True)
class SegmentEntry:
    """What the manifest says of a segment."""

    number: int
    size: int
    first_prompt: int
    prompts: int
    tokens: int
    index_crc: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"segment-{self.number:06d}.pbs"


@dataclass(frozen=True)
class Manifest:
    """The checked content of the manifest."""

    version: int
    plan_digest: str
    generation: int
    complete: bool
    prompts: int
    tokens: int
    hook_rows: int
    segments: Tuple[SegmentEntry, ...]


def load(directory: Path) -> Manifest:
    """The manifest of a cache; CacheError if it is none, damaged or of a newer format."""
    where = str(directory / FILE)
    if not os.path.lexists(where):
        raise CacheError(f"{directory}: is not a cache: it has no file '{FILE}'")
    text = read_whole(directory, FILE, limits.MANIFEST_BYTES)
    body = text[:-16]
    line = _LINE.fullmatch(text[-16:])
    if line is None or crc32c(body) != int(line[1], 16):
        raise CacheError(f"{where}: is damaged: its last line is not the CRC-32C of the others")
    fields = parse(body, where)
    version = fields.integer("format", limits.TOTAL, 1)
    if version > max(limits.VERSIONS):
        raise CacheError(
            f"{where}: has format version {version}; this reader knows up to {max(limits.VERSIONS)}"
        )
    segments = _segments(fields)
    manifest = Manifest(
        version=version,
        plan_digest=fields.digest("plan"),
        generation=fields.integer("generation", limits.TOTAL),
        complete=fields.boolean("complete"),
        prompts=fields.integer("prompts", limits.PROMPTS),
        tokens=fields.integer("tokens", limits.TOTAL),
        hook_rows=len(fields.list("hooks")),
        segments=segments,
    )
    for key, total in (
        ("prompts", sum(segment.prompts for segment in segments)),
        ("tokens", sum(segment.tokens for segment in segments)),
    ):
        if getattr(manifest, key) != total:
            raise fields.wrong(key, f"is not {total}, the sum over the segments")
    return manifest


def _segments(fields: Fields) -> Tuple[SegmentEntry, ...]:
    entries = []
    first_prompt = 0
    for number, value in enumerate(fields.list("segments")):
        row = Fields(value, f"{fields.where}: segment {number}")
        entry = SegmentEntry(
            number=number,
            size=row.integer("size", limits.TOTAL),
            first_prompt=first_prompt,
            prompts=row.integer("prompts", limits.PROMPTS, 1),
            tokens=row.integer("tokens", limits.TOTAL),
            index_crc=int(row.digest("index", 8), 16),
        )
        if row.text("name") != entry.name:
            raise row.wrong("name", f"is not {entry.name}")
        first_prompt += entry.prompts
        entries.append(entry)
    return tuple(entries)
