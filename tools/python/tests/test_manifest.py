"""Manifests and plans that lie, or that are of a newer format: an error that says what is wrong."""

import json
import unittest

import support
from patchbay import CacheError
from support import GOLDEN, CacheCopy

import patchbay


class ManifestAndPlanTest(unittest.TestCase):
    def refuses(self, pattern: str, manifest=None, plan=None) -> None:
        copy = CacheCopy(self)
        if plan is not None:
            copy.change_plan(plan)
        if manifest is not None:
            copy.change_manifest(manifest)
        with self.assertRaisesRegex(CacheError, pattern):
            patchbay.open(copy.path)

    def test_a_newer_cache_is_told_from_a_damaged_one(self):
        self.refuses("format version 6", manifest=lambda m: (m.clear(), m.update(format=6)))
        self.refuses("'format'", manifest=lambda m: m.update(format=0))
        self.refuses("formatVersion", plan=lambda p: p.update(formatVersion=1))

    def test_manifests(self):
        def segment(**values):
            return lambda m: m["segments"][1].update(values)

        for values in (
            {"name": "../segment-000001.pbs"},
            {"name": "/etc/passwd"},
            {"name": "segment-000000.pbs"},
            {"name": "segment-1.pbs"},
            {"prompts": 0},
            {"prompts": -1},
            {"prompts": True},
            {"prompts": 1 << 70},
            {"tokens": 1.0},
            {"tokens": 1},
            {"size": None},
            {"index": "XYZ"},
            {"index": "ABCDEF01"},
        ):
            with self.subTest(values):
                self.refuses("segment 1|sum over the segments", manifest=segment(**values))
        for key in ("plan", "generation", "complete", "prompts", "tokens", "hooks", "segments"):
            self.refuses(f"'{key}' is missing", manifest=lambda m: m.pop(key))
        self.refuses("prompts of a plan", plan=lambda p: p.update(promptCount=2))
        self.refuses("prompts of a plan", plan=lambda p: p.update(promptCount=4))
        self.refuses("hooks of the plan", manifest=lambda m: m["hooks"].pop())

    def test_json_that_other_readers_might_read_otherwise(self):
        copy = CacheCopy(self)
        for text in (b'{"format":2,"format":1}\n', b'{"format":NaN}\n', b"[2]\n", b"\xff\n"):
            line = b"crc32c %08x\n" % support.crc32c.crc32c(text)
            (copy.path / "manifest").write_bytes(text + line)
            with self.assertRaises(CacheError):
                patchbay.open(copy.path)
        deep = b"[" * 200_000
        (copy.path / "manifest").write_bytes(deep + b"crc32c %08x\n" % support.crc32c.crc32c(deep))
        with self.assertRaises(CacheError):
            patchbay.open(copy.path)

    def test_plans(self):
        text = (GOLDEN / "format-2-f32/plan.json").read_bytes()
        for key in json.loads(text):
            self.refuses(f"'{key}'", plan=lambda p: p.pop(key))
        for key in json.loads(text)["model"]:
            self.refuses(f"'{key}'", plan=lambda p: p["model"].pop(key))

        def hook(**values):
            return lambda p: p["hooks"][1].update(values)

        for patched in ("z", {}, {"what": 3, "plan": "0" * 64}, {"what": "z", "plan": "z"}):
            self.refuses("patched|'what'|'plan'", plan=lambda p, value=patched: p.update(patched=value))
        self.refuses("twice", plan=hook(name="hook_embed"))
        for name in ("", ".hidden", "a/b", "..", "a" * 201, "é", "name\n"):
            self.refuses("'name'", plan=hook(name=name))
        for shape in ([1] * 9, ["t"], [-1], [1.5], [True], "T", None, [[1]]):
            self.refuses("'shape'", plan=hook(shape=shape))

    def test_recipes(self):
        def last(shape, **recipe):
            row = {"name": "last", "shape": shape, "recipe": recipe}
            before = {"name": "square", "shape": ["T", "T"]}
            after = {"name": "later", "shape": ["T", 300]}
            return lambda p: p["hooks"].extend([before, row, after])

        wide, square = ["T", 300], [4, "T", "T"]
        embed, pattern = "hook_embed", "blocks.0.attn.hook_pattern"
        for shape, recipe in (
            (wide, {"op": "product", "of": [embed]}),
            (wide, {"op": "sum", "of": []}),
            (wide, {"op": "sum", "of": ["later"]}),
            (wide, {"op": "sum", "of": ["last"]}),
            (wide, {"op": "sum", "of": "hook_embed"}),
            (wide, {"op": "sum", "of": [embed, pattern]}),
            (["T", 301], {"op": "sum", "of": [embed]}),
            (wide, {"op": "gelu_new", "of": [embed, embed]}),
            (wide, {"op": "layernorm", "of": [embed]}),
            (wide, {"op": "layernorm", "of": [embed], "epsilon": "1"}),
            (wide, {"op": "layernorm_scale", "of": [embed], "epsilon": 1}),
            (square, {"op": "layernorm", "of": [pattern], "epsilon": 1}),
            (square, {"op": "attention_scores", "of": [embed, embed], "divisor": 1}),
            (wide, {"op": "causal_softmax", "of": [embed]}),
            (["T", 4, 300], {"op": "attention_mix", "of": [pattern, embed]}),
            (["T", 4, 300], {"op": "repeat_heads", "of": [embed], "heads": 5}),
            (["T", 4, 300], {"op": "repeat_heads", "of": [embed]}),
            (["T", 0, 300], {"op": "repeat_heads", "of": [embed], "heads": 0}),
            (wide, {"op": "layernorm", "of": [embed], "epsilon": 1e300}),
            (["T", "T"], {"op": "layernorm", "of": ["square"], "epsilon": 1}),
            (["T", 2, "T"], {"op": "repeat_heads", "of": ["square"], "heads": 2}),
        ):
            with self.subTest(recipe):
                self.refuses("hook \\d+ \\(last\\)", plan=last(shape, **recipe))

    def test_a_recipe_of_too_many_steps(self):
        def doubled(plan):
            source = "hook_embed"
            for number in range(64):
                name = f"double{number}"
                recipe = {"op": "sum", "of": [source, source]}
                plan["hooks"].append({"name": name, "shape": ["T", 300], "recipe": recipe})
                source = name

        self.refuses("4096 steps", plan=doubled)

    def test_arrays_above_the_limit_are_refused_unread(self):
        copy = CacheCopy(self)

        def change(plan):
            plan["hooks"][0]["shape"] = ["T", 1 << 29]

        copy.change_plan(change)
        hook = patchbay.open(copy.path).hooks["hook_embed"]
        self.assertEqual(hook.shape_for(1), (1, 1 << 29))
        with self.assertRaisesRegex(CacheError, "2 GiB"):
            hook.shape_for(2)


if __name__ == "__main__":
    unittest.main()
