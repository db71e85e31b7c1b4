"""TransformerLens's short names of hooks, as its `get_act_name` understands them."""

from __future__ import annotations

import difflib
import re
from typing import Iterable, Mapping, Optional, Tuple, Union

Key = Union[str, Tuple[object, ...]]
"""A hook's name, or a short name with a layer and a layer type: `("normalized", 3, "ln2")`."""

_OUTSIDE = ("embed", "pos_embed", "unembed")
_ATTENTION = ("q", "k", "v", "z", "attn_scores", "pattern", "result")
_MLP = ("pre", "post")
_LAYER_NORM = ("scale", "normalized")
_ALIASES = {
    "query": "q",
    "key": "k",
    "value": "v",
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "mlp_pre": "pre",
    "mlp_post": "post",
    "logits": "unembed",
}
_RUN_TOGETHER = re.compile(r"([a-z_]+?)(-?\d+)(ln1|ln2)?")
_SPLIT_INPUT = re.compile(r"(blocks\.\d+)\.attn\.(hook_[qkv]_input)")


def full_name(short: str, layer: Optional[int] = None, kind: Optional[str] = None) -> str:
    """The full name of a short one; it need not be a hook of any cache."""
    short = _ALIASES.get(short, short)
    if layer is None:
        if short in _LAYER_NORM:
            return f"ln_final.hook_{short}"
        return f"hook_{short}" if short in _OUTSIDE else short
    if short in _ATTENTION:
        kind = "attn"
    elif short in _MLP:
        kind = "mlp"
    return ".".join(part for part in (f"blocks.{layer}", kind, f"hook_{short}") if part)


def resolve(key: Key, hooks: Mapping[str, object], layers: int) -> str:
    """The name of the hook that `key` means; KeyError if the cache has none such.

    Layers below 0 count from the last.
    """
    if isinstance(key, str):
        if key in hooks:
            return key
        match = _RUN_TOGETHER.fullmatch(key)
        parts: Tuple[object, ...] = (match[1], int(match[2]), match[3]) if match else (key,)
    else:
        parts = key if isinstance(key, tuple) else (key,)
    short, layer, kind = (*parts, None, None, None)[:3]
    fits = isinstance(short, str) and len(parts) <= 3
    if layer is not None:
        fits = fits and hasattr(layer, "__index__") and not isinstance(layer, bool)
    if not fits or not (kind is None or isinstance(kind, str)):
        raise KeyError(f"{key!r} is neither a name nor a short name, a layer and a layer type")
    number = None
    if layer is not None:
        number = layer.__index__()  # type: ignore[attr-defined]
        if not -layers <= number < layers:
            raise KeyError(f"{key!r} names a layer of a model that has {layers}")
        number %= layers
    name = full_name(str(short), number, kind)
    split = _SPLIT_INPUT.fullmatch(name)
    if split:
        name = f"{split[1]}.{split[2]}"
    if name not in hooks:
        raise KeyError(f"no hook {name!r} is in this cache{_nearest(name, hooks)}")
    return name


def _nearest(name: str, hooks: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(hooks), 3, 0.5)
    return f"; nearest: {', '.join(found)}" if found else ""
