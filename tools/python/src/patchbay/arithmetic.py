"""The operations of recipes, in the exact float32 arithmetic of docs/format.md.

Every product and sum is one numpy operation over float32, so each is rounded and none is fused; the
orders are those of the page. Results are new arrays. T tokens, D width, H heads, K head width.
The caller silences numpy's warnings: overflow and NaNs are part of the arithmetic.
"""

from __future__ import annotations

import numpy as np

_f = np.float32
_POLYNOMIAL = (1.38888889e-3, 8.33333333e-3, 4.16666667e-2, 1.66666667e-1, 0.5, 1.0, 1.0)
# Elements of a working set that stays in the second-level cache.
_BLOCK = 1 << 15


def exp(x: np.ndarray) -> np.ndarray:
    """The page's exp, of float32 of any shape."""
    magic = _f(12582912)
    c = np.clip(x, _f(-87.3), _f(88.3))
    n = c * _f(1.44269504088896341)
    n += magic
    n -= magic
    r = c - n * _f(0.693359375)
    r -= n * _f(-2.12194440e-4)
    p = np.full_like(r, 1.98412698e-4)
    for coefficient in _POLYNOMIAL:
        p *= r
        p += _f(coefficient)
    # 2ⁿ by its bits; n of a NaN is any number, and replaced below.
    p *= ((n.astype(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
    p[x < _f(-87.3)] = 0
    p[x > _f(88.3)] = np.inf
    nan = np.isnan(x)
    p[nan] = x[nan]
    return p


def sum16(rows: np.ndarray) -> np.ndarray:
    """Σ₁₆ over the last axis, which stays with length 1."""
    length = rows.shape[-1]
    partial = np.zeros((*rows.shape[:-1], 16), np.float32)
    for start in range(0, length, 16):
        part = rows[..., start : start + 16]
        partial[..., : part.shape[-1]] += part
    for half in (8, 4, 2, 1):
        partial = partial[..., :half] + partial[..., half : 2 * half]
    return partial


def sum_in_order(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """((x₁ + x₂) + x₃) …, of one shape."""
    total = first.copy()
    for other in others:
        total += other
    return total


def gelu_new(x: np.ndarray) -> np.ndarray:
    """GELU in its tanh form (Hendrycks & Gimpel 2016), of any shape."""
    u = x * x
    u *= x
    u *= _f(0.044715)
    u += x
    u *= _f(0.797884560802865)
    u *= _f(-2)
    u = exp(u)
    u += _f(1)
    return np.divide(x, u, out=u)


def _centred(x: np.ndarray) -> np.ndarray:
    mean = sum16(x)
    mean /= _f(x.shape[-1])
    return x - mean


def _scale(centred: np.ndarray, epsilon: float) -> np.ndarray:
    scale = sum16(centred * centred)
    scale /= _f(centred.shape[-1])
    scale += _f(epsilon)
    return np.sqrt(scale, out=scale)


def layernorm_scale(x: np.ndarray, epsilon: float) -> np.ndarray:
    """[T, 1] of [T, D]: the root of variance + epsilon (Ba et al. 2016)."""
    return _scale(_centred(x), epsilon)


def layernorm(x: np.ndarray, epsilon: float) -> np.ndarray:
    """[T, D]: (x − mean) ÷ `layernorm_scale`."""
    centred = _centred(x)
    centred /= _scale(centred, epsilon)
    return centred


def attention_scores(q: np.ndarray, k: np.ndarray, divisor: float) -> np.ndarray:
    """[H, T, T] of [T, H, K] twice: q·k ÷ divisor, −∞ above the diagonal (Vaswani et al. 2017)."""
    tokens, heads, width = q.shape
    q = np.ascontiguousarray(q.transpose(2, 1, 0))
    k = np.ascontiguousarray(k.transpose(2, 1, 0))
    scores = np.zeros((heads, tokens, tokens), np.float32)
    several = max(1, _BLOCK // max(1, tokens * tokens))
    rows = max(1, _BLOCK // max(1, tokens))
    for head in range(0, heads, several):
        some = slice(head, head + several)
        for first in range(0, tokens, rows):
            last = min(first + rows, tokens)
            block = np.zeros_like(scores[some, first:last, :last])
            product = np.empty_like(block)
            for d in range(width):
                np.multiply(q[d, some, first:last, None], k[d, some, None, :last], out=product)
                block += product
            scores[some, first:last, :last] = block
    scores /= _f(divisor)
    for row in range(tokens):
        scores[:, row, row + 1 :] = -np.inf
    return scores


def causal_softmax(scores: np.ndarray) -> np.ndarray:
    """[H, T, T]: softmax of each row up to the diagonal, 0 above it; a row of a NaN becomes 0."""
    tokens = scores.shape[-1]
    below = np.tri(tokens, dtype=bool)
    # What is above the diagonal must not enter the maximum; 0 in its place adds nothing to Σ₁₆.
    rows = np.where(below, scores, _f(-np.inf))
    rows -= rows.max(axis=-1, keepdims=True, initial=-np.inf)
    rows = exp(rows)
    rows[:, ~below] = 0
    total = sum16(rows)
    rows /= total
    rows[np.isnan(total[..., 0])] = 0
    return rows


def attention_mix(pattern: np.ndarray, v: np.ndarray) -> np.ndarray:
    """[T, H, K] of [H, T, T] and [T, H, K]: Σ over j ≤ i of pattern[h, i, j] · v[j, h]."""
    tokens, heads, width = v.shape
    v = np.ascontiguousarray(v.transpose(1, 0, 2))
    columns = np.ascontiguousarray(pattern.transpose(0, 2, 1))
    mix = np.zeros((heads, tokens, width), np.float32)
    several = max(1, _BLOCK // max(1, tokens * width))
    for head in range(0, heads, several):
        some = slice(head, head + several)
        for j in range(tokens):
            mix[some, j:] += columns[some, j, j:, None] * v[some, j, None, :]
    return np.ascontiguousarray(mix.transpose(1, 0, 2))


def repeat_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """[T, H, D] of [T, D]: the same for every head."""
    return np.repeat(x[:, None, :], heads, axis=1)
