"""Reading arrays: stored ones from their segments, derived ones by their recipes."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Dict, Iterator, Tuple

import numpy as np

from .crc32c import crc32c
from .errors import CacheError
from .manifest import Manifest
from .plan import Hook, Plan
from .segment import Segment

_OPEN_SEGMENTS = 32


class ArrayReader:
    """Gives arrays by the hook's name and the prompt's number, which must be in the cache.

    Arrays are float32 and checked, unless `check` is false. They may be read from several threads.
    """

    def __init__(self, directory: Path, manifest: Manifest, plan: Plan, check: bool):
        self._directory = directory
        self._entries = manifest.segments
        self._first_prompts = [entry.first_prompt for entry in manifest.segments]
        self._hooks = plan.hooks
        self._plan = plan
        self._check = check
        self._open: "OrderedDict[int, Segment]" = OrderedDict()
        self._lock = Lock()
        self._last_use = {
            source: hook.number
            for hook in plan.hooks.values()
            if hook.recipe is not None
            for source in hook.recipe.of
        }

    def segment_of(self, prompt: int) -> Segment:
        """The segment that has a prompt; CacheError where it is damaged."""
        number = bisect_right(self._first_prompts, prompt) - 1
        with self._lock:
            segment = self._open.get(number)
            if segment is None:
                segment = Segment(self._directory, self._entries[number], self._plan)
                self._open[number] = segment
                if len(self._open) > _OPEN_SEGMENTS:
                    self._open.popitem(last=False)
            self._open.move_to_end(number)
        return segment

    def read(self, name: str, prompt: int, known: Dict[str, np.ndarray]) -> np.ndarray:
        """An array. What it was derived from is put into `known` with it, and taken from there."""
        segment = self.segment_of(prompt)
        needed: Dict[int, Hook] = {}
        waiting = [name]
        while waiting:
            hook = self._hooks[waiting.pop()]
            if hook.name not in known and hook.number not in needed:
                needed[hook.number] = hook
                if hook.recipe is not None and segment.derived_crc(hook, prompt) is not None:
                    waiting += hook.recipe.of
        # Sources stand earlier in the table.
        for number in sorted(needed):
            hook = needed[number]
            try:
                known[hook.name] = self._array(segment, hook, prompt, known)
            except CacheError as error:
                raise CacheError(
                    f"{segment.path}: prompt {prompt}, hook {hook.name}: {error}"
                ) from error
        return known[name]

    def _array(
        self, segment: Segment, hook: Hook, prompt: int, known: Dict[str, np.ndarray]
    ) -> np.ndarray:
        crc = segment.derived_crc(hook, prompt)
        if crc is None or hook.recipe is None:
            return segment.read(hook, prompt, self._check)
        hook.shape_for(segment.tokens_of(prompt))
        array = hook.recipe.evaluate([known[source] for source in hook.recipe.of])
        if self._check and crc32c(array) != crc:
            raise CacheError("what is derived from sound arrays is not what was captured")
        return array

    def read_all(self, prompt: int) -> Iterator[Tuple[str, np.ndarray]]:
        """Every hook's name and array, in the order of the plan, each read or derived once."""
        known: Dict[str, np.ndarray] = {}
        for name, hook in self._hooks.items():
            array = self.read(name, prompt, known)
            # What others are derived from later must not be what the caller may change.
            kept = self._last_use.get(name, -1) > hook.number
            yield name, array.copy() if kept else array
            for old in [one for one in known if self._last_use.get(one, -1) <= hook.number]:
                del known[old]
