"""The golden caches: every array and checksum, and what is not in them."""

import math
import unittest

import numpy as np

import support
from patchbay import CacheError, block, encoding
from patchbay.crc32c import crc32c
from support import FORMATS, GOLDEN, CacheCopy

import patchbay


class GoldenTest(unittest.TestCase):
    def test_every_array_of_every_format(self):
        for name in FORMATS:
            cache = patchbay.open(GOLDEN / name)
            self.assertTrue(cache.complete)
            self.assertEqual(len(cache), 7 if name.startswith(("format-3", "format-4", "format-5")) else 3)
            for prompt in cache:
                self.assertEqual(prompt["hook_embed"].shape, (len(prompt.tokens), 300))
                # Reading checks the bits of every array, derived ones too.
                alone = {hook: support.bits(prompt[hook]) for hook in prompt}
                self.assertEqual(list(alone), list(cache.hooks))
                together = {hook: support.bits(array) for hook, array in prompt.items()}
                self.assertEqual(alone, together)
                for hook, array in prompt.arrays().items():
                    self.assertEqual(array.dtype, np.float32)
                    self.assertEqual(array.shape, cache.hooks[hook].shape_for(len(prompt.tokens)))
            scale = cache.hook("ln_final.hook_scale")[0].ravel()
            self.assertEqual(scale[:3].tolist(), [1, 0, np.inf])

    def test_unchecked_reading_gives_the_same(self):
        for name in FORMATS:
            checked, unchecked = (patchbay.open(GOLDEN / name, check=c) for c in (True, False))
            for one, other in zip(checked, unchecked):
                for hook, array in one.items():
                    self.assertEqual(support.bits(array), support.bits(other[hook]))

    def test_the_checksum_of_what_is_decoded(self):
        count = shared = 0
        for name in FORMATS:
            cache = patchbay.open(GOLDEN / name)
            hooks = list(cache.hooks.values())
            element = cache.plan["elementType"]
            version = cache.plan["formatVersion"]
            copy = CacheCopy(self, name)
            for number in (0, 1):
                segment = support.OpenSegment(copy, number)
                whole = {}
                for hook, place, offset in segment.blocks():
                    header = block.parse(bytes(segment.data[offset : offset + 64]), version)
                    base = header.encoding.base
                    shared += base is not None
                    stored = segment.data[offset + 64 : offset + 64 + header.stored_length]
                    shape = hooks[hook].shape_for(header.identity.tokens)
                    row = None
                    if hooks[hook].has_rows:
                        row = header.raw_length // header.identity.tokens
                    words = encoding.decode(
                        np.frombuffer(bytes(stored), np.uint8),
                        header.encoding,
                        shape,
                        element,
                        None if base is None else whole[hook, base],
                        encoding.chunking(version, row),
                    )
                    whole[hook, header.identity.prompt] = words
                    self.assertEqual(crc32c(words), header.raw_crc, (name, hook, place))
                    self.assertEqual(words.nbytes, header.raw_length)
                    count += 1
        self.assertGreater(count, 200)
        self.assertGreater(shared, 40)

    def test_texts(self):
        cache = patchbay.open(GOLDEN / "format-2-f32")
        self.assertEqual(cache[1].text, "prompt 1 é\n")
        self.assertEqual(cache[2].tokens, [2, 3, 4, 5, 6, 7])
        self.assertEqual(cache[2].pieces[5], " p5")
        first, second = cache.pairs
        self.assertEqual((first.clean, first.corrupted, first.answer), (0, 1, 3))
        self.assertEqual((first.wrong_answer, first.id, first.subject), (4, "one", (1, 2)))
        self.assertEqual(first.roles, {"END": 2})
        self.assertEqual((second.clean, second.corrupted, second.roles), (0, None, None))

    def test_sequences(self):
        cache = patchbay.open(GOLDEN / "format-2-f32")
        arrays = cache.hook("hook_embed")
        self.assertEqual([len(arrays), len(cache[:2]), len(arrays[1:])], [3, 2, 2])
        self.assertEqual(support.bits(arrays[-1]), support.bits(cache[2]["hook_embed"]))
        with self.assertRaises(ValueError):
            arrays.stack()

    def test_what_is_given_out_may_be_changed(self):
        prompt = patchbay.open(GOLDEN / "format-2-f32")[0]
        expected = {hook: support.bits(prompt[hook]) for hook in prompt}
        for hook, array in prompt.items():
            self.assertEqual(support.bits(array), expected[hook])
            array.fill(7)
        for hook in prompt:
            self.assertEqual(support.bits(prompt[hook]), expected[hook])


class AbsentTest(unittest.TestCase):
    def test_prompts_and_hooks_that_are_not_there(self):
        cache = patchbay.open(GOLDEN / "format-2-f32")
        for number in (3, -4, 1 << 40):
            with self.assertRaises(IndexError):
                cache[number]
            with self.assertRaises(IndexError):
                cache.hook("hook_embed")[number]
        layer = "blocks.7.hook_resid_pre"
        for key in (layer, "hook_embe", ("resid_pre", 99), ("unembed",), 3, (), ""):
            with self.assertRaises(KeyError):
                cache[0][key]
            with self.assertRaises(KeyError):
                cache.hook(key)
            self.assertNotIn(key, cache[0])

    def test_a_directory_without_manifest_is_not_a_cache(self):
        for path in (GOLDEN / "absent", GOLDEN, __file__):
            with self.assertRaisesRegex(CacheError, "is not a cache"):
                patchbay.open(path)

    def test_a_cache_of_which_the_last_prompt_was_not_captured(self):
        copy = CacheCopy(self)

        def drop(manifest):
            last = manifest["segments"].pop()
            manifest["prompts"] -= last["prompts"]
            manifest["tokens"] -= last["tokens"]
            manifest["complete"] = False

        there = patchbay.open(copy.path)
        expected = support.bits(there[0]["hook_embed"])
        copy.change_manifest(drop)
        cache = patchbay.open(copy.path)
        self.assertFalse(cache.complete)
        self.assertLess(len(cache), 3)
        self.assertEqual(len(cache.prompts), 3)
        self.assertEqual(support.bits(cache[0]["hook_embed"]), expected)
        self.assertEqual(len(list(cache.hook("hook_embed"))), len(cache))
        with self.assertRaisesRegex(IndexError, f"{len(cache)} of 3"):
            cache[len(cache)]
        # The one that was opened before stays as it was.
        self.assertEqual(math.prod(there[2]["hook_embed"].shape), 6 * 300)

    def test_a_missing_segment_is_an_error_of_its_prompts_only(self):
        copy = CacheCopy(self)
        (copy.path / "segment-000001.pbs").unlink()
        cache = patchbay.open(copy.path)
        cache[0]["hook_embed"]
        with self.assertRaisesRegex(CacheError, "segment-000001.pbs: is missing"):
            cache[2]["hook_embed"]


if __name__ == "__main__":
    unittest.main()
