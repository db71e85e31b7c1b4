"""plan.json: what is captured, and the hook table."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import limits, recipes
from .errors import CacheError
from .fields import Fields, is_integer, parse
from .files import read_whole
from .recipes import Recipe, Shape

FILE = "plan.json"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_SIZES = "layers heads width headWidth mlpWidth vocabulary contextLength".split()
ELEMENT_SIZES = {"f32": 4, "f16": 2, "bf16": 2}
"""Bytes of an element by the name of its type."""


@dataclass(frozen=True)
class Hook:
    """A row of the hook table."""

    number: int
    name: str
    shape: Shape
    recipe: Optional[Recipe]

    def shape_for(self, tokens: int) -> Tuple[int, ...]:
        """The shape for a prompt of so many tokens; CacheError beyond the limits of an array."""
        shape = tuple(tokens if size == "T" else int(size) for size in self.shape)
        # Zeros must not hide what the other dimensions are.
        if 4 * math.prod(max(size, 1) for size in shape) > limits.ARRAY_BYTES:
            raise CacheError(f"hook {self.name}: an array of {tokens} tokens is above 2 GiB")
        return shape

    @property
    def ends_in_squares(self) -> bool:
        """Whether arrays end in matrices of tokens by tokens, which may be packed as triangles."""
        return self.shape[-2:] == ("T", "T")

    @property
    def has_rows(self) -> bool:
        """Whether arrays have a row of fixed length for each token, which prompts may share."""
        return self.shape[:1] == ("T",) and "T" not in self.shape[1:]


@dataclass(frozen=True)
class Plan:
    """The checked content of plan.json; `raw` has all of it."""

    raw: Dict[str, Any]
    digest: bytes
    version: int
    element_type: str
    hooks: Dict[str, Hook]
    prompt_count: int
    pair_count: int
    prompts_digest: str
    pairs_digest: str

    @property
    def element_size(self) -> int:
        """Bytes of a stored element."""
        return ELEMENT_SIZES[self.element_type]

    @property
    def layers(self) -> int:
        """Blocks of the model."""
        return self.raw["model"]["layers"]


def load(directory: Path, digest: str, version: int) -> Plan:
    """The plan of a cache whose manifest gives this SHA-256 and format version."""
    text = read_whole(directory, FILE, limits.PLAN_BYTES)
    where = str(directory / FILE)
    found = hashlib.sha256(text)
    if found.hexdigest() != digest:
        raise CacheError(f"{where}: is damaged: its SHA-256 is not the manifest's")
    fields = parse(text, where)
    if fields.integer("formatVersion", limits.U32) != version:
        raise fields.wrong("formatVersion", f"is not the manifest's {version}")
    _check_what_is_not_used(fields, version)
    element_type = fields.one_of("elementType", *ELEMENT_SIZES)
    return Plan(
        raw=fields.value,
        digest=found.digest(),
        version=version,
        element_type=element_type,
        hooks=_hooks(fields, version),
        prompt_count=fields.integer("promptCount", limits.PROMPTS),
        pair_count=fields.integer("pairCount", limits.PROMPTS),
        prompts_digest=fields.digest("promptsDigest"),
        pairs_digest=fields.digest("pairsDigest"),
    )


def _check_what_is_not_used(fields: Fields, version: int) -> None:
    for key in ("tool", "kernel", "promptFileName", "weights"):
        fields.text(key)
    fields.boolean("prependBOS")
    fields.digest("promptFileDigest")
    if version == 1:
        fields.one_of("store", "full")
    else:
        fields.one_of("store", "compact", "full")
        fields.one_of("proofs", "sample", "all")
    fields.integer("segmentBytes", limits.TOTAL, 1)
    if "patched" in fields:
        patched = fields.object("patched")
        patched.text("what")
        patched.digest("plan")
    model = fields.object("model")
    model.text("name")
    for key in ("weightsDigest", "tokenizerDigest"):
        model.digest(key)
    for key in _SIZES:
        model.integer(key, limits.PROMPTS)


def _hooks(fields: Fields, version: int) -> Dict[str, Hook]:
    rows = fields.list("hooks")
    if len(rows) > limits.HOOKS:
        raise fields.wrong("hooks", f"has more than {limits.HOOKS} rows")
    hooks: Dict[str, Hook] = {}
    shapes: Dict[str, Shape] = {}
    steps: Dict[str, int] = {}
    for number, value in enumerate(rows):
        row = Fields(value, f"{fields.where}: hook {number}")
        name = row.text("name")
        if not _NAME.fullmatch(name):
            raise row.wrong("name", "is not 1 to 200 of A-Z a-z 0-9 . _ -, not begun with a dot")
        if name in hooks:
            raise row.wrong("name", f"{name} stands in the table twice")
        row.where += f" ({name})"
        shape = _shape(row)
        recipe = None
        if "recipe" in row:
            if version == 1:
                raise row.wrong("recipe", "is not part of format version 1")
            recipe = recipes.parse(row.object("recipe"), shape, shapes)
        # A read of a stored array is one step, so is an operation.
        steps[name] = 1 + sum(steps[source] for source in recipe.of) if recipe else 1
        if steps[name] > limits.RECIPE_STEPS:
            raise row.wrong("recipe", f"takes more than {limits.RECIPE_STEPS} steps")
        shapes[name] = shape
        hooks[name] = Hook(number, name, shape, recipe)
    return hooks


def _shape(row: Fields) -> Shape:
    shape: List[Any] = row.list("shape")
    if len(shape) > limits.DIMENSIONS:
        raise row.wrong("shape", f"has more than {limits.DIMENSIONS} dimensions")
    if not all(size == "T" or is_integer(size, limits.TOTAL) for size in shape):
        raise row.wrong("shape", 'has a dimension that is neither a number nor "T"')
    return tuple(shape)
