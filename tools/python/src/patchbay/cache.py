"""A cache as Python sees it: prompts, each a mapping from hook names to arrays."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from patchbay import encoding
from patchbay.crc32c import crc32c
from patchbay.errors import CacheError, require
from patchbay.recipes import derive
from patchbay.segment import Segment, read_plain

_COSTS = 4096


def open(directory: Union[str, Path], check: bool = True) -> "Cache":
    """Opens a cache. `check` is whether every array is checked each time it is read."""
    return Cache(directory, check)


class Cache(Sequence):
    """The prompts that are in a cache, in its order.

    `plan` and `manifest` are the files of these names; `hooks` gives the shape of every hook, as
    the plan has it. Raises CacheError for whatever is damaged, missing or not understood.
    """

    def __init__(self, directory: Union[str, Path], check: bool = True):
        self.directory, self.check = Path(directory), check
        self.manifest = self._read_manifest()
        self.plan = json.loads(self._frozen("plan.json", 16 << 20, self.manifest["plan"]))
        version = self.manifest["format"]
        require(self.plan["formatVersion"] == version, "plan.json has another format")
        names = [hook["name"] for hook in self.plan["hooks"]]
        self.hooks = {hook["name"]: hook["shape"] for hook in self.plan["hooks"]}
        require(len(self.hooks) == len(names) <= 1 << 16, "two hooks have one name")
        self._places = {name: place for place, name in enumerate(names)}
        self._check_recipes()
        listed = self.manifest["segments"]
        self._firsts = [0]
        for number, segment in enumerate(listed):
            require(segment["name"] == f"segment-{number:06d}.pbs" and segment["prompts"] > 0,
                    "the manifest's segments are impossible")  # fmt: skip
            self._firsts.append(self._firsts[-1] + segment["prompts"])
        require(self._firsts[-1] == self.manifest["prompts"] <= self.plan["promptCount"],
                "the manifest's segments do not add up")  # fmt: skip
        self._segments: list[Optional[Segment]] = [None] * len(listed)
        self._texts: dict[str, list[dict]] = {}

    def _read_manifest(self) -> dict:
        path = self.directory / "manifest"
        require(path.exists(), f"{self.directory} is not a cache: it has no file named manifest")
        data = read_plain(path, 64 << 20)
        line = b"crc32c %08x\n" % crc32c(data[:-16])
        require(data[-16:] == line, f"{path} is damaged: its checksum fails")
        manifest = json.loads(data[:-16])
        require(1 <= manifest["format"] <= 2,
                f"{path} was written by format {manifest['format']}, this reads up to 2")  # fmt: skip
        return manifest

    def _frozen(self, name: str, limit: int, digest: str) -> bytes:
        data = read_plain(self.directory / name, limit)
        require(hashlib.sha256(data).hexdigest() == digest,
                f"{self.directory / name} is not the file that the cache was made with")  # fmt: skip
        return data

    def _check_recipes(self) -> None:
        """Sources come before what is derived from them, and no array takes endless work."""
        costs: dict[str, int] = {}
        for hook in self.plan["hooks"]:
            recipe = hook.get("recipe")
            cost = 1
            if recipe:
                require(self.plan["formatVersion"] > 1 and len(recipe["of"]) > 0,
                        f"{hook['name']} cannot be derived")  # fmt: skip
                for source in recipe["of"]:
                    require(source in costs, f"{hook['name']} is derived from what is not there")
                    cost += costs[source]
            require(cost <= _COSTS, f"the recipe of {hook['name']} takes too many steps")
            costs[hook["name"]] = cost

    @property
    def complete(self) -> bool:
        """Whether every prompt of the plan is there."""
        return self.manifest["complete"]

    @property
    def prompts(self) -> list[dict]:
        """`text`, `tokens` and `pieces` of every prompt of the plan, captured or not."""
        return self._lines("prompts", "promptsDigest")

    @property
    def pairs(self) -> list[dict]:
        """The rows of the prompt file, as pairs.jsonl has them."""
        return self._lines("pairs", "pairsDigest")

    def _lines(self, name: str, digest: str) -> list[dict]:
        if name not in self._texts:
            data = self._frozen(name + ".jsonl", 1 << 30, self.plan[digest])
            self._texts[name] = [json.loads(line) for line in data.splitlines()]
        return self._texts[name]

    def __len__(self) -> int:
        return self.manifest["prompts"]

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(
                f"{self.directory} has no prompt {index}: {len(self)} of "
                f"{self.plan['promptCount']} are there"
            )
        return CachedPrompt(self, number)

    def hook(self, name: Any) -> "HookArrays":
        """The arrays of one hook, of all prompts, read as they are asked for."""
        return HookArrays(self, self._name(name))

    def to_activation_cache(self, prompts: Sequence[int], model: Any = None):
        """TransformerLens's ActivationCache of prompts of equal length, in this order."""
        try:
            import torch
            from transformer_lens import ActivationCache
        except ImportError as error:
            raise ImportError("to_activation_cache needs transformer-lens and torch") from error
        chosen = [self[prompt] for prompt in prompts]
        if len({len(prompt.tokens) for prompt in chosen}) > 1:
            raise ValueError("the prompts have different numbers of tokens")
        arrays = {
            name: torch.from_numpy(np.stack([prompt[name] for prompt in chosen]))
            for name in self.hooks
        }
        return ActivationCache(arrays, model)

    def _name(self, name: Any) -> str:
        """A full name for it, or for what TransformerLens takes: ("resid_pre", 5)."""
        if isinstance(name, tuple):
            kind, layer = name[0], name[1] if len(name) > 1 else None
            if isinstance(layer, int) and layer < 0:
                layer += self.plan["model"]["layers"]
            kind = {"attn": "pattern", "attn_logits": "attn_scores", "key": "k", "query": "q",
                    "value": "v", "mlp_pre": "pre", "mlp_post": "post"}.get(kind, kind)  # fmt: skip
            ln = name[2] + "." if len(name) > 2 and name[2] else ""
            stem = "" if layer is None else f"blocks.{layer}."
            found = [
                full for module in ("", ln, "attn.", "mlp.", "ln_final.")
                if (full := f"{stem}{module}hook_{kind}") in self._places
            ]  # fmt: skip
            name = found[0] if found else f"{stem}hook_{kind}"
        if name not in self._places:
            raise KeyError(f"{self.directory} has no array named {name}")
        return name

    def _segment(self, prompt: int) -> Segment:
        number = bisect_right(self._firsts, prompt) - 1
        segment = self._segments[number]
        if segment is None:
            listed = self.manifest["segments"][number]
            key = bytes.fromhex(self.manifest["plan"])
            segment = Segment(self.directory / listed["name"], number, self._firsts[number],
                              listed, self.plan, key)  # fmt: skip
            self._segments[number] = segment
        return segment

    def _array(self, name: str, prompt: int, sums: dict) -> np.ndarray:
        segment = self._segment(prompt)
        place, row = self._places[name], prompt - segment.first
        entry = segment.entries[place, row]
        shape = [int(segment.tokens[row]) if d == "T" else d for d in self.hooks[name]]
        if entry["offset"]:
            block = segment.block(place, row, self.check)
            element = self.plan["elementType"]
            try:
                raw = encoding.decode(
                    block.stored, block.encoding, block.raw, int(segment.tokens[row]), element
                )
            except CacheError as error:
                raise CacheError(
                    f"{segment.path} is damaged at prompt {prompt}, {name}: {error}"
                ) from error
            return encoding.widen(raw, element).reshape(shape)
        if name in sums:
            return sums[name]
        recipe = self.plan["hooks"][place]["recipe"]
        try:
            array = derive(recipe, lambda source: self._array(source, prompt, sums))
        except (KeyError, ValueError, IndexError) as error:
            raise CacheError(f"the recipe of {name} is impossible: {error}") from error
        require(list(array.shape) == shape, f"the recipe of {name} gives another shape")
        array = np.ascontiguousarray(array, np.float32)
        require(not self.check or crc32c(array.data) == entry["crc"],
                f"{segment.path} is damaged at prompt {prompt}, {name}: "
                "what is derived is not what was captured")  # fmt: skip
        if recipe["op"] == "sum":
            array.setflags(write=False)
            sums[name] = array
        return array


