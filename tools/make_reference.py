#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures: small random GPT-2 models and what Hugging Face and
TransformerLens compute with them. Every number is seeded; no network is used.

    /path/to/venv/bin/python tools/make_reference.py     (torch, transformer-lens 2.18)

Each folder is a model in Hugging Face's layout, without a tokenizer:

    tiny            2 layers, 4 heads of 8, V 97, 32 positions
    odd             3 layers, 5 heads of 16, n_inner 112, V 113, 37 positions, epsilon 1e-4
    unscaled        scale_attn_weights false, lm_head of its own
    inverse-layer   scale_attn_by_inverse_layer_idx true
    half, bfloat    weights stored as F16 and BF16
    sharded         several files and model.safetensors.index.json
    noprefix        the hub's old layout: names without `transformer.`, the attn.bias and
                    attn.masked_bias buffers, config.json with n_ctx

Every folder has huggingface.safetensors: `tokens` [T] int32 and `log_softmax` [T, V] of the
logits, by Hugging Face in float32. `tiny` and `odd` have more, all float32 unless said:

reference-transformerlens.safetensors (from_pretrained's default processing) and
reference-raw.safetensors (no processing): for the prompts p0, p1, p2
    p0/tokens                       [T] int32
    p0/logits                       [T, V]
    p0/blocks.0.hook_resid_pre, …   every hook of run_with_cache, without the batch axis;
                                    masked attention scores are -inf
    p1/blocks.0.attn.hook_result, … p1 also has hook_result, hook_q_input, hook_k_input,
                                    hook_v_input, hook_attn_in and hook_mlp_in. (ln1's hooks
                                    are those of a run without these options.)
With raw weights TransformerLens's hook_normalized is the layer norm's output, after weight
and bias; with processed weights there is no weight and no bias left.

`odd` has processed.safetensors, TransformerLens's processed weights by its names, W_Q
[H, D, K] and so on: embeddings, unembedding and layer 1; and refactored.safetensors:
`tokens`, `logits` and `log_softmax` with refactor_factored_attn_matrices besides.

patching.safetensors, processed weights: for the pairs pair0, pair1, pair2, each of its own
length T (as the patched values are differences of logits, raw weights give the same)
    pair0/clean_tokens, pair0/corrupted_tokens    [T] int32
    pair0/answers                                 [2] int32: right, wrong
    pair0/clean, pair0/corrupted                  [1] logit difference, right minus wrong, at
                                                  the last position, without a patch
    pair0/denoise/resid_pre                       the same with a patch of the corrupted run:
        resid_pre, resid_mid, resid_post, attn_out, mlp_out     [L, T]
        z, q, k, v, pattern   all positions                     [L, H]
        z_by_pos                                                [L, T, H]
        post                  all positions and neurons         [L]
    pair0/noise/resid_pre, …                      the same with a patch of the clean run
pair0 differs in one inner position, pair1 in several, pair2 in the first and the last.
"""

import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from patchbay_compare import lens
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch
from transformers import GPT2Config, GPT2LMHeadModel, logging

FIXTURES = Path(__file__).resolve().parent.parent / "Tests/ModelTests/Fixtures"
BUDGET = 3_000_000  # bytes in all

TINY = dict(n_layer=2, n_head=4, n_embd=32, vocab_size=97, n_positions=32)
ODD = dict(
    n_layer=3, n_head=5, n_embd=80, n_inner=112, vocab_size=113, n_positions=37,
    layer_norm_epsilon=1e-4,
)  # fmt: skip
SMALL = dict(n_layer=2, n_head=3, n_embd=18, vocab_size=61, n_positions=16)


def random_model(seed: int, **options) -> GPT2LMHeadModel:
    special = dict(bos_token_id=options["vocab_size"] - 1, eos_token_id=options["vocab_size"] - 1)
    return lens.random_gpt2(GPT2Config(**options, **special), seed)


def random_tokens(seed: int, length: int, vocabulary: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocabulary, length).tolist()


def save(path: Path, arrays: dict[str, np.ndarray]):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


@torch.no_grad()
def log_softmax(model, tokens: list[int]) -> np.ndarray:
    logits = model(torch.tensor([tokens]))
    logits = getattr(logits, "logits", logits)
    return torch.log_softmax(logits[0].double(), -1).float().numpy()


def write_hugging_face(folder: Path, seed: int):
    """What Hugging Face computes with the files that are in the folder, in float32."""
    model = lens.load_gpt2(folder)
    tokens = random_tokens(seed, 11, model.config.vocab_size)
    expected = log_softmax(model, tokens)
    assert np.abs(log_softmax(lens.hooked(model, "raw"), tokens) - expected).max() < 2e-5
    save(
        folder / "huggingface.safetensors",
        {"tokens": np.array(tokens, np.int32), "log_softmax": expected},
    )


def write_model(name: str, seed: int, dtype=torch.float32, shard: str = "1GB", **options):
    folder = FIXTURES / name
    folder.mkdir(parents=True)
    model = random_model(seed, **options)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink()
    write_hugging_face(folder, seed)
    return model


def write_old_layout(name: str, seed: int, **options):
    """The hub's gpt2 files as they were first converted."""
    model = write_model(name, seed, **options)
    folder, config = FIXTURES / name, model.config
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    mask = torch.tril(torch.ones(1, 1, config.n_positions, config.n_positions))
    for layer in range(config.n_layer):
        tensors[f"h.{layer}.attn.bias"] = mask.to(torch.uint8) if layer else mask.clone()
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_torch(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    kept = ("activation_function", "attn_pdrop", "bos_token_id", "embd_pdrop", "eos_token_id",
            "initializer_range", "layer_norm_epsilon", "model_type", "n_embd", "n_head",
            "n_layer", "n_positions", "resid_pdrop", "vocab_size")  # fmt: skip
    old = {key: getattr(config, key) for key in kept}
    old |= {"architectures": ["GPT2LMHeadModel"], "n_ctx": config.n_positions}
    (folder / "config.json").write_text(json.dumps(old, indent=2, sort_keys=True) + "\n")
    write_hugging_face(folder, seed)  # from the files as they are now


def optional_hooks(model, weights: str, tokens: list[int]) -> dict[str, np.ndarray]:
    hooked, found = lens.hooked(model, weights), {}
    hooked.set_use_attn_result(True)
    hooked.set_use_hook_mlp_in(True)
    for use, suffixes in (
        (hooked.set_use_split_qkv_input, ("hook_q_input", "hook_k_input", "hook_v_input")),
        (hooked.set_use_attn_in, ("hook_attn_in", "hook_result", "hook_mlp_in")),
    ):
        use(True)
        arrays = lens.run(hooked, tokens)
        found |= {name: array for name, array in arrays.items() if name.endswith(suffixes)}
        use(False)
    return found


def write_reference(name: str, model, weights: str, lengths: tuple[int, ...], seed: int):
    hooked, arrays = lens.hooked(model, weights), {}
    for index, length in enumerate(lengths):
        tokens = random_tokens(seed + index, length, model.config.vocab_size)
        found = lens.run(hooked, tokens)
        if index == 1:
            found |= optional_hooks(model, weights, tokens)
        found["tokens"] = np.array(tokens, np.int32)
        arrays |= {f"p{index}/{hook}": array for hook, array in found.items()}

        lens_log_softmax = torch.log_softmax(torch.tensor(found["logits"]).double(), -1).numpy()
        error = np.abs(lens_log_softmax - log_softmax(model, tokens)).max()
        pattern = found["blocks.0.attn.hook_pattern"][:, -1].max(-1)
        print(f"{name:6} {weights:16} T={length:<3} |log-softmax - HF's| {error:.1e}  "
              f"largest attention {pattern.round(2)}")  # fmt: skip
        assert error < 2e-5
    save(FIXTURES / name / f"reference-{weights}.safetensors", arrays)


def write_processed(name: str, model, layer: int, tokens: list[int]):
    processed = lens.hooked(model, "transformerlens").state_dict()
    wanted = ("embed.", "pos_embed.", "unembed.", f"blocks.{layer}.")
    kept = {
        key: value.numpy()
        for key, value in processed.items()
        if key.startswith(wanted) and not key.endswith((".mask", ".IGNORE"))
    }
    save(FIXTURES / name / "processed.safetensors", kept)

    refactored = lens.hooked(model, "transformerlens", refactor=True)
    ours = {"tokens": np.array(tokens, np.int32), "log_softmax": log_softmax(refactored, tokens)}
    ours["logits"] = lens.run(refactored, tokens)["logits"]
    error = np.abs(ours["log_softmax"] - log_softmax(model, tokens)).max()
    print(f"{name:6} refactored             |log-softmax - HF's| {error:.1e}")
    assert error < 1e-4
    save(FIXTURES / name / "refactored.safetensors", ours)


def write_patching(name: str, model, seed: int):
    hooked, vocabulary = lens.hooked(model, "transformerlens"), model.config.vocab_size
    arrays = {}
    for index, (length, changed) in enumerate(((7, [3]), (9, [2, 4, 7]), (12, [0, 11]))):
        clean = random_tokens(seed + index, length, vocabulary)
        corrupted = list(clean)
        for position in changed:
            corrupted[position] = (clean[position] + 1 + 7 * index + position) % vocabulary
        right, wrong = most_changed(hooked, clean, corrupted)
        pairs = lens.PairBatch(
            torch.tensor([clean]), torch.tensor([corrupted]), torch.tensor([[right, wrong]])
        )
        key = f"pair{index}"
        arrays[f"{key}/clean_tokens"] = np.array(clean, np.int32)
        arrays[f"{key}/corrupted_tokens"] = np.array(corrupted, np.int32)
        arrays[f"{key}/answers"] = np.array([right, wrong], np.int32)
        with torch.no_grad():
            arrays[f"{key}/clean"] = pairs.logit_diff(hooked(pairs.clean)).numpy()
            arrays[f"{key}/corrupted"] = pairs.logit_diff(hooked(pairs.corrupted)).numpy()
        for direction in ("denoise", "noise"):
            for sweep in lens.SWEEPS:
                values = lens.sweep(hooked, pairs, sweep, direction)[0]
                arrays[f"{key}/{direction}/{sweep}"] = values
        check_sweeps(arrays, key, changed)
        print(f"{name:6} {key} logit difference clean {arrays[f'{key}/clean'][0]:+.3f} "
              f"corrupted {arrays[f'{key}/corrupted'][0]:+.3f}")  # fmt: skip
    save(FIXTURES / name / "patching.safetensors", arrays)


@torch.no_grad()
def most_changed(hooked, clean: list[int], corrupted: list[int]) -> tuple[int, int]:
    """The tokens that the corruption makes least and most likely: right and wrong."""
    logits = hooked(torch.tensor([clean, corrupted]))[:, -1]
    change = logits[0] - logits[1]
    return int(change.argmax()), int(change.argmin())


def check_sweeps(arrays, key: str, changed: list[int]):
    """Nothing happens before the first difference, and a sweep is not a constant."""
    clean, corrupted = arrays[f"{key}/clean"], arrays[f"{key}/corrupted"]
    assert abs(clean - corrupted) > 0.3, "a pair that hardly differs tests nothing"
    for direction, base in (("denoise", corrupted), ("noise", clean)):
        before = arrays[f"{key}/{direction}/resid_pre"][:, : changed[0]]
        assert np.abs(before - base).max(initial=0) < 1e-5
        for sweep in lens.SWEEPS:
            assert np.ptp(arrays[f"{key}/{direction}/{sweep}"]) > 1e-2


def main():
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    for child in FIXTURES.iterdir():
        if child.is_dir() and (child / "huggingface.safetensors").exists():
            shutil.rmtree(child)

    for name, options in (("tiny", TINY), ("odd", ODD)):
        model = write_model(name, seed=1, **options)
        limit = model.config.n_positions
        write_reference(name, model, "transformerlens", (1, 4, limit), seed=10)
        write_reference(name, model, "raw", (1, 4, 9), seed=20)
        write_patching(name, model, seed=30)
    write_processed("odd", model, layer=1, tokens=random_tokens(40, 9, model.config.vocab_size))

    write_model("unscaled", 2, scale_attn_weights=False, tie_word_embeddings=False, **SMALL)
    write_model("inverse-layer", 3, scale_attn_by_inverse_layer_idx=True, **SMALL)
    write_model("half", 4, dtype=torch.float16, **SMALL)
    write_model("bfloat", 5, dtype=torch.bfloat16, **SMALL)
    write_model("sharded", 6, shard="30KB", **SMALL)
    write_old_layout("noprefix", 7, **SMALL)

    sizes = {path: path.stat().st_size for path in sorted(FIXTURES.rglob("*")) if path.is_file()}
    for path, size in sizes.items():
        print(f"{size:9,}  {path.relative_to(FIXTURES)}")
    total = sum(sizes.values())
    print(f"{total:9,}  in all")
    assert total < BUDGET


if __name__ == "__main__":
    main()
