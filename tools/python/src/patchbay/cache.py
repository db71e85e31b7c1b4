"""Caches, their prompts, and one hook of all prompts."""

from __future__ import annotations

import os
from collections.abc import ItemsView, Mapping, Sequence, ValuesView
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, overload

import numpy as np

from . import manifest as manifests
from . import plan as plans
from . import prompts as texts
from .arrays import ArrayReader
from .errors import CacheError
from .names import Key, resolve
from .plan import Hook
from .transformerlens import activation_cache


class Cache(Sequence):
    """A cache on disk: a sequence of the prompts that are in it.

    What it opened stays as it is while a capture goes on; open it again to see more prompts.
    """

    def __init__(self, path: "os.PathLike[str] | str", check: bool = True):
        """Reads manifest and plan. `check=False` leaves the checksums of arrays out.

        Raises CacheError where they are absent, damaged or of a newer format.
        """
        self.path = Path(path)
        self._manifest = manifests.load(self.path)
        self._plan = plans.load(self.path, self._manifest.plan_digest, self._manifest.version)
        self._check_counts()
        self._arrays = ArrayReader(self.path, self._manifest, self._plan, check)

    def _check_counts(self) -> None:
        where = self.path / manifests.FILE
        there, planned = self._manifest.prompts, self._plan.prompt_count
        if there > planned or self._manifest.complete and there != planned:
            raise CacheError(f"{where}: has {there} prompts of a plan of {planned}")
        if self._manifest.hook_rows != len(self._plan.hooks):
            raise CacheError(f"{where}: has not the hooks of the plan")

    @property
    def complete(self) -> bool:
        """Whether every prompt of the plan is there."""
        return self._manifest.complete

    @property
    def plan(self) -> Dict[str, Any]:
        """plan.json: the model, how its weights were processed, what was `patched`, and the rest."""
        return self._plan.raw

    @property
    def hooks(self) -> Dict[str, Hook]:
        """The hooks by name, in the order of the plan."""
        return dict(self._plan.hooks)

    @cached_property
    def prompts(self) -> List[texts.PromptLine]:
        """Text and tokens of all prompts of the plan, captured or not."""
        return texts.load_prompts(self.path, self._plan)

    @cached_property
    def pairs(self) -> List[texts.Pair]:
        """The rows of the prompt file."""
        return texts.load_pairs(self.path, self._plan)

    def __repr__(self) -> str:
        planned = self._plan.prompt_count
        return f"<patchbay.Cache {self.path}: {len(self)} of {planned} prompts>"

    def __len__(self) -> int:
        """How many prompts are in the cache."""
        return self._manifest.prompts

    @overload
    def __getitem__(self, number: int) -> "Prompt": ...

    @overload
    def __getitem__(self, number: slice) -> "List[Prompt]": ...

    def __getitem__(self, number: Any) -> Any:
        """A prompt, or a list of them for a slice; IndexError for one that is not there."""
        if isinstance(number, slice):
            return [Prompt(self, one) for one in range(len(self))[number]]
        return Prompt(self, self._place(number))

    def _place(self, number: int) -> int:
        try:
            return range(len(self))[number]
        except IndexError:
            planned = self._plan.prompt_count
            raise IndexError(
                f"{self.path}: prompt {number} is not there; {len(self)} of {planned} are"
            ) from None

    def hook(self, *key: object) -> "HookArrays":
        """One hook of all prompts, by its name or by short name, layer and layer type."""
        return HookArrays(self, self._resolve(key[0] if len(key) == 1 else key))  # type: ignore

    def to_activation_cache(self, numbers: Iterable[int], model: Any = None) -> Any:
        """TransformerLens's ActivationCache of some prompts of equal length, with a batch axis."""
        rows = [self[number].arrays() for number in numbers]
        if not rows:
            raise ValueError("an ActivationCache needs a prompt")
        arrays = {name: _stack(name, [row[name] for row in rows]) for name in rows[0]}
        return activation_cache(arrays, model, has_batch=True)

    def _resolve(self, key: Key) -> str:
        return resolve(key, self._plan.hooks, self._plan.layers)


