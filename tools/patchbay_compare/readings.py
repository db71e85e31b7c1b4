"""Analyses that need no forward pass, beside TransformerLens doing them on activations in memory."""

import contextlib
import statistics
import time
from typing import NamedTuple

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, difference
from patchbay_compare.patchbay import write_pairs
from transformer_lens import head_detector

# What analyze is given, and the hooks that it reads.
ANALYSES = {
    "lens": (["lens"], "resid_pre,resid_mid,resid_post-1"),
    "layer": (
        ["attribution"],
        "embed,pos_embed,attn_out,mlp_out,resid_post-1,ln_final.hook_scale",
    ),
    "head": (["attribution", "--by", "head"], "z,resid_post-1,ln_final.hook_scale"),
    "neuron": (["attribution", "--by", "neuron"], "mlp_post,resid_post-1,ln_final.hook_scale"),
    "detect": (["attention", "--detect", "all"], "pattern"),
    "stats": (["stats", "--hooks", "resid_pre", "--pca", "4"], "resid_pre"),
}
DETECTED = ("previous_token_head", "duplicate_token_head", "induction_head")


class Batch(NamedTuple):
    """Activations of some prompts, and their answers."""

    cache: "transformer_lens.ActivationCache"  # noqa: F821
    tokens: torch.Tensor
    right: torch.Tensor
    wrong: torch.Tensor


class Readings:
    """Means over prompts at the last position, [rows], from caches of batches."""

    def __init__(self, hooked, tokens, answers, batch: int):
        self.hooked = hooked
        self.batches = [
            Batch(hooked.run_with_cache(some)[1], some, *right.unbind(-1))
            for some, right in zip(tokens.split(batch), answers.split(batch))
        ]

    def table(self, what: str) -> torch.Tensor:
        if what == "stats":
            return self.stats()
        rows = [getattr(self, what)(batch) for batch in self.batches]
        return torch.cat(rows, -1).mean(-1)

    def forget_results(self):
        """What `stack_head_results` has put into a cache is not to be there the next time."""
        for batch in self.batches:
            made = [name for name in batch.cache.cache_dict if name.endswith("hook_result")]
            for name in made:
                del batch.cache.cache_dict[name]

    def directions(self, batch: Batch):
        return self.hooked.W_U.T[batch.right] - self.hooked.W_U.T[batch.wrong]

    def lens(self, batch: Batch):
        normal = self.hooked.ln_final(batch.cache.accumulated_resid(incl_mid=True, pos_slice=-1))
        bias = self.hooked.b_U[batch.right] - self.hooked.b_U[batch.wrong]
        return (normal * self.directions(batch)).sum(-1) + bias

    def layer(self, batch: Batch):
        stack = batch.cache.decompose_resid(pos_slice=-1)
        return batch.cache.logit_attrs(stack, batch.right, batch.wrong, pos_slice=-1)

    def head(self, batch: Batch):
        with contextlib.redirect_stdout(None):  # it says each time what it computes
            stack = batch.cache.stack_head_results(pos_slice=-1, incl_remainder=True)
        return batch.cache.logit_attrs(stack, batch.right, batch.wrong, pos_slice=-1)

    def neuron(self, batch: Batch):
        """By hand: `stack_neuron_results` needs [L·M, batch, D], 113 MB a prompt of GPT-2 small."""
        directions = self.directions(batch)
        directions = directions - directions.mean(-1, keepdim=True)
        scale = batch.cache["ln_final.hook_scale"][:, -1]
        rows = [
            (batch.cache["post", layer][:, -1] / scale
             * (directions @ self.hooked.W_out[layer].T)).T
            for layer in range(self.hooked.cfg.n_layers)
        ]  # fmt: skip
        whole = batch.cache["resid_post", -1][:, -1] / scale
        rest = (whole * directions).sum(-1) - sum(some.sum(0) for some in rows)
        return torch.cat([*rows, rest[None]])

    def detect(self, batch: Batch):
        """The scores of `detect_head`, of patterns that are there already; by head and kind."""
        config = self.hooked.cfg
        scores = torch.empty(config.n_layers, config.n_heads, len(DETECTED), len(batch.tokens))
        for prompt, tokens in enumerate(batch.tokens):
            for kind, name in enumerate(DETECTED):
                wanted = getattr(head_detector, f"get_{name}_detection_pattern")(tokens[None])
                for layer in range(config.n_layers):
                    patterns = batch.cache["pattern", layer][prompt]
                    for head, pattern in enumerate(patterns):
                        scores[layer, head, kind, prompt] = (
                            head_detector.compute_head_attention_similarity_score(
                                pattern, wanted, error_measure="mul", exclude_bos=False,
                                exclude_current_token=False)
                        )  # fmt: skip
        return scores.flatten(0, 2)

    def stats(self):
        """By layer: the norm of the mean of resid_pre, the mean norm, and the largest eigenvalues of the
        covariance. There is no function for it; this is what one writes."""
        numbers = []
        for layer in range(self.hooked.cfg.n_layers):
            rows = torch.cat([batch.cache["resid_pre", layer][:, -1] for batch in self.batches])
            rows = rows.double()
            values, _ = torch.linalg.eigh(torch.cov(rows.T))
            numbers += [rows.mean(0).norm(), rows.norm(dim=-1).mean(), *values[-4:].flip(0)]
        return torch.stack(numbers)


def stats_numbers(report: dict) -> list[float]:
    """The same from ours."""
    return [
        number
        for hook in report["hooks"]
        for number in (hook["norm_of_mean"], hook["mean_norm"], *hook["direction_variances"])
    ]


@torch.no_grad()
def compare_readings(
    bench: Bench, weights: str, count: int, length: int, batch: int, repeats: int, names
):
    """Prompts a second of the reading itself: ours from a cache in the scratch folder, checked, beside
    theirs from tensors, and beside our store reading the same hooks and doing nothing with them."""
    pairs = bench.prompts.pairs(count, length, length // 2)
    for pair in pairs:
        pair.answers = tuple(map(int, bench.prompts.random.choice(bench.prompts.vocabulary, 2, False)))
    file, cache = bench.folder / "readings.tsv", bench.folder / f"readings-{weights}"
    write_pairs(file, bench.prompts, pairs)
    bench.patchbay.capture(file, cache, weights)
    hooked = lens.hooked(bench.model, weights)
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
    for name in names:
        arguments, hooks = ANALYSES[name]
        rates: dict[str, list[float]] = {"theirs": [], "ours": [], "store": []}
        for _ in range(repeats):
            start = time.perf_counter()
            expected = theirs.table(name).numpy()
            rates["theirs"].append(count / (time.perf_counter() - start))
            theirs.forget_results()
            report = bench.patchbay.read(cache, *arguments)
            rates["ours"].append(count / report["timing"]["read_s"])
            rates["store"].append(bench.patchbay.store_rate(cache, hooks))
        numbers = stats_numbers(report) if name == "stats" else report["tables"][0]["mean"]
        found = np.array(numbers, np.float64)
        error = difference(found, expected)[0]
        bench.check(f"{weights} {name}", error)
        middle = {what: statistics.median(some) for what, some in rates.items()}
        print(f"  {name:10}{middle['theirs']:16,.0f}{middle['ours']:10,.0f}"
              f"{middle['ours'] / middle['theirs']:8.2f}{middle['store']:14,.0f}"
              f"{middle['ours'] / middle['store']:8.2f}{error:14.1e}")  # fmt: skip
