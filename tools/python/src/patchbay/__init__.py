"""Reads Patchbay's activation caches as numpy arrays, after docs/format.md.

    cache = patchbay.open("cache/")
    cache[0]["blocks.3.hook_resid_pre"]
"""

from __future__ import annotations

import os
import sys

from .cache import Cache, HookArrays, Prompt
from .errors import CacheError
from .plan import Hook
from .prompts import Pair, PromptLine

__all__ = ["Cache", "CacheError", "Hook", "HookArrays", "Pair", "Prompt", "PromptLine", "open"]

if sys.byteorder != "little":
    raise ImportError("patchbay needs a little-endian machine")


def open(path: "os.PathLike[str] | str", check: bool = True) -> Cache:
    """Opens a cache; `check=False` leaves the checksums of its arrays out.

    Raises CacheError where it is absent, damaged, or of a newer format.
    """
    return Cache(path, check)