class Prompt(Mapping):
    """The arrays of one prompt by hook, read when they are asked for.

    Each is float32, with TransformerLens's shape without the batch axis, and may be changed.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, cache: Cache, number: int):
        self._cache = cache
        self.number = number

    @property
    def _line(self) -> texts.PromptLine:
        line = self._cache.prompts[self.number]
        if len(line.tokens) != self._cache._arrays.segment_of(self.number).tokens_of(self.number):
            raise CacheError(
                f"{self._cache.path}: prompt {self.number} has {len(line.tokens)} tokens,"
                " which is not what its segment says"
            )
        return line

    @property
    def text(self) -> str:
        """The prompt."""
        return self._line.text

    @property
    def tokens(self) -> List[int]:
        """Its token ids, with the one put before the text if there is one."""
        return self._line.tokens

    @property
    def pieces(self) -> List[str]:
        """The text of each token."""
        return self._line.pieces

    def __repr__(self) -> str:
        return f"<patchbay.Prompt {self.number} of {self._cache.path}>"

    def __len__(self) -> int:
        return len(self._cache._plan.hooks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cache._plan.hooks)

    def __contains__(self, key: object) -> bool:
        try:
            self._cache._resolve(key)  # type: ignore[arg-type]
        except (KeyError, TypeError):
            return False
        return True

    def __getitem__(self, key: Key) -> np.ndarray:
        """An array by its hook's name or by short name, layer and layer type.

        KeyError for a hook that is not there, CacheError for an array that is damaged.
        """
        return self._cache._arrays.read(self._cache._resolve(key), self.number, {})

    def items(self) -> "ItemsView[str, np.ndarray]":
        """All names and arrays; one after the other, they are derived a single time."""
        return _Items(self)

    def values(self) -> "ValuesView[np.ndarray]":
        """All arrays, as `items` gives them."""
        return _Values(self)

    def arrays(self, keys: Optional[Iterable[Key]] = None) -> Dict[str, np.ndarray]:
        """Several arrays by their full names, all by default, derived a single time."""
        if keys is None:
            return dict(self.items())
        known: Dict[str, np.ndarray] = {}
        names = [self._cache._resolve(key) for key in keys]
        return {name: self._cache._arrays.read(name, self.number, known) for name in names}

    def to_activation_cache(self, model: Any = None) -> Any:
        """TransformerLens's ActivationCache of this prompt, without a batch axis."""
        return activation_cache(self.arrays(), model, has_batch=False)


class _Items(ItemsView):
    def __iter__(self) -> Iterator[Tuple[str, np.ndarray]]:
        prompt: Prompt = self._mapping  # type: ignore[attr-defined]
        return prompt._cache._arrays.read_all(prompt.number)


class _Values(ValuesView):
    def __iter__(self) -> Iterator[np.ndarray]:
        return (array for _, array in self._mapping.items())  # type: ignore[attr-defined]


class HookArrays(Sequence):
    """One hook of all prompts: a sequence of arrays, each read when it is asked for."""

    def __init__(self, cache: Cache, name: str):
        self._cache = cache
        self.name = name

    def __repr__(self) -> str:
        return f"<patchbay.HookArrays {self.name} of {self._cache.path}>"

    def __len__(self) -> int:
        return len(self._cache)

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, number: slice) -> List[np.ndarray]: ...

    def __getitem__(self, number: Any) -> Any:
        """The array of a prompt, or a list of them for a slice."""
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        return self._cache._arrays.read(self.name, self._cache._place(number), {})

    def stack(self) -> np.ndarray:
        """All arrays in one, [prompts, …]; ValueError where prompts have different lengths."""
        return _stack(self.name, list(self))


def _stack(name: str, arrays: List[np.ndarray]) -> np.ndarray:
    if len({array.shape for array in arrays}) != 1:
        lengths = sorted({array.shape for array in arrays})
        raise ValueError(f"{name}: arrays of the shapes {lengths} do not stack")
    return np.stack(arrays)
