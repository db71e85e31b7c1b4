"""Recipes: what a derived hook is computed from, and whether the shapes fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple, Union

import numpy as np

from . import arithmetic
from .errors import CacheError
from .fields import Fields
from .limits import SCORE_WIDTH, TOTAL

Dimension = Union[int, str]
"""A number, or "T", the number of tokens of the prompt."""

Shape = Tuple[Dimension, ...]


@dataclass(frozen=True)
class Recipe:
    """An operation over other hooks of the same prompt."""

    op: str
    of: Tuple[str, ...]
    constants: Tuple[float, ...] = ()
    """`epsilon`, `divisor` or `heads`, where the operation has it."""

    def evaluate(self, sources: List[np.ndarray]) -> np.ndarray:
        """The derived array, float32, from the arrays of `of`, float32 and in this order."""
        with np.errstate(all="ignore"):
            return _OPERATIONS[self.op](*sources, *self.constants)


_OPERATIONS: Dict[str, Callable[..., np.ndarray]] = {
    "sum": arithmetic.sum_in_order,
    "gelu_new": arithmetic.gelu_new,
    "layernorm_scale": arithmetic.layernorm_scale,
    "layernorm": arithmetic.layernorm,
    "attention_scores": arithmetic.attention_scores,
    "causal_softmax": arithmetic.causal_softmax,
    "attention_mix": arithmetic.attention_mix,
    "repeat_heads": arithmetic.repeat_heads,
}

_LARGEST = float(np.finfo(np.float32).max)
_SOURCES = {"attention_scores": 2, "attention_mix": 2}
_CONSTANTS = {
    "layernorm_scale": ("epsilon",),
    "layernorm": ("epsilon",),
    "attention_scores": ("divisor",),
    "repeat_heads": ("heads",),
}


def parse(fields: Fields, shape: Shape, earlier: Dict[str, Shape]) -> Recipe:
    """A recipe of the plan for a hook of `shape`; `earlier` are the hooks that stand before it."""
    op = fields.one_of("op", *_OPERATIONS)
    names = fields.texts("of")
    for name in names:
        if name not in earlier:
            raise fields.wrong("of", f"names {name!r}, which is no hook earlier in the table")
    if not names or op != "sum" and len(names) != _SOURCES.get(op, 1):
        raise fields.wrong("of", f"has {len(names)} hooks, which {op} does not take")
    constants: List[float] = []
    for key in _CONSTANTS.get(op, ()):
        if key == "heads":
            constants.append(fields.integer(key, TOTAL, 1))
        else:
            constants.append(_float32(fields, key))
    try:
        result = _result(op, [earlier[name] for name in names], constants)
    except ValueError:
        raise fields.wrong("of", f"has shapes that {op} does not take") from None
    if result != shape:
        raise CacheError(f"{fields.where}: {op} gives {list(result)}, not {list(shape)}")
    if op == "attention_scores" and int(earlier[names[0]][2]) > SCORE_WIDTH:
        raise fields.wrong("of", f"has heads wider than {SCORE_WIDTH}")
    return Recipe(op, tuple(names), tuple(constants))


def _float32(fields: Fields, key: str) -> float:
    number = fields.number(key)
    if abs(number) > _LARGEST:
        raise fields.wrong(key, "is no float32")
    return number


def _result(op: str, of: List[Shape], constants: List[float]) -> Shape:
    """The shape of the result; ValueError where the operation does not take the sources' shapes."""
    if op == "gelu_new":
        return of[0]
    if op == "sum":
        if any(shape != of[0] for shape in of):
            raise ValueError
        return of[0]
    if op in ("layernorm", "layernorm_scale", "repeat_heads"):
        tokens, width = of[0]
        _require(tokens == "T", width)
        if op == "layernorm":
            return of[0]
        return ("T", 1) if op == "layernorm_scale" else ("T", int(constants[0]), width)
    if op == "attention_scores":
        tokens, heads, width = of[0]
        _require(tokens == "T" and of[1] == of[0], heads, width)
        return (heads, "T", "T")
    heads, *square = of[0]
    _require(square == ["T", "T"], heads)
    if op == "causal_softmax":
        return of[0]
    tokens, same, width = of[1]
    _require(tokens == "T" and same == heads, width)
    return of[1]


def _require(condition: bool, *numbers: Dimension) -> None:
    """The sizes D, H and K are numbers in every shape that an operation takes."""
    if not condition or "T" in numbers:
        raise ValueError
