"""The numbers of tools/gpt2_small_ioi.json for any model, by TransformerLens."""

import json

import torch
from patchbay_compare import lens
from transformers import AutoTokenizer

BLOCK_SWEEPS = ["resid_pre", "attn_out", "mlp_out"]
HEAD_SWEEPS = ["z", "q", "k", "v", "pattern"]


def numbers(directory: str, prompts: list[str]) -> str:
    """JSON with the keys of the published file, but for attribution patching and head scores.

    prompts: pairs of neighbours, each with two names, of which one is said twice and the other is the
    answer.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = lens.hooked(lens.load_gpt2(directory), "transformerlens")
    tokens = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text)] for text in prompts])
    answers = [answer_tokens(tokenizer, a, b) for a, b in zip(prompts, swapped(prompts))]
    pairs = lens.PairBatch(tokens, tokens[swapped(range(len(prompts)))], torch.tensor(answers))
    with torch.no_grad():
        logits, cache = model.run_with_cache(pairs.clean)
        clean = pairs.logit_diff(logits)
        corrupted = pairs.logit_diff(model(pairs.corrupted))
    gap = (clean.mean() - corrupted.mean()).item()

    def effects(name: str):
        patched = torch.tensor(sweep(model, pairs, name, cache)).mean(0)
        return ((patched - corrupted.mean()) / gap).tolist()

    patches = {f"{name}[layer][pos]": effects(name) for name in BLOCK_SWEEPS}
    for name in HEAD_SWEEPS:
        patches[f"head_{name}_all_pos[layer][head]"] = effects(name)
    for name in HEAD_SWEEPS:
        by_pos = effects(f"{name}_by_pos")  # [layer][pos][head]
        patches[f"head_{name}_by_pos[layer*12+head][pos]"] = [
            list(column) for layer in by_pos for column in zip(*layer)
        ]
    attribution = logit_attribution(cache, pairs)
    layer, head = min(9, model.cfg.n_layers - 1), min(9, model.cfg.n_heads - 1)
    result = {
        "provenance": {"source": "TransformerLens 2.18, tools/verify_gpt2_small.py --reference"},
        "prompts": prompts,
        "answer_tokens": answers,
        "per_prompt_logit_diff": clean.tolist(),
        "clean_logit_diff": clean.mean().item(),
        "corrupted_logit_diff": corrupted.mean().item(),
        "act_patch": patches,
        "logit_attribution": attribution,
        f"ablate_{layer}.{head}": ablation(model, pairs, layer, head, cache, clean)
        | direct(attribution, layer, head, clean.mean().item()),
    }
    return json.dumps(rounded(result), indent=1) + "\n"


def swapped(items) -> list:
    items = list(items)
    return [items[index ^ 1] for index in range(len(items))]


def answer_tokens(tokenizer, prompt: str, partner: str) -> list[int]:
    """The name that the partner says in place of this prompt's, and this prompt's."""
    mine, other = tokenizer.encode(prompt), tokenizer.encode(partner)
    changed = [(a, b) for a, b in zip(mine, other) if a != b]
    if len(mine) != len(other) or len(changed) != 1:
        raise SystemExit(f"{prompt!r} and {partner!r} do not differ in one token")
    return [changed[0][1], changed[0][0]]


def sweep(model, pairs, name: str, cache):
    """Patched logit differences by pair [B, *axes]; `HOOK_by_pos` is [B, L, T, H]."""
    hook = name.removesuffix("_by_pos")
    if name.endswith("_by_pos") and name not in lens.SWEEPS:
        setter = lens.patching.layer_pos_head_vector_patch_setter
        axes = ("layer", "pos", "head")
        if hook == "pattern":
            setter = lens.patching.layer_head_pos_pattern_patch_setter
            axes = ("layer", "head", "dest_pos")
        lens.SWEEPS[name] = lens.Sweep(hook, axes, setter)
    values = lens.sweep(model, pairs, name, "denoise", cache)
    # TransformerLens has the head of a pattern before its position.
    return values.swapaxes(2, 3) if name == "pattern_by_pos" else values


@torch.no_grad()
def ablation(model, pairs, layer: int, head: int, cache, clean) -> dict:
    """The head's z set to zero at the last position: what the others say then, and the scales of the
    last LayerNorm with and without it."""

    def zero(z, hook):
        z[:, -1, head] = 0

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]):
        logits, ablated = model.run_with_cache(pairs.clean)
    before, after = (run["ln_final.hook_scale"][:, -1, 0] for run in (cache, ablated))
    return {
        "note": f"z of head {layer}.{head} is zero at the last position",
        "original": clean.mean().item(),
        "post_ablation": pairs.logit_diff(logits).mean().item(),
        "ln_final_scale_last_pos_original": before.tolist(),
        "ln_final_scale_last_pos_ablated": after.tolist(),
        "mean_scale_ratio": (before / after).mean().item(),
        "logit_attribution[layer][head]": by_head(ablated, pairs).tolist(),
    }


def mean_attribution(cache, pairs, stack) -> torch.Tensor:
    """Mean attribution of each part of a stack [part, B, D] to the logit difference."""
    right, wrong = pairs.answers.unbind(-1)
    return cache.logit_attrs(stack, tokens=right, incorrect_tokens=wrong, pos_slice=-1).mean(-1)


def by_head(cache, pairs) -> torch.Tensor:
    config = cache.model.cfg
    stack = cache.stack_head_results(-1, pos_slice=-1)
    return mean_attribution(cache, pairs, stack).view(config.n_layers, config.n_heads)


@torch.no_grad()
def logit_attribution(cache, pairs) -> dict:
    """Mean attributions to the logit difference at the last position, LayerNorm's scale the run's."""
    streams, names = cache.accumulated_resid(-1, incl_mid=True, pos_slice=-1, return_labels=True)
    layers, parts = cache.decompose_resid(-1, pos_slice=-1, return_labels=True)
    return {
        "accumulated_resid_labels": ",".join(names),
        "accumulated_resid": mean_attribution(cache, pairs, streams).tolist(),
        "per_layer_labels": ",".join(parts),
        "per_layer": mean_attribution(cache, pairs, layers).tolist(),
        "per_head[layer][head]": by_head(cache, pairs).tolist(),
    }


def direct(attribution: dict, layer: int, head: int, clean: float) -> dict:
    """What a head says directly, and what would be left without it if nothing reacted."""
    says = attribution["per_head[layer][head]"][layer][head]
    return {f"DLA_{layer}.{head}": says, "naive_prediction": clean - says}


def rounded(value):
    """Six decimals, as the published numbers have."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {key: rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
