"""Caches that are damaged, or that lie with checksums that fit: an error or the right numbers."""

import os
import struct
import unittest
import warnings
from pathlib import Path

import support
from patchbay import CacheError, block
from support import GOLDEN, CacheCopy, OpenSegment

import patchbay


def read_everything(path: Path):
    """All arrays that can be read, by hook and prompt, and the errors of the others."""
    arrays, errors = {}, []
    try:
        cache = patchbay.open(path)
    except CacheError as error:
        return arrays, [error]
    for texts in ("prompts", "pairs"):
        try:
            getattr(cache, texts)
        except CacheError as error:
            errors.append(error)
    for number, prompt in enumerate(cache):
        for hook in prompt:
            try:
                arrays[hook, number] = prompt[hook]
            except CacheError as error:
                errors.append(error)
    return arrays, errors


class DamageTest(unittest.TestCase):
    def setUp(self):
        # A warning would be a place where numpy met numbers that nobody thought of.
        warnings.simplefilter("error")
        self.addCleanup(warnings.resetwarnings)

    def refused(self, copy: CacheCopy, what: str = "") -> None:
        """Something of the cache is refused, and what is not has the right bits."""
        arrays, errors = read_everything(copy.path)
        self.assertTrue(errors, what)
        self.right(arrays, what)

    def right(self, arrays, what: str) -> None:
        for key, array in arrays.items():
            self.assertEqual(support.bits(array), self.expected[key], f"{key}: {what}")

    def sound(self, name: str) -> CacheCopy:
        arrays, errors = read_everything(GOLDEN / name)
        self.assertEqual(errors, [])
        self.expected = {key: support.bits(array) for key, array in arrays.items()}
        return CacheCopy(self, name)

    def test_every_flipped_bit_is_found(self):
        random = support.seeded(self)
        for name in support.FORMATS:
            copy = self.sound(name)
            for file in sorted(os.listdir(copy.path)):
                path = copy.path / file
                data = path.read_bytes()
                for _ in range(8):
                    place = random.randrange(8 * len(data))
                    damaged = bytearray(data)
                    damaged[place // 8] ^= 1 << place % 8
                    path.write_bytes(damaged)
                    self.refused(copy, f"{name}/{file}, bit {place}")
                path.write_bytes(data)

    def test_files_that_were_cut_or_grew(self):
        random = support.seeded(self)
        copy = self.sound("format-2-f32")
        for file in sorted(os.listdir(copy.path)):
            path = copy.path / file
            data = path.read_bytes()
            for length in (0, 1, 64, len(data) - 64, len(data) - 1, random.randrange(len(data))):
                path.write_bytes(data[: max(0, length)])
                self.refused(copy, f"{file} of {length} bytes")
            for more in (1, 64):
                path.write_bytes(data + bytes(more))
                self.refused(copy, f"{file} and {more} bytes")
            path.write_bytes(data)

    def test_headers_that_lie_with_checksums_that_fit(self):
        copy = self.sound("format-2-f32")
        path = copy.path / "segment-000000.pbs"
        segment, manifest = path.read_bytes(), (copy.path / "manifest").read_bytes()
        fields = {
            "magic": (0, "B"),
            "plan": (8, "Q"),
            "segment": (16, "I"),
            "hook": (20, "I"),
            "prompt": (24, "I"),
            "T": (28, "I"),
            "codec": (32, "B"),
            "filter": (33, "B"),
            "packing": (34, "B"),
            "element type": (35, "B"),
            "raw length": (36, "I"),
            "stored length": (40, "I"),
            "fill": (52, "I"),
            "exponent offset": (56, "B"),
            "zero": (57, "B"),
        }
        tried = 0
        for number, (_, _, offset) in enumerate(OpenSegment(copy).blocks()):
            for name, (place, kind) in fields.items():
                most = (1 << 8 * struct.calcsize(kind)) - 1
                for change in (1, -1, 64, most // 2):
                    opened = OpenSegment(copy)
                    place_in_file = offset + place
                    old = struct.unpack_from("<" + kind, opened.data, place_in_file)[0]
                    new = (old + change) & most
                    struct.pack_into("<" + kind, opened.data, place_in_file, new)
                    opened.close()
                    arrays, errors = read_everything(copy.path)
                    # What is a sound encoding of other numbers cannot be told from the right ones;
                    # everything else is refused.
                    if name not in ("filter", "fill", "exponent offset"):
                        self.assertTrue(errors, f"block {number}: {name} {old} to {new}")
                    path.write_bytes(segment)
                    (copy.path / "manifest").write_bytes(manifest)
                    tried += 1
            if number == 2:
                break
        self.assertGreater(tried, 150)

    def test_shared_rows_that_lie_with_checksums_that_fit(self):
        copy = self.sound("format-4-f32")
        manifest = (copy.path / "manifest").read_bytes()
        tried = 0
        for number in (0, 1):
            path = copy.path / f"segment-{number:06d}.pbs"
            segment = path.read_bytes()
            first = struct.unpack_from("<I", segment, 16)[0]
            blocks = {(h, p + first): at for h, p, at in OpenSegment(copy, number).blocks()}
            sharing = [key for key, at in blocks.items() if segment[at + 34] == 2]
            self.assertGreater(len(sharing), 5)
            whole = [key for key in blocks if key not in sharing and key[0] == 1]
            for hook, prompt in sharing[:2] + whole[-1:]:
                at = blocks[hook, prompt]
                tokens = struct.unpack_from("<I", segment, at + 28)[0]
                base = struct.unpack_from("<I", segment, at + 52)[0]
                rows = int.from_bytes(segment[at + 57 : at + 60], "little")
                lies = [(b, rows) for b in (first - 1, prompt, prompt + 1, 1 << 31, 0xFFFFFFFF)]
                lies += [(base, r) for r in (0, rows + 1, tokens + 1, 0xFFFFFF)]
                # A prompt that shares rows itself cannot be a base.
                lies += [(p, 1) for h, p in sharing if h == hook and p < prompt]
                for new_base, new_rows in lies:
                    opened = OpenSegment(copy, number)
                    opened.data[at + 34] = 2
                    struct.pack_into("<I", opened.data, at + 52, new_base & 0xFFFFFFFF)
                    opened.data[at + 57 : at + 60] = new_rows.to_bytes(3, "little")
                    opened.close()
                    what = f"hook {hook}, prompt {prompt}: {new_rows} rows of {new_base}"
                    self.refused(copy, what)
                    path.write_bytes(segment)
                    (copy.path / "manifest").write_bytes(manifest)
                    tried += 1
        self.assertGreater(tried, 50)

    def test_a_damaged_base_is_named_by_those_that_share_with_it(self):
        copy = self.sound("format-4-f32")
        opened = OpenSegment(copy)
        at = {(hook, place): offset for hook, place, offset in opened.blocks()}
        base, other = at[0, 0], at[0, 1]
        self.assertEqual((opened.data[base + 34], opened.data[other + 34]), (0, 2))
        path = copy.path / "segment-000000.pbs"
        opened.data[base + 64 + opened.stored_length(base) - 1] ^= 1
        path.write_bytes(opened.data)
        _, errors = read_everything(copy.path)
        self.assertTrue(any("shares rows with prompt 0" in str(error) for error in errors))
        self.refused(copy)

    def test_chunks_and_their_table_vouch_for_every_stored_byte(self):
        for cache in [name for name in support.FORMATS if name >= "format-4"]:
            copy = self.sound(cache)
            path = copy.path / "segment-000000.pbs"
            segment, manifest = path.read_bytes(), (copy.path / "manifest").read_bytes()
            name = "blocks.0.mlp.hook_post"
            hook = patchbay.open(copy.path).hooks[name].number
            at = {(h, place): offset for h, place, offset in OpenSegment(copy).blocks()}[hook, 0]
            # Of its rows, of 24,000 or 12,000 bytes, no two fit into a chunk: each is one.
            count = 4
            table = at + 64
            lengths = [struct.unpack_from("<I", segment, table + 8 * i)[0] for i in range(count)]
            self.assertEqual(8 * count + sum(lengths), OpenSegment(copy).stored_length(at))

            def refuses(pattern: str) -> None:
                with self.assertRaisesRegex(CacheError, pattern):
                    patchbay.open(copy.path)[0][name]
                self.refused(copy, pattern)
                path.write_bytes(segment)
                (copy.path / "manifest").write_bytes(manifest)

            def swap_crcs(data: bytearray) -> None:
                first, second = slice(table + 4, table + 8), slice(table + 12, table + 16)
                self.assertNotEqual(data[first], data[second])
                data[first], data[second] = data[second], data[first]

            for place in range(table, table + 8 * count, 4):
                # Of a length too: it is not believed before the table is checked.
                damaged = bytearray(segment)
                damaged[place + 3] ^= 0x80
                path.write_bytes(damaged)
                refuses("its stored bytes are damaged")
            end = table + 8 * count
            for chunk, length in enumerate(lengths):
                for place in (end, end + length - 1):
                    damaged = bytearray(segment)
                    damaged[place] ^= 1
                    path.write_bytes(damaged)
                    refuses(f"chunk {chunk} of its stored bytes is damaged")
                end += length
            damaged = bytearray(segment)
            swap_crcs(damaged)
            path.write_bytes(damaged)
            refuses("its stored bytes are damaged")
            # The table's checksum fits; the chunks' do not.
            opened = OpenSegment(copy)
            swap_crcs(opened.data)
            opened.close(signs_chunks=False)
            unchecked = patchbay.open(copy.path, check=False)[0][name]
            self.assertEqual(support.bits(unchecked), self.expected[name, 0])
            refuses("chunk 0 of its stored bytes is damaged")

    def test_a_table_that_is_longer_than_what_is_stored(self):
        copy = self.sound("format-4-f32")
        opened = OpenSegment(copy)
        name = "ln_final.hook_scale"
        hook = patchbay.open(copy.path).hooks[name].number
        at = {(h, place): offset for h, place, offset in opened.blocks()}[hook, 0]
        # With padding as much as before, so that the blocks after it stay where they are.
        self.assertLessEqual(opened.stored_length(at), 64)
        for place in (at + 40, opened.entry(hook, 0) + 8):
            struct.pack_into("<I", opened.data, place, 7)
        opened.close()
        with self.assertRaisesRegex(CacheError, "7 bytes are stored, which are no table of 8"):
            patchbay.open(copy.path)[0][name]
        with self.assertRaises(CacheError):
            patchbay.open(copy.path, check=False)[0][name]
        self.refused(copy)

    def test_older_formats_share_no_rows(self):
        for version in (1, 2):
            opened = OpenSegment(CacheCopy(self, f"format-{version}-f32"))
            _, _, at = next(opened.blocks())
            header = opened.data[at : at + 64]
            block.parse(bytes(header), version)
            header[34] = 2
            header[57] = 1
            struct.pack_into("<I", header, 60, support.crc32c.crc32c(bytes(header[:60])))
            block.parse(bytes(header), 3)
            with self.assertRaises(CacheError):
                block.parse(bytes(header), version)

    def test_flipped_bits_under_checksums_that_fit_end_in_nothing_but_an_error(self):
        random = support.seeded(self)
        for name in support.FORMATS:
            copy = self.sound(name)
            path = copy.path / "segment-000001.pbs"
            segment, manifest = path.read_bytes(), (copy.path / "manifest").read_bytes()
            shapes = {key: len(data) for key, data in self.expected.items()}
            for _ in range(25):
                opened = OpenSegment(copy, 1)
                for _ in range(random.choice([1, 1, 2, 8])):
                    place = random.randrange(8 * (len(opened.data) - 64))
                    opened.data[place // 8] ^= 1 << place % 8
                try:
                    opened.close()
                except struct.error:
                    pass  # The index lies outside of the file; the checksums stay as they were.
                arrays, _ = read_everything(copy.path)
                for key, array in arrays.items():
                    self.assertEqual(array.nbytes, shapes[key])
                path.write_bytes(segment)
                (copy.path / "manifest").write_bytes(manifest)

    def test_an_index_with_holes_overlaps_or_lengths_that_lie(self):
        copy = self.sound("format-2-f32")
        path = copy.path / "segment-000000.pbs"
        segment, manifest = path.read_bytes(), (copy.path / "manifest").read_bytes()

        def changes(opened: OpenSegment):
            first, derived = opened.entry(0, 0), None
            for hook in range(opened.hooks):
                place = opened.entry(hook, 0)
                if struct.unpack_from("<Q", opened.data, place)[0] == 0:
                    derived = place
            tokens = opened.entry(opened.hooks, 0)
            end = len(opened.data) - 64
            yield "offset", first, "Q", 128
            yield "offset beyond the file", first, "Q", 1 << 63
            yield "offset of another", opened.entry(0, 1), "Q", 64
            yield "length", first + 8, "I", 0xFFFFFFFF
            yield "absent without a recipe", first, "Q", 0
            yield "length of a derived array", derived + 8, "I", 5
            yield "offset of a derived array", derived, "Q", 64
            yield "T", tokens, "I", 1 << 31
            yield "T of the next", tokens + 4, "I", 2
            yield "index offset", end + 8, "Q", opened.index - 64
            yield "index offset", end + 8, "Q", (1 << 64) - 64
            yield "index length", end + 16, "Q", 1 << 62
            yield "size", end + 24, "Q", len(opened.data) + 64
            yield "zero", end + 48, "B", 1
            yield "P", 20, "I", 0xFFFFFFFF
            yield "H", 24, "I", 0xFFFFFFFF
            yield "first prompt", 16, "I", 1
            yield "version", 8, "I", 1

        for name, place, kind, value in changes(OpenSegment(copy)):
            opened = OpenSegment(copy)
            struct.pack_into("<" + kind, opened.data, place, value)
            opened.prompts = struct.unpack_from("<I", segment, 20)[0]
            opened.close()
            self.refused(copy, name)
            path.write_bytes(segment)
            (copy.path / "manifest").write_bytes(manifest)

    def test_a_derived_array_that_comes_out_otherwise_is_refused(self):
        copy = self.sound("format-2-f32")
        opened = OpenSegment(copy)
        for hook in range(opened.hooks):
            place = opened.entry(hook, 0)
            if struct.unpack_from("<Q", opened.data, place)[0] == 0:
                opened.data[place + 12] ^= 1
        opened.close()
        self.refused(copy)
        _, errors = read_everything(copy.path)
        self.assertTrue(all("not what was captured" in str(error) for error in errors))
        patchbay.open(copy.path, check=False)[0].arrays()

    def test_links_and_what_is_not_a_plain_file_are_refused(self):
        for file in sorted(os.listdir(GOLDEN / "format-2-f32")):
            copy = self.sound("format-2-f32")
            (copy.path / file).rename(copy.path / "moved")
            (copy.path / file).symlink_to("moved")
            self.refused(copy, f"{file}, a link")
            (copy.path / file).unlink()
            os.mkfifo(copy.path / file)
            self.refused(copy, f"{file}, a pipe")
            (copy.path / file).unlink()
            (copy.path / file).mkdir()
            self.refused(copy, f"{file}, a directory")


if __name__ == "__main__":
    unittest.main()
