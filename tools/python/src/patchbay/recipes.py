"""Derived arrays, computed exactly as docs/format.md says: float32, every operation rounded.

numpy's float32 operations are IEEE 754's, and none is fused, so the results have the bits that the
forward pass had; a NaN may have other payload bits.
"""

from typing import Callable

import numpy as np

_F = np.float32


def derive(recipe: dict, load: Callable[[str], np.ndarray]) -> np.ndarray:
    """The array that a recipe gives; `load` gives the array of a source."""
    of, op = recipe["of"], recipe["op"]
    with np.errstate(all="ignore"):
        if op == "sum":
            total = load(of[0]).copy()
            for name in of[1:]:
                total += load(name)
            return total
        if op == "gelu_new":
            return _gelu(load(of[0]))
        if op == "layernorm_scale":
            return _centre(load(of[0]), recipe["epsilon"])[1]
        if op == "layernorm":
            centred, scale = _centre(load(of[0]), recipe["epsilon"])
            return centred / scale
        if op == "attention_scores":
            return _scores(load(of[0]), load(of[1]), _F(recipe["divisor"]))
        if op == "causal_softmax":
            return _softmax(load(of[0]))
        if op == "attention_mix":
            return _mix(load(of[0]), load(of[1]))
        if op == "repeat_heads":
            x = load(of[0])
            return np.repeat(x[:, None, :], recipe["heads"], axis=1)
    raise KeyError(op)


def _sum16(x: np.ndarray) -> np.ndarray:
    """The sum over the last axis: sixteen partial sums, added in halves."""
    rest = -x.shape[-1] % 16
    if rest:
        x = np.concatenate([x, np.zeros(x.shape[:-1] + (rest,), np.float32)], axis=-1)
    parts = np.zeros(x.shape[:-1] + (16,), np.float32)
    for first in range(0, x.shape[-1], 16):
        parts += x[..., first : first + 16]
    for half in (8, 4, 2, 1):
        parts = parts[..., :half] + parts[..., half : 2 * half]
    return parts[..., 0]


def _exp(x: np.ndarray) -> np.ndarray:
    clamped = np.minimum(np.maximum(x, _F(-87.3)), _F(88.3))
    magic = _F(12582912)
    n = (clamped * _F(1.44269504088896341) + magic) - magic
    r = (clamped - n * _F(0.693359375)) - n * _F(-2.12194440e-4)
    p = np.full_like(x, _F(1.98412698e-4))
    for term in (1.38888889e-3, 8.33333333e-3, 4.16666667e-2, 1.66666667e-1, 0.5, 1, 1):
        p = p * r + _F(term)
    p = np.ldexp(p, np.nan_to_num(n).astype(np.int32))
    p = np.where(x < _F(-87.3), _F(0), np.where(x > _F(88.3), _F(np.inf), p))
    return np.where(np.isnan(x), x, p).astype(np.float32)


def _gelu(x: np.ndarray) -> np.ndarray:
    u = _F(0.797884560802865) * (x + _F(0.044715) * ((x * x) * x))
    return x / (_F(1) + _exp(_F(-2) * u))


def _centre(x: np.ndarray, epsilon: float):
    """x − mean, and LayerNorm's divisor [T, 1]."""
    width = _F(x.shape[-1])
    centred = x - (_sum16(x) / width)[:, None]
    scale = np.sqrt(_sum16(centred * centred) / width + _F(epsilon))
    return centred, scale[:, None]


def _scores(q: np.ndarray, k: np.ndarray, divisor: np.float32) -> np.ndarray:
    length, heads, width = q.shape
    scores = np.zeros((heads, length, length), np.float32)
    for d in range(width):
        scores += q[:, :, d].T[:, :, None] * k[:, :, d].T[:, None, :]
    scores /= divisor
    scores[:, ~np.tri(length, dtype=bool)] = -np.inf
    return scores


def _softmax(scores: np.ndarray) -> np.ndarray:
    seen = np.tri(scores.shape[-1], dtype=bool)
    # fmax: a NaN does not become the maximum; the total finds it.
    top = np.fmax.reduce(np.where(seen, scores, _F(-np.inf)), axis=-1, initial=-np.inf)
    e = np.where(seen, _exp(scores - top[..., None].astype(np.float32)), _F(0))
    total = _sum16(e)[..., None]
    return np.where(np.isnan(total), _F(0), np.where(seen, e / total, _F(0)))


def _mix(pattern: np.ndarray, values: np.ndarray) -> np.ndarray:
    """z [T, H, K] of a pattern [H, T, T] and values [T, H, K]."""
    z = np.zeros(values.shape, np.float32)
    for j in range(values.shape[0]):
        z[j:] += pattern[:, j:, j].T[:, :, None] * values[j]
    return z
