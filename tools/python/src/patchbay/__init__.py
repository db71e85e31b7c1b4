"""Reads Patchbay's activation caches: every hook of every prompt as a numpy array.

>>> cache = patchbay.open("cache/")
>>> cache[0]["blocks.5.hook_resid_pre"].shape
"""

from patchbay.cache import Cache, CachedPrompt, HookArrays, open
from patchbay.errors import CacheError

__all__ = ["Cache", "CacheError", "CachedPrompt", "HookArrays", "open"]
