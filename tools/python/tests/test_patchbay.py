"""The pieces of the reader, and the golden caches. `python3 -m unittest discover tools/python/tests`"""

import os
import random
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools/python/src"))

import patchbay  # noqa: E402
from patchbay import crc32c, encoding, recipes  # noqa: E402

GOLDEN = ROOT / "Tests/CacheFormatTests/Golden"


class ChecksumTest(unittest.TestCase):
    def plain(self, data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (crc & 1) * 0x82F63B78
        return crc ^ 0xFFFFFFFF

    def test_known_value(self):
        self.assertEqual(crc32c.crc32c(b"123456789"), 0xE3069283)

    def test_equals_the_plain_one(self):
        data = random.Random(1).randbytes(40_000)
        native, crc32c._native = crc32c._native, None
        try:
            for length in (*range(70), 255, 256, 257, 1023, 4096, 12_345, 40_000):
                self.assertEqual(crc32c.crc32c(data[:length]), self.plain(data[:length]))
        finally:
            crc32c._native = native


class EncodingTest(unittest.TestCase):
    def test_bit_shuffle_with_an_exponent_offset(self):
        values = np.random.default_rng(2).standard_normal(1003).astype(np.float32)
        elements = values.view(np.uint32)
        field, lowest = 0x7F800000, 0x00800000
        for offset in (0, 112, 255):
            low = elements & ~np.uint32(field)
            low |= (elements - np.uint32(offset * lowest)) & np.uint32(field)
            count = low.size // 8 * 8
            planes = [
                np.packbits((low[:count] >> bit & 1).astype(np.uint8), bitorder="little").tobytes()
                for bit in range(32)
            ]
            stored = b"".join(planes) + low[count:].tobytes()
            way = encoding.Encoding(1, 2, 0, 0, offset)
            self.assertEqual(encoding._unfilter(stored, way, "f32"), values.tobytes())

    def test_triangle(self):
        squares = np.arange(3 * 5 * 5, dtype=np.uint32).reshape(3, 5, 5)
        squares[:, ~np.tri(5, dtype=bool)] = 0xFF800000
        packed = squares[:, np.tri(5, dtype=bool)].tobytes()
        way = encoding.Encoding(0, 0, 1, 0xFF800000, 0)
        raw = squares.tobytes()
        self.assertEqual(encoding.decode(packed, way, len(raw), 5, "f32"), raw)


class RecipeTest(unittest.TestCase):
    def test_exp_is_close_and_has_its_edges(self):
        x = np.linspace(-87, 88, 10_001, dtype=np.float32)
        exact = np.exp(x.astype(np.float64))
        self.assertLess(np.max(np.abs(recipes._exp(x) / exact - 1)), 3e-7)
        edges = np.array([-np.inf, -88, 89, np.inf], np.float32)
        self.assertEqual(recipes._exp(edges).tolist(), [0, 0, np.inf, np.inf])
        self.assertTrue(np.isnan(recipes._exp(np.array([np.nan], np.float32)))[0])


class GoldenTest(unittest.TestCase):
    def test_every_array_of_every_format(self):
        for version in (1, 2):
            for element in ("f32", "f16", "bf16"):
                cache = patchbay.open(GOLDEN / f"format-{version}-{element}")
                self.assertTrue(cache.complete)
                self.assertEqual(len(cache), 3)
                for prompt in cache:
                    self.assertEqual(prompt["hook_embed"].shape, (len(prompt.tokens), 300))
                    # Reading checks the bits of every array, derived ones too.
                    self.assertEqual(len([prompt[name] for name in prompt]), len(cache.hooks))
                scale = cache.hook("ln_final.hook_scale")[0].ravel()
                self.assertEqual(scale[:3].tolist(), [1, 0, np.inf])

    def test_absent_is_an_error(self):
        cache = patchbay.open(GOLDEN / "format-2-f32")
        with self.assertRaises(IndexError):
            cache[3]
        with self.assertRaises(KeyError):
            cache[0]["blocks.7.hook_resid_pre"]
        with self.assertRaises(patchbay.CacheError):
            patchbay.open(GOLDEN / "absent")

    def test_a_flipped_bit_never_gives_other_numbers(self):
        source = GOLDEN / "format-2-f32"
        sound = patchbay.open(source)
        expected = {n: [p[n].tobytes() for p in sound] for n in sound.hooks}
        seed = random.randrange(1 << 32)
        generator = random.Random(seed)
        caught = 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cache"
            shutil.copytree(source, path)
            for _ in range(60):
                file = generator.choice(sorted(os.listdir(path)))
                data = bytearray((path / file).read_bytes())
                place = generator.randrange(8 * len(data))
                data[place // 8] ^= 1 << place % 8
                (path / file).write_bytes(data)
                try:
                    cache = patchbay.open(path)
                    cache.prompts, cache.pairs
                except (patchbay.CacheError, ValueError):
                    caught += 1
                else:
                    for name, arrays in expected.items():
                        for number, bits in enumerate(arrays):
                            try:
                                found = cache[number][name].tobytes()
                            except patchbay.CacheError:
                                caught += 1
                                continue
                            self.assertEqual(found, bits, f"seed {seed}, {file} bit {place}")
                data[place // 8] ^= 1 << place % 8
                (path / file).write_bytes(data)
        self.assertGreater(caught, 0)


if __name__ == "__main__":
    unittest.main()