class CachedPrompt(Mapping):
    """One prompt: its tokens, and its arrays by hook name, float32, without the batch axis."""

    def __init__(self, cache: Cache, number: int):
        self.cache, self.number = cache, number
        # The residual streams of this prompt, so that reading all layers adds each term once.
        self._sums: dict[str, np.ndarray] = {}

    @property
    def tokens(self) -> list[int]:
        return self.cache.prompts[self.number]["tokens"]

    @property
    def text(self) -> str:
        return self.cache.prompts[self.number]["text"]

    def __getitem__(self, name: Any) -> np.ndarray:
        array = self.cache._array(self.cache._name(name), self.number, self._sums)
        return array if array.flags.writeable else array.copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.cache.hooks)

    def __len__(self) -> int:
        return len(self.cache.hooks)

    def to_activation_cache(self, model: Any = None):
        """TransformerLens's ActivationCache of this prompt, with a batch axis of 1."""
        return self.cache.to_activation_cache([self.number], model)


class HookArrays(Sequence):
    """One hook of all prompts; each array is read when it is asked for."""

    def __init__(self, cache: Cache, name: str):
        self.cache, self.name = cache, name

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self.cache[index][self.name]

    def stack(self) -> np.ndarray:
        """All arrays as one, [prompts, …]; they must have equal lengths."""
        return np.stack(list(self))
