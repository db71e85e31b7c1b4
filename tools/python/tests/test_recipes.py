"""The arithmetic of recipes, against loops over single float32 numbers."""

import unittest

import numpy as np

import support
from patchbay import arithmetic

f = np.float32


def sum16(row) -> np.float32:
    partial = [f(0)] * 16
    for place, value in enumerate(row):
        partial[place % 16] = f(partial[place % 16] + value)
    for half in (8, 4, 2, 1):
        partial = [f(partial[i] + partial[i + half]) for i in range(half)]
    return partial[0]


class RecipeTest(unittest.TestCase):
    def setUp(self):
        self.generator = np.random.default_rng(support.seeded(self).randrange(1 << 32))
        warnings = np.errstate(all="ignore")
        warnings.__enter__()
        self.addCleanup(warnings.__exit__, None, None, None)

    def normal(self, *shape: int) -> np.ndarray:
        return self.generator.standard_normal(shape).astype(np.float32)

    def same(self, found: np.ndarray, expected: np.ndarray) -> None:
        self.assertEqual((found.dtype, found.shape), (np.float32, expected.shape))
        self.assertEqual(support.bits(found), support.bits(expected.astype(np.float32)))

    def test_exp_is_close_and_has_its_edges(self):
        x = np.linspace(-87, 88, 10_001, dtype=np.float32)
        exact = np.exp(x.astype(np.float64))
        self.assertLess(np.max(np.abs(arithmetic.exp(x) / exact - 1)), 3e-7)
        edges = np.array([-np.inf, -88, 89, np.inf, 0], np.float32)
        self.assertEqual(arithmetic.exp(edges).tolist(), [0, 0, np.inf, np.inf, 1])
        nan = np.array([0x7FC01234], np.uint32).view(np.float32)
        self.same(arithmetic.exp(nan), nan)

    def test_sum16_of_all_lengths(self):
        for length in range(1, 70):
            rows = self.normal(3, length)
            self.same(arithmetic.sum16(rows), np.array([[sum16(row)] for row in rows]))

    def test_sums_are_from_left_to_right_and_new(self):
        x = [self.normal(5, 7) for _ in range(4)]
        self.same(arithmetic.sum_in_order(*x), ((x[0] + x[1]) + x[2]) + x[3])
        self.assertFalse(np.shares_memory(arithmetic.sum_in_order(x[0]), x[0]))

    def test_layernorm(self):
        x, epsilon = self.normal(4, 37), 1e-5
        scales, rows = [], []
        for row in x:
            mean = f(sum16(row) / f(37))
            centred = row - mean
            scales.append(np.sqrt(f(f(sum16(centred * centred) / f(37)) + f(epsilon))))
            rows.append(centred / scales[-1])
        self.same(arithmetic.layernorm_scale(x, epsilon), np.array(scales)[:, None])
        self.same(arithmetic.layernorm(x, epsilon), np.array(rows))

    def test_gelu(self):
        x = np.linspace(-8, 8, 4001, dtype=np.float32)
        wide = x.astype(np.float64)
        exact = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
        self.assertLess(np.max(np.abs(arithmetic.gelu_new(x) - exact)), 1e-6)

    def attention(self, tokens: int, heads: int, width: int):
        q, k, v = (self.normal(tokens, heads, width) for _ in range(3))
        return q, k, v

    def test_attention(self):
        tokens, heads, width = 19, 3, 5
        q, k, v = self.attention(tokens, heads, width)
        scores = np.full((heads, tokens, tokens), -np.inf, np.float32)
        mix = np.zeros((tokens, heads, width), np.float32)
        found = arithmetic.attention_scores(q, k, 2.25)
        pattern = arithmetic.causal_softmax(found)
        for h in range(heads):
            for i in range(tokens):
                for j in range(i + 1):
                    total = f(0)
                    for d in range(width):
                        total = f(total + f(q[i, h, d] * k[j, h, d]))
                    scores[h, i, j] = f(total / f(2.25))
                    mix[i, h] += pattern[h, i, j] * v[j, h]
                e = arithmetic.exp(scores[h, i, : i + 1] - scores[h, i, : i + 1].max())
                self.same(pattern[h, i, : i + 1], e / sum16(e))
                self.assertFalse(pattern[h, i, i + 1 :].any())
        self.same(found, scores)
        self.same(arithmetic.attention_mix(pattern, v), mix)

    def test_blocks_change_nothing(self):
        q, k, v = self.attention(33, 4, 8)
        scores = arithmetic.attention_scores(q, k, 3)
        pattern = arithmetic.causal_softmax(scores)
        mix = arithmetic.attention_mix(pattern, v)
        self.addCleanup(setattr, arithmetic, "_BLOCK", arithmetic._BLOCK)
        for block in (1, 100, 2500):
            arithmetic._BLOCK = block
            self.same(arithmetic.attention_scores(q, k, 3), scores)
            self.same(arithmetic.attention_mix(pattern, v), mix)

    def test_what_is_above_the_diagonal_does_not_matter(self):
        scores, v = self.normal(2, 6, 6), self.normal(6, 2, 3)
        pattern = arithmetic.causal_softmax(scores)
        mix = arithmetic.attention_mix(pattern, v)
        above = ~np.tri(6, dtype=bool)
        for value in (np.nan, np.inf, 1e30):
            scores[:, above] = value
            self.same(arithmetic.causal_softmax(scores), pattern)
            other = pattern.copy()
            other[:, above] = value
            self.same(arithmetic.attention_mix(other, v), mix)

    def test_a_row_of_a_nan_becomes_zero(self):
        for value in (np.nan, np.inf):
            scores = self.normal(1, 4, 4)
            scores[0, 2, 1] = value
            pattern = arithmetic.causal_softmax(scores)
            self.assertEqual(pattern[0, 2].tolist(), [0, 0, 0, 0])
            self.assertTrue(pattern[0, 3].any())
        scores[0, 3] = -np.inf
        self.assertFalse(arithmetic.causal_softmax(scores)[0, 3].any())

    def test_repeated_heads(self):
        x = self.normal(3, 5)
        found = arithmetic.repeat_heads(x, 4)
        self.assertEqual(found.shape, (3, 4, 5))
        for head in range(4):
            self.same(found[:, head].copy(), x)


if __name__ == "__main__":
    unittest.main()
