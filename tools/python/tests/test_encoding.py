"""Filters, packing and chunks, against encoders written plainly here."""

import struct
import unittest

import lz4.block
import numpy as np

import support
from patchbay import CacheError, crc32c, encoding, filters
from patchbay.block import Encoding

EXPONENTS = {"f32": (23, 8), "f16": (10, 5), "bf16": (7, 8)}


def byte_shuffle(elements: np.ndarray) -> bytes:
    return elements.view(np.uint8).reshape(-1, elements.itemsize).T.tobytes()


def bit_shuffle(elements: np.ndarray, kind: str, offset: int) -> bytes:
    lowest, width = EXPONENTS[kind]
    low = []
    for element in elements.tolist():
        exponent = element >> lowest & (1 << width) - 1
        rest = element ^ exponent << lowest
        low.append(rest | ((exponent - offset) % (1 << width)) << lowest)
    lowered = np.array(low, elements.dtype)
    count = elements.size // 8 * 8
    planes = [
        np.packbits((lowered[:count] >> bit & 1).astype(np.uint8), bitorder="little").tobytes()
        for bit in range(8 * elements.itemsize)
    ]
    return b"".join(planes) + lowered[count:].tobytes()


def chunked(
    elements: np.ndarray, kind: str, way: int, offset: int, chunking=encoding.Chunking()
) -> bytes:
    """Chunks that LZ4 does not make smaller stand as they are."""
    step = chunking.size // elements.itemsize
    chunks = []
    for start in range(0, elements.size, step):
        part = elements[start : start + step]
        if way == filters.BIT_SHUFFLE:
            plain = bit_shuffle(part, kind, offset)
        else:
            plain = byte_shuffle(part) if way == filters.BYTE_SHUFFLE else part.tobytes()
        small = lz4.block.compress(plain, store_size=False)
        chunks.append(small if len(small) < len(plain) else plain)
    table = b"".join(
        struct.pack("<I", len(chunk))
        + (struct.pack("<I", crc32c.crc32c(chunk)) if chunking.has_crcs else b"")
        for chunk in chunks
    )
    return table + b"".join(chunks)


def octets(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).copy()


class FilterTest(unittest.TestCase):
    def test_every_filter_of_every_length_comes_back(self):
        random = support.seeded(self)
        generator = np.random.default_rng(random.randrange(1 << 32))
        lengths = [*range(1, 70), 255, 256, 257, 1003, 4096]
        for kind, word in encoding._WORDS.items():
            for count in lengths:
                elements = generator.integers(0, 1 << 8 * word.itemsize, count, np.uint64)
                elements = elements.astype(word)
                offset = random.choice([0, 1, 15, 31])
                for way, filtered in (
                    (filters.NONE, elements.tobytes()),
                    (filters.BYTE_SHUFFLE, byte_shuffle(elements)),
                    (filters.BIT_SHUFFLE, bit_shuffle(elements, kind, offset)),
                ):
                    out = np.empty_like(elements)
                    filters.undo(way, bytearray(filtered), out, kind, offset)
                    self.assertEqual(out.tobytes(), elements.tobytes(), (kind, count, way, offset))

    def test_every_exponent_offset(self):
        elements = np.arange(0, 1 << 16, 7, dtype=np.uint16)
        for kind, offsets in (("bf16", range(256)), ("f16", range(32))):
            for offset in offsets:
                moved = elements.copy()
                lowest, width = EXPONENTS[kind]
                filters._raise_exponents(moved, kind, offset)
                mask = ((1 << width) - 1) << lowest
                wide = elements.astype(np.uint32)
                expected = wide & ~np.uint32(mask) | wide + np.uint32(offset << lowest) & mask
                self.assertTrue(np.array_equal(moved, expected.astype(np.uint16)), (kind, offset))


class WidenTest(unittest.TestCase):
    def test_every_element_of_two_bytes(self):
        words = np.arange(1 << 16, dtype=np.uint16)
        wide = words.astype(np.uint32)
        self.assertTrue(
            np.array_equal(encoding.widen(words, "bf16").view(np.uint32), wide << np.uint32(16))
        )
        found = encoding.widen(words, "f16")
        numbers = ~np.isnan(found)
        sign, exponent, fraction = wide >> 15, wide >> 10 & 31, wide & 1023
        self.assertTrue(np.array_equal(numbers, (exponent < 31) | (fraction == 0)))
        values = np.where(
            exponent == 0, fraction * 2.0**-24, (1024 + fraction) * 2.0 ** (exponent - 25.0)
        )
        values[exponent == 31] = np.inf
        signed = np.where(sign == 1, -values, values).astype(np.float32)
        self.assertEqual(support.bits(found[numbers]), support.bits(signed[numbers]))
        # A NaN keeps its sign and its payload, as the upper bits.
        payload = sign << 31 | np.uint32(0x7F800000) | fraction << 13
        self.assertTrue(np.array_equal(found[~numbers].view(np.uint32), payload[~numbers]))


