#!/usr/bin/env python3
"""Writes Tests/ReadingTests/Fixtures: what TransformerLens reads from the activations of the small
random models that tools/make_reference.py made. Every number is seeded; no network is used.

    /path/to/venv/bin/python tools/make_reading_reference.py     (torch, transformer-lens 2.18)

NAME-WEIGHTS.safetensors, NAME tiny or odd, WEIGHTS transformerlens or raw (folded weights, or the
checkpoint's); all float32 unless said. For the prompts p0, p1, p2, of their own lengths T:

    p0/tokens                   [T] int32
    p0/answers                  [2] int32: right, wrong
    p0/lens/logit-diff          [2L + 1, T]: of unembed(ln_final(accumulated_resid(incl_mid)))
    p0/lens/logit, prob, logprob, rank, kl      the same; kl from the last row
    p0/lens/top                 [2L + 1, 5] int32: tokens of the largest logits, last position
    p0/logit_diff, p0/logit     [T]: of the model's own logits
    p0/layer, accumulated       [components, T]: logit_attrs of the answers' difference
    p0/head, neuron, full, full_mlp
    p0/layer/logit, …           the same of the right answer alone
    p0/detect/mul/previous_token_head, …        [L, H]: detect_head's scores
    p0/detect/mul-first-current/…, abs/…, abs-first-current/…   exclude_bos, exclude_current_token
    p0/written, p0/attention    [heads of all layers, T]: of the last position, each head's output along
                                the unembedding of the token at each position, and its attention there
    p0/ablated/logit_diff, scale                the run with the first layer's last head zeroed at the last
    p0/ablated/head, layer                      position: [1], ln_final.hook_scale there, components there
    r0/tokens, r0/repeated/prev_token, …        prompts that are repeated sequences
    custom                      [T of p1, T of p1] a detection pattern; p1/detect/mul/custom, abs/custom
    labels                      in NAME-labels.json: TransformerLens's names of the components

With raw weights TransformerLens's logit_attrs passes over ln_final's weight and bias. What is
written here has the weight applied to its stack, so that components sum to the logit difference;
the plain numbers stand in p0/layer/unweighted.
"""

import json
from pathlib import Path

import numpy as np
import torch
from make_reference import random_tokens, save
from patchbay_compare import lens
from transformer_lens import head_detector
from transformers import logging

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "Tests/ModelTests/Fixtures"
FIXTURES = ROOT / "Tests/ReadingTests/Fixtures"
BUDGET = 1_500_000  # bytes in all

KINDS = ("previous_token_head", "duplicate_token_head", "induction_head")


def components(cache, hooked, split):
    """A stack [components, T, D] of one prompt and its labels."""
    if split == "layer":
        return cache.decompose_resid(return_labels=True)
    if split == "accumulated":
        return cache.accumulated_resid(incl_mid=True, return_labels=True)
    if split == "head":
        return cache.stack_head_results(incl_remainder=True, return_labels=True)
    if split == "neuron":
        return cache.stack_neuron_results(None, incl_remainder=True, return_labels=True)
    return cache.get_full_resid_decomposition(
        expand_neurons=split == "full", return_labels=True
    )


def attributions(cache, hooked, stack, right, wrong=None):
    """logit_attrs [components, T]; with ln_final's weight where it is not folded."""
    plain = cache.logit_attrs(stack, right, wrong, has_batch_dim=False)
    weight = getattr(hooked.ln_final, "w", None)
    if weight is None:
        return plain, plain
    scaled = cache.apply_ln_to_stack(stack, has_batch_dim=False) * weight
    direction = hooked.W_U[:, right] - (0 if wrong is None else hooked.W_U[:, wrong])
    return (scaled * direction).sum(-1), plain


def write_lens(arrays, key, cache, hooked, right, wrong):
    stack = cache.accumulated_resid(incl_mid=True)
    # ln_final wants batch, position, width: the streams are the batch.
    logits = hooked.unembed(hooked.ln_final(stack)).double()
    log_p = torch.log_softmax(logits, -1)
    final = log_p[-1:]
    found = {
        "logit-diff": logits[..., right] - logits[..., wrong],
        "logit": logits[..., right],
        "prob": log_p[..., right].exp(),
        "logprob": log_p[..., right],
        "loss": -log_p[..., right],
        "rank": (logits > logits[..., right : right + 1]).sum(-1),
        "kl": (final.exp() * (final - log_p)).sum(-1),
    }
    for name, values in found.items():
        arrays[f"{key}/lens/{name}"] = values.float().numpy()
    arrays[f"{key}/lens/top"] = logits[:, -1].topk(5, -1).indices.numpy().astype(np.int32)


def detection_scores(arrays, key, cache, hooked, tokens, patterns):
    for measure in ("mul", "abs"):
        for name, options in (("", {}), ("-first-current", dict(
            exclude_bos=True, exclude_current_token=True))):  # fmt: skip
            for kind, pattern in patterns.items():
                scores = np.zeros((hooked.cfg.n_layers, hooked.cfg.n_heads), np.float32)
                for layer in range(hooked.cfg.n_layers):
                    for head in range(hooked.cfg.n_heads):
                        scores[layer, head] = (
                            head_detector.compute_head_attention_similarity_score(
                                cache["pattern", layer][head].clone(),
                                pattern,
                                error_measure=measure,
                                **(options or dict(
                                    exclude_bos=False, exclude_current_token=False)),
                            )
                        )  # fmt: skip
                arrays[f"{key}/detect/{measure}{name}/{kind}"] = scores


