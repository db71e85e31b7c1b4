"""Analyses that need no forward pass, beside TransformerLens doing them on activations in memory."""

import logging
import statistics
import time

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, difference
from patchbay_compare.patchbay import write_pairs

# What analyze is given, and the hooks that it reads.
ANALYSES = {
    "lens": (["lens"], "resid_pre,resid_mid,resid_post-1"),
    "layer": (
        ["attribution"],
        "embed,pos_embed,attn_out,mlp_out,resid_post-1,ln_final.hook_scale",
    ),
    "head": (["attribution", "--by", "head"], "z,resid_post-1,ln_final.hook_scale"),
    "neuron": (["attribution", "--by", "neuron"], "mlp_post,resid_post-1,ln_final.hook_scale"),
}


class Readings:
    """Means over prompts at the last position, [rows], from caches of batches."""

    def __init__(self, hooked, tokens, answers, batch: int):
        self.hooked = hooked
        self.batches = [
            (hooked.run_with_cache(some)[1], *right.unbind(-1))
            for some, right in zip(tokens.split(batch), answers.split(batch))
        ]

    def mean(self, what: str) -> torch.Tensor:
        rows = [getattr(self, what)(*batch) for batch in self.batches]
        return torch.cat(rows, -1).mean(-1)

    def forget_results(self):
        """What `stack_head_results` has put into a cache is not to be there the next time."""
        for cache, _, _ in self.batches:
            for name in [name for name in cache.cache_dict if name.endswith("hook_result")]:
                del cache.cache_dict[name]

    def directions(self, right, wrong):
        return self.hooked.W_U.T[right] - self.hooked.W_U.T[wrong]

    def lens(self, cache, right, wrong):
        normal = self.hooked.ln_final(cache.accumulated_resid(incl_mid=True, pos_slice=-1))
        bias = self.hooked.b_U[right] - self.hooked.b_U[wrong]
        return (normal * self.directions(right, wrong)).sum(-1) + bias

    def layer(self, cache, right, wrong):
        stack = cache.decompose_resid(pos_slice=-1)
        return cache.logit_attrs(stack, right, wrong, pos_slice=-1)

    def head(self, cache, right, wrong):
        stack = cache.stack_head_results(pos_slice=-1, incl_remainder=True)
        return cache.logit_attrs(stack, right, wrong, pos_slice=-1)

    def neuron(self, cache, right, wrong):
        """By hand: `stack_neuron_results` needs [L·M, batch, D], 113 MB a prompt of GPT-2 small."""
        directions = self.directions(right, wrong)
        directions = directions - directions.mean(-1, keepdim=True)
        scale = cache["ln_final.hook_scale"][:, -1]
        rows = [
            (cache["post", layer][:, -1] / scale * (directions @ self.hooked.W_out[layer].T)).T
            for layer in range(self.hooked.cfg.n_layers)
        ]
        whole = cache["resid_post", -1][:, -1] / scale
        rest = (whole * directions).sum(-1) - sum(some.sum(0) for some in rows)
        return torch.cat([*rows, rest[None]])


@torch.no_grad()
def compare_readings(bench: Bench, weights: str, count: int, length: int, batch: int, repeats: int):
    """Prompts a second of the reading itself: ours from a cache in the scratch folder, checked, beside
    theirs from tensors, and beside our store reading the same hooks and doing nothing with them."""
    pairs = bench.prompts.pairs(count, length, length // 2)
    for pair in pairs:
        pair.answers = tuple(map(int, bench.prompts.random.choice(bench.prompts.vocabulary, 2, False)))
    file, cache = bench.folder / "readings.tsv", bench.folder / f"readings-{weights}"
    write_pairs(file, bench.prompts, pairs)
    bench.patchbay.capture(file, cache, weights)
    hooked = lens.hooked(bench.model, weights)
    logging.getLogger().setLevel(logging.ERROR)  # stack_head_results says each time what it computes
    theirs = Readings(
        hooked,
        torch.tensor([pair.tokens[0] for pair in pairs]),
        torch.tensor([pair.answers for pair in pairs]),
        batch,
    )

    print(f"\n{weights} weights: {count} prompts of {length} tokens, logit difference at the last "
          f"position, medians of {repeats}; prompts a second")  # fmt: skip
    print(f"  {'':10}{'TransformerLens':>16}{'ours':>10}{'ratio':>8}{'store alone':>14}"
          f"{'share':>8}{'|difference|':>14}")  # fmt: skip
    for name, (arguments, hooks) in ANALYSES.items():
        rates: dict[str, list[float]] = {"theirs": [], "ours": [], "store": []}
        for _ in range(repeats):
            start = time.perf_counter()
            expected = theirs.mean(name).numpy()
            rates["theirs"].append(count / (time.perf_counter() - start))
            theirs.forget_results()
            report = bench.patchbay.read(cache, *arguments)
            rates["ours"].append(count / report["timing"]["read_s"])
            rates["store"].append(bench.patchbay.store_rate(cache, hooks))
        found = np.array(report["tables"][0]["mean"], np.float64)
        error = difference(found, expected)[0]
        bench.check(f"{weights} {name}", error)
        middle = {what: statistics.median(some) for what, some in rates.items()}
        print(f"  {name:10}{middle['theirs']:16,.0f}{middle['ours']:10,.0f}"
              f"{middle['ours'] / middle['theirs']:8.2f}{middle['store']:14,.0f}"
              f"{middle['ours'] / middle['store']:8.2f}{error:14.1e}")  # fmt: skip
