"""TransformerLens's side: random GPT-2 models, loading without a hub, patch sweeps."""

from dataclasses import dataclass
from math import sqrt
from typing import Callable

import numpy as np
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig, patching
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2Config, GPT2LMHeadModel

patching.tqdm = lambda rows, **_: rows  # one progress bar a sweep is too many


def random_gpt2(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 in which every parameter matters and attention is neither uniform nor one-hot.

    Weights are scaled by their fan-in, so that any width behaves alike: attention scores
    have a standard deviation of about 1.5 and each layer adds about half of what is there.
    """
    config._attn_implementation = "eager"
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    gains = {"c_attn": 1.2, "attn.c_proj": 0.7, "c_fc": 1.0, "mlp.c_proj": 0.9}
    fixed = {name: gain / sqrt(config.n_embd) for name, gain in
             (("wte", 3), ("wpe", 1.5), ("lm_head", 3))}  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_layer_norm = any(part.startswith("ln_") for part in name.split("."))
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif is_layer_norm:
                parameter.copy_(1 + 0.2 * noise)
            else:
                scales = fixed | {k: g / sqrt(parameter.shape[0]) for k, g in gains.items()}
                parameter.copy_(next(s for k, s in scales.items() if k in name) * noise)
    model.tie_weights()
    return model


def load_gpt2(folder) -> GPT2LMHeadModel:
    """A model directory in float32. Eager attention: the others ignore some scaling options."""
    return GPT2LMHeadModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def hooked(model: GPT2LMHeadModel, weights: str, refactor: bool = False) -> HookedTransformer:
    """A HookedTransformer of a Hugging Face GPT-2, float32, on the CPU.

    weights: "transformerlens" processes as from_pretrained does by default, "raw" as
    from_pretrained_no_processing does.
    """
    processed = weights == "transformerlens"
    hf = model.config
    config = HookedTransformerConfig(
        n_layers=hf.n_layer,
        d_model=hf.n_embd,
        n_ctx=hf.n_positions,
        n_heads=hf.n_head,
        d_head=hf.n_embd // hf.n_head,
        d_mlp=hf.n_inner or 4 * hf.n_embd,
        d_vocab=hf.vocab_size,
        eps=hf.layer_norm_epsilon,
        act_fn=hf.activation_function,
        use_attn_scale=hf.scale_attn_weights,
        scale_attn_by_inverse_layer_idx=hf.scale_attn_by_inverse_layer_idx,
        normalization_type="LNPre" if processed else "LN",
        original_architecture="GPT2LMHeadModel",
        init_weights=False,
        device="cpu",
    )
    lens = HookedTransformer(config, move_to_device=False)
    lens.load_and_process_state_dict(
        convert_gpt2_weights(model, config),
        fold_ln=processed,
        center_writing_weights=processed,
        center_unembed=processed,
        fold_value_biases=processed,
        refactor_factored_attn_matrices=refactor,
    )
    return lens.eval()


@torch.no_grad()
def run(lens: HookedTransformer, tokens: list[int]) -> dict[str, np.ndarray]:
    """Every hook of run_with_cache without the batch axis, and `logits` [T, V]."""
    logits, cache = lens.run_with_cache(torch.tensor([tokens]))
    arrays = {name: array[0].numpy().copy() for name, array in cache.items()}
    arrays["logits"] = logits[0].numpy().copy()
    return arrays


def _replace_all(receiving, index, source):
    return source


@dataclass(frozen=True)
class Sweep:
    """A table of patches: TransformerLens's short name, its axes and how a cell is patched."""

    activation: str
    axes: tuple[str, ...]
    setter: Callable


SWEEPS = {
    **{
        name: Sweep(name, ("layer", "pos"), patching.layer_pos_patch_setter)
        for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
    },
    **{
        name: Sweep(name, ("layer", "head"), patching.layer_head_vector_patch_setter)
        for name in ("z", "q", "k", "v")
    },
    "pattern": Sweep("pattern", ("layer", "head"), patching.layer_head_pattern_patch_setter),
    "z_by_pos": Sweep(
        "z", ("layer", "pos", "head"), patching.layer_pos_head_vector_patch_setter
    ),
    "post": Sweep("post", ("layer",), _replace_all),
}


@dataclass
class PairBatch:
    """Pairs of one token length. clean, corrupted [B, T]; answers [B, 2]: right, wrong."""

    clean: torch.Tensor
    corrupted: torch.Tensor
    answers: torch.Tensor

    def logit_diff(self, logits: torch.Tensor) -> torch.Tensor:
        """Right minus wrong answer at the last position, by pair [B]."""
        last = logits[:, -1].gather(-1, self.answers)
        return last[:, 0] - last[:, 1]


@torch.no_grad()
def sweep(lens: HookedTransformer, pairs: PairBatch, name: str, direction: str, cache=None):
    """Patched logit differences by pair [B, *axes], by transformer_lens.patching.

    direction: "denoise" puts clean activations into the corrupted run, "noise" corrupted
    ones into the clean run. cache: the giving run's activations, computed when absent.
    """
    denoise = direction == "denoise"
    giving, receiving = (
        (pairs.clean, pairs.corrupted) if denoise else (pairs.corrupted, pairs.clean)
    )
    if cache is None:
        _, cache = lens.run_with_cache(giving)
    table, values = SWEEPS[name], []

    def metric(logits):  # the generic function keeps one number a cell: note the pairs' own
        values.append(pairs.logit_diff(logits))
        return values[-1].mean()

    means = patching.generic_activation_patch(
        lens, receiving, cache, metric, table.setter, table.activation, table.axes
    )
    return torch.stack(values, dim=1).reshape(-1, *means.shape).numpy()