def write_written(arrays, key, cache, hooked, tokens):
    """The head's output is centred and weighted as ln_final does it, but not divided by its scale."""
    weight = getattr(hooked.ln_final, "w", 1.0)
    written, attention = [], []
    for layer in range(hooked.cfg.n_layers):
        for head in range(hooked.cfg.n_heads):
            output = cache["z", layer][-1, head] @ hooked.W_O[layer, head]
            written.append(((output - output.mean()) * weight) @ hooked.W_U[:, tokens])
            attention.append(cache["pattern", layer][head, -1])
    arrays[f"{key}/written"] = torch.stack(written).numpy()
    arrays[f"{key}/attention"] = torch.stack(attention).numpy()


def write_ablated(arrays, key, hooked, tokens, right, wrong):
    """Exploratory Analysis demo, *Copying and backup heads*: run_with_cache under a hook."""

    def zero(z, hook):
        z[:, -1, hooked.cfg.n_heads - 1] = 0.0
        return z

    with hooked.hooks(fwd_hooks=[("blocks.0.attn.hook_z", zero)]):
        logits, cache = hooked.run_with_cache(torch.tensor([tokens]), remove_batch_dim=True)
    cache.compute_head_results()
    arrays[f"{key}/ablated/logit_diff"] = (logits[0, -1:, right] - logits[0, -1:, wrong]).numpy()
    arrays[f"{key}/ablated/scale"] = cache["ln_final.hook_scale"][-1].numpy()
    for split in ("head", "layer"):
        stack, _ = components(cache, hooked, split)
        found, _ = attributions(cache, hooked, stack, right, wrong)
        arrays[f"{key}/ablated/{split}"] = found[:, -1].numpy()


def patterns_of(tokens):
    return {
        kind: getattr(head_detector, f"get_{kind}_detection_pattern")(torch.tensor([tokens]))
        for kind in KINDS
    }


def repeated_scores(cache, hooked, first, period):
    """The diagonals of TransformerLens's Exploratory Analysis demo, behind `first` tokens."""
    found = {}
    for name, offset in (("prev_token", 1), ("duplicate_token", period), ("induction", period - 1)):
        found[name] = np.stack([
            cache["pattern", layer][:, first:, first:]
            .diagonal(-offset, dim1=-2, dim2=-1).mean(-1).numpy()
            for layer in range(hooked.cfg.n_layers)
        ])  # fmt: skip
    return found


@torch.no_grad()
def write(name: str, weights: str, seed: int):
    hooked = lens.hooked(lens.load_gpt2(MODELS / name), weights)
    vocabulary, arrays, labels = hooked.cfg.d_vocab, {}, {}
    for index, length in enumerate((2, 6, 11)):
        tokens, key = random_tokens(seed + index, length, vocabulary), f"p{index}"
        tokens[-1] = tokens[0]  # something to find again
        if length > 8:
            tokens[4:7] = tokens[1:4]
        logits, cache = hooked.run_with_cache(torch.tensor([tokens]), remove_batch_dim=True)
        cache.compute_head_results()
        right, wrong = int(logits[0, -1].argmax()), int(logits[0, -1].argmin())
        arrays[f"{key}/tokens"] = np.array(tokens, np.int32)
        arrays[f"{key}/answers"] = np.array([right, wrong], np.int32)
        arrays[f"{key}/logit_diff"] = (logits[0, :, right] - logits[0, :, wrong]).numpy()
        arrays[f"{key}/logit"] = logits[0, :, right].numpy()
        write_lens(arrays, key, cache, hooked, right, wrong)
        for split in ("layer", "accumulated", "head", "neuron", "full", "full_mlp"):
            stack, labels[split] = components(cache, hooked, split)
            found, plain = attributions(cache, hooked, stack, right, wrong)
            # Of neurons the last position is enough.
            few = slice(-1, None) if split in ("neuron", "full") else slice(None)
            arrays[f"{key}/{split}"] = found[:, few].numpy()
            if split == "layer":
                arrays[f"{key}/layer/unweighted"] = plain.numpy()
                arrays[f"{key}/layer/logit"] = attributions(cache, hooked, stack, right)[0].numpy()
                sums = found.sum(0) - arrays[f"{key}/logit_diff"]
                assert np.ptp(sums.numpy()) < 2e-4, "layers and a constant are the logits"
        write_written(arrays, key, cache, hooked, tokens)
        write_ablated(arrays, key, hooked, tokens, right, wrong)
        detected = patterns_of(tokens)
        if index == 1:
            custom = np.tril(np.random.default_rng(seed).random((length, length)) < 0.4)
            arrays["custom"] = custom.astype(np.float32)
            detected["custom"] = torch.tensor(arrays["custom"])
        detection_scores(arrays, key, cache, hooked, tokens, detected)
    for index, (first, period) in enumerate(((0, 4), (1, 5))):
        half = random_tokens(seed + 7 + index, period, vocabulary)
        tokens = [vocabulary - 1] * first + half + half
        _, cache = hooked.run_with_cache(torch.tensor([tokens]), remove_batch_dim=True)
        arrays[f"r{index}/tokens"] = np.array(tokens, np.int32)
        for score, values in repeated_scores(cache, hooked, first, period).items():
            arrays[f"r{index}/repeated/{score}"] = values
    save(FIXTURES / f"{name}-{weights}.safetensors", arrays)
    text = json.dumps(labels, separators=(",", ":"))
    (FIXTURES / f"{name}-labels.json").write_text(text + "\n")


def main():
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name in ("tiny", "odd"):
        for weights in ("transformerlens", "raw"):
            write(name, weights, seed=50)
    sizes = {path: path.stat().st_size for path in sorted(FIXTURES.iterdir())}
    for path, size in sizes.items():
        print(f"{size:9,}  {path.relative_to(FIXTURES)}")
    assert sum(sizes.values()) < BUDGET


if __name__ == "__main__":
    main()
