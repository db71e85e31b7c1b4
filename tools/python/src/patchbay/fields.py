"""JSON that is checked key by key, so that a wrong type is an error and not a wrong number."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Dict, List, Optional, Tuple

from .errors import CacheError

_HEXADECIMAL = re.compile(r"[0-9a-f]*")


class Fields:
    """A JSON object. Every getter raises CacheError where the key is absent or its value unfit."""

    def __init__(self, value: Any, where: str):
        if not isinstance(value, dict):
            raise CacheError(f"{where}: is not a JSON object")
        self.value: Dict[str, Any] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def wrong(self, key: str, why: str) -> CacheError:
        """The error that `key` has an unfit value."""
        return CacheError(f"{self.where}: '{key}' {why}")

    def _get(self, key: str) -> Any:
        if key not in self.value:
            raise self.wrong(key, "is missing")
        return self.value[key]

    def integer(self, key: str, most: int, least: int = 0) -> int:
        """An integer from `least` to `most`."""
        value = self._get(key)
        if not is_integer(value, most, least):
            raise self.wrong(key, f"is not an integer from {least} to {most}")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, "is not a number")
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.wrong(key, "is not finite")
        return value

    def boolean(self, key: str) -> bool:
        """`true` or `false`."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "is neither true nor false")
        return value

    def text(self, key: str) -> str:
        """Any string."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "is not a text")
        return value

    def one_of(self, key: str, *choices: str) -> str:
        """One of a few strings."""
        value = self.text(key)
        if value not in choices:
            raise self.wrong(key, f"is none of {', '.join(choices)}")
        return value

    def digest(self, key: str, digits: int = 64) -> str:
        """Lower-case hexadecimal digits, exactly as many."""
        value = self.text(key)
        if len(value) != digits or not _HEXADECIMAL.fullmatch(value):
            raise self.wrong(key, f"is not {digits} lower-case hexadecimal digits")
        return value

    def list(self, key: str) -> List[Any]:
        """A JSON array."""
        value = self._get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "is not a list")
        return value

    def integers(self, key: str, most: int) -> List[int]:
        """A list of integers from 0 to `most`."""
        values = self.list(key)
        if not all(is_integer(value, most) for value in values):
            raise self.wrong(key, f"is not a list of integers from 0 to {most}")
        return values

    def texts(self, key: str) -> List[str]:
        """A list of strings."""
        values = self.list(key)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "is not a list of texts")
        return values

    def object(self, key: str) -> "Fields":
        """A JSON object."""
        return Fields(self._get(key), f"{self.where}: '{key}'")

    def optional_integer(self, key: str, most: int) -> Optional[int]:
        """An integer from 0 to `most`, or None where the key is absent."""
        return self.integer(key, most) if key in self else None


def is_integer(value: Any, most: int, least: int = 0) -> bool:
    """Whether a JSON value is an integer in a range. In Python `True` is one, in JSON it is not."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def parse(text: bytes, where: str) -> Fields:
    """The JSON object that `text` is; CacheError for anything else, a key given twice included."""

    def once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    def never(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{where}: is not sound JSON: {error}") from error
    return Fields(value, where)
