"""Short names, and ActivationCache where TransformerLens is installed."""

import unittest

import numpy as np

import support
from patchbay import names

import patchbay

HOOKS = {
    name: None
    for layer in range(3)
    for name in (
        f"blocks.{layer}.hook_resid_pre",
        f"blocks.{layer}.hook_q_input",
        f"blocks.{layer}.hook_mlp_out",
        f"blocks.{layer}.ln1.hook_scale",
        f"blocks.{layer}.ln2.hook_normalized",
        f"blocks.{layer}.attn.hook_q",
        f"blocks.{layer}.attn.hook_attn_scores",
        f"blocks.{layer}.attn.hook_pattern",
        f"blocks.{layer}.mlp.hook_pre",
    )
}
HOOKS.update(dict.fromkeys(["hook_embed", "hook_unembed", "ln_final.hook_scale"]))


class NamesTest(unittest.TestCase):
    def test_names_of_get_act_name(self):
        for key, name in {
            "blocks.1.attn.hook_q": "blocks.1.attn.hook_q",
            ("resid_pre", 1): "blocks.1.hook_resid_pre",
            ("resid_pre", -1): "blocks.2.hook_resid_pre",
            ("resid_pre", np.int64(1)): "blocks.1.hook_resid_pre",
            "resid_pre2": "blocks.2.hook_resid_pre",
            "resid_pre-1": "blocks.2.hook_resid_pre",
            ("q", 0): "blocks.0.attn.hook_q",
            "query0": "blocks.0.attn.hook_q",
            "q1": "blocks.1.attn.hook_q",
            ("attn", 2): "blocks.2.attn.hook_pattern",
            ("attn_scores", 2): "blocks.2.attn.hook_attn_scores",
            ("attn_logits", 2): "blocks.2.attn.hook_attn_scores",
            ("pre", 2): "blocks.2.mlp.hook_pre",
            ("mlp_pre", 2): "blocks.2.mlp.hook_pre",
            ("mlp_out", 0): "blocks.0.hook_mlp_out",
            ("scale", 0, "ln1"): "blocks.0.ln1.hook_scale",
            "scale0ln1": "blocks.0.ln1.hook_scale",
            ("normalized", 1, "ln2"): "blocks.1.ln2.hook_normalized",
            ("q_input", 1): "blocks.1.hook_q_input",
            "blocks.1.attn.hook_q_input": "blocks.1.hook_q_input",
            "scale": "ln_final.hook_scale",
            ("scale",): "ln_final.hook_scale",
            "embed": "hook_embed",
            "logits": "hook_unembed",
        }.items():
            self.assertEqual(names.resolve(key, HOOKS, 3), name, key)

    def test_others_are_key_errors(self):
        for key in (
            ("resid_pre", 3),
            ("resid_pre", -4),
            ("resid_pre", True),
            ("resid_pre", "1"),
            ("resid_pre", 1, 2),
            ("resid_pre", 1, None, None),
            (1, 1),
            (),
            "resid_pre",
            "rezid_pre1",
            "blocks.3.hook_resid_pre",
        ):
            with self.assertRaises(KeyError):
                names.resolve(key, HOOKS, 3)
        with self.assertRaisesRegex(KeyError, "nearest: blocks.1.hook_resid_pre"):
            names.resolve("blocks.1.hook_rezid_pre", HOOKS, 3)


class ActivationCacheTest(unittest.TestCase):
    def test_tensors_with_and_without_a_batch_axis(self):
        try:
            import transformer_lens  # noqa: F401
        except ImportError:
            self.skipTest("TransformerLens is not installed")
        cache = patchbay.open(support.GOLDEN / "format-2-f32")
        one = cache[0].to_activation_cache()
        two = cache.to_activation_cache([0, 0])
        for hook, array in cache[0].items():
            self.assertEqual(support.bits(one[hook].numpy()), support.bits(array))
            self.assertEqual(two[hook].shape, (2, *array.shape))
            self.assertEqual(support.bits(two[hook][1].numpy()), support.bits(array))
        self.assertEqual((one.has_batch_dim, two.has_batch_dim), (False, True))
        with self.assertRaises(ValueError):
            cache.to_activation_cache([0, 1])


if __name__ == "__main__":
    unittest.main()