class DecodeTest(unittest.TestCase):
    def values(self, count: int) -> np.ndarray:
        generator = np.random.default_rng(support.seeded(self).randrange(1 << 32))
        return generator.standard_normal(count).astype(np.float32).view(np.uint32)

    def test_several_chunks(self):
        step = encoding.CHUNK // 4
        for count in (step, step + 1, 2 * step + 12_345):
            elements = self.values(count)
            for way in (filters.NONE, filters.BYTE_SHUFFLE, filters.BIT_SHUFFLE):
                offset = 112 if way == filters.BIT_SHUFFLE else 0
                stored = chunked(elements & np.uint32(0xFFFF0000), "f32", way, offset)
                found = encoding.decode(
                    octets(stored), Encoding(True, way, False, 0, offset), (count,), "f32"
                )
                self.assertTrue(np.array_equal(found, elements & np.uint32(0xFFFF0000)))

    def test_chunks_of_rows(self):
        for row, size in ((4, 16_384), (1200, 15_600), (3072, 15_360), (16_384, 16_384)):
            self.assertEqual(encoding.chunking(4, row), encoding.Chunking(size, True))
        self.assertEqual(encoding.chunking(4, 16_388).size, 16_388)
        self.assertEqual(encoding.chunking(4, encoding.CHUNK).size, encoding.CHUNK)
        for row in (None, 0, encoding.CHUNK + 4):
            self.assertEqual(encoding.chunking(4, row), encoding.Chunking(encoding.CHUNK, True))
        for version in (1, 2, 3):
            self.assertEqual(encoding.chunking(version, 1200), encoding.Chunking())

    def test_chunks_with_checksums(self):
        chunks = encoding.chunking(4, 300 * 4)
        elements = self.values(40 * 300) & np.uint32(0xFFFF0000)
        stored = chunked(elements, "f32", filters.BIT_SHUFFLE, 112, chunks)
        way = Encoding(True, filters.BIT_SHUFFLE, False, 0, 112)
        shape = (40, 300)
        table = encoding.covered(way, shape, "f32", chunks, len(stored))
        self.assertEqual(table, 4 * 8)
        found = encoding.decode(octets(stored), way, shape, "f32", None, chunks)
        self.assertEqual(found.tobytes(), elements.tobytes())
        for place in [*range(4, 32, 8), *range(table, len(stored), 97)]:
            damaged = octets(stored)
            damaged[place] ^= 4
            with self.assertRaisesRegex(CacheError, "chunk . of its stored bytes is damaged"):
                encoding.decode(damaged, way, shape, "f32", None, chunks)
        swapped = octets(stored)
        swapped[4:8], swapped[12:16] = swapped[12:16].copy(), swapped[4:8].copy()
        with self.assertRaisesRegex(CacheError, "chunk 0 of its stored bytes is damaged"):
            encoding.decode(swapped, way, shape, "f32", None, chunks)
        found = encoding.decode(swapped, way, shape, "f32", None, chunks, check=False)
        self.assertEqual(found.tobytes(), elements.tobytes())
        with self.assertRaisesRegex(CacheError, "no table"):
            encoding.covered(way, shape, "f32", chunks, 31)
        first, crc, second = struct.unpack_from("<III", stored)
        for lie in ((first - 1, crc, second + 1), (0xFFFFFFFF, crc, first + second + 1)):
            for check in (True, False):
                lying = octets(struct.pack("<III", *lie) + stored[12:])
                with self.assertRaises(CacheError):
                    encoding.decode(lying, way, shape, "f32", None, chunks, check)

    def test_chunks_of_rows_that_are_not_shared(self):
        rows = self.values(40 * 300).reshape(40, 300) & np.uint32(0xFFFF0000)
        chunks = encoding.chunking(4, 300 * 4)
        for shared in (1, 13, 39):
            stored = chunked(rows[shared:].ravel(), "f32", filters.BYTE_SHUFFLE, 0, chunks)
            way = Encoding(True, filters.BYTE_SHUFFLE, False, 0, 0, 4, shared)
            table = encoding.covered(way, rows.shape, "f32", chunks, len(stored))
            self.assertEqual(table, 8 * -(-(40 - shared) // 13))
            found = encoding.decode(octets(stored), way, rows.shape, "f32", rows, chunks)
            self.assertEqual(support.bits(found), support.bits(rows))

    def test_a_chunk_that_stands_uncompressed(self):
        step = encoding.CHUNK // 4
        elements = np.concatenate([self.values(step), np.zeros(step, np.uint32)])
        generator = np.random.default_rng(1)
        elements[:step] = generator.integers(0, 1 << 32, step, np.uint64).astype(np.uint32)
        stored = chunked(elements, "f32", filters.BYTE_SHUFFLE, 0)
        self.assertEqual(struct.unpack_from("<I", stored)[0], encoding.CHUNK)
        way = Encoding(True, filters.BYTE_SHUFFLE, False, 0, 0)
        found = encoding.decode(octets(stored), way, (2 * step,), "f32")
        self.assertTrue(np.array_equal(found, elements))

    def test_triangles(self):
        for size in (2, 3, 5, 17):
            squares = self.values(3 * size * size).reshape(3, size, size).copy()
            below = np.tri(size, dtype=bool)
            squares[:, ~below] = 0xFF800000
            packed = squares[:, below].tobytes()
            way = Encoding(False, 0, True, 0xFF800000, 0)
            found = encoding.decode(octets(packed), way, (3, size, size), "f32")
            self.assertTrue(np.array_equal(found, squares))

    def test_shared_rows(self):
        rows = self.values(7 * 15).reshape(7, 3, 5)
        for lz4 in (False, True):
            for shared in (1, 3, 6, 7):
                own = rows[shared:] & np.uint32(0xFFFF0000)
                compressed = lz4 and shared < 7
                stored = (
                    chunked(own.ravel(), "f32", filters.BIT_SHUFFLE, 0)
                    if compressed
                    else own.tobytes()
                )
                way = Encoding(compressed, filters.BIT_SHUFFLE * compressed, False, 0, 0, 4, shared)
                found = encoding.decode(octets(stored), way, (7, 3, 5), "f32", rows)
                self.assertEqual(support.bits(found[:shared]), support.bits(rows[:shared]))
                self.assertEqual(support.bits(found[shared:]), support.bits(own))
                with self.assertRaises(CacheError):
                    encoding.decode(octets(stored + bytes(4)), way, (7, 3, 5), "f32", rows)

    def test_lengths_that_lie_are_refused(self):
        elements = np.zeros(encoding.CHUNK // 2, np.uint32)
        shape = elements.shape
        way = Encoding(True, filters.NONE, False, 0, 0)
        sound = chunked(elements, "f32", filters.NONE, 0)
        self.assertTrue(np.array_equal(encoding.decode(octets(sound), way, shape, "f32"), elements))
        first, second = struct.unpack_from("<II", sound)
        for name, stored in {
            "no table": sound[:4],
            "nothing after the table": sound[:8],
            "a chunk of 0": struct.pack("<II", 0, first + second) + sound[8:],
            "one byte more": struct.pack("<II", first + 1, second - 1) + sound[8:],
            "sum too small": struct.pack("<II", first, second - 1) + sound[8:],
            "sum too large": struct.pack("<II", first, second + 1) + sound[8:],
            "sum of 2³²": struct.pack("<II", 0xFFFFFFFF, first + second + 1) + sound[8:],
            "a chunk above its size": sound + bytes(2 * encoding.CHUNK),
            "bytes after the last chunk": sound + b"\0",
            "one byte fewer": sound[:-1],
        }.items():
            with self.subTest(name), self.assertRaises(CacheError):
                encoding.decode(octets(stored), way, shape, "f32")
        with self.assertRaises(CacheError):
            encoding.decode(octets(sound), way, (elements.size - 1,), "f32")
        with self.assertRaises(CacheError):
            encoding.decode(octets(sound), way, (elements.size + 1,), "f32")
        with self.assertRaises(CacheError):
            encoding.decode(octets(sound), Encoding(False, 0, False, 0, 0), shape, "f32")

    def test_a_bomb_is_refused_before_it_is_unpacked(self):
        way = Encoding(True, filters.NONE, False, 0, 0)
        with self.assertRaisesRegex(CacheError, "does not expand"):
            encoding.decode(octets(bytes(1 << 20)), way, (1 << 29,), "f32")


if __name__ == "__main__":
    unittest.main()
