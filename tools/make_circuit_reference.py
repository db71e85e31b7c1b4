#!/usr/bin/env python3
"""Writes Tests/PatchingTests/Fixtures/circuits-*.safetensors: path patching, circuits and scores of
heads, computed with TransformerLens's hooks on the random models tiny and odd.

    /path/to/venv/bin/python tools/make_circuit_reference.py     (torch, transformer-lens 2.18)

Everything is float32 unless said, by whole forward passes with processed weights.

paths: for the pairs pair0, pair1, pair2 of the model's patching.safetensors, the logit difference at
the last position with a path patched, in both directions
    pair0/denoise/through-mlps/logits       from each head to the logits                 [L, H]
    pair0/denoise/through-mlps/q, k, v      to q, k or v of all receivers together        [L', H]
    pair0/denoise/through-mlps/qv           to q and v of all receivers together          [L', H]
    pair0/denoise/through-mlps/from         from the first sender to q of each head       [L - 1, H]
    pair0/denoise/direct/…                  the same along direct edges
    receivers [R, 2], sender [2] int32      layer and head

circuit: eight pairs of two templates and two lengths
    circuit/pair0/clean, corrupted          [T] int32
    circuit/answers [8, 2], template [8], roles [8, 2] int32: positions of S2 and END
    circuit/heads [C, 3] int32: layer, head, and the role it is kept at: 0 S2, 1 END, -1 everywhere
    circuit/k [C, C] int32: whether a head is in the K of another's minimality
    circuit/model, all, without [C], base [C], circuit-without [C], model-without [C]   [..., 8] by
    pair: F(M); F(C); by head v F(C \\ (K + v)), F(C \\ K), F(C \\ {v}) and F(M \\ {v})
    circuit/faithfulness, share [1], minimality, completeness [C]: the scores of circuit_scores

scores, with weights processed and raw:
    scores/NAME/copying, negative           [L, H] share of tokens among the five largest logits
    scores/NAME/ov, qk                      [L, H] Σ Re λ / Σ |λ| of the whole OV and QK circuits
    scores/tokens                           [N] int32
"""

import os
from itertools import product
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.paths import Paths
from safetensors.numpy import load_file, save_file
from transformer_lens.utils import get_act_name

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "Tests/ModelTests/Fixtures"
FIXTURES = ROOT / "Tests/PatchingTests/Fixtures"

RECEIVERS = {"tiny": [(1, 0), (1, 2)], "odd": [(2, 1), (1, 3), (2, 4)]}
SENDER = {"tiny": (0, 1), "odd": (0, 2)}
INPUTS = ("q", "k", "v")


def write_paths(folder: str, model, arrays):
    pairs = load_file(MODELS / folder / "patching.safetensors")
    receivers, sender = RECEIVERS[folder], SENDER[folder]
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    before = range(max(layer for layer, _ in receivers))
    arrays["receivers"] = np.array(receivers, np.int32)
    arrays["sender"] = np.array(sender, np.int32)
    for index in range(3):
        clean = torch.tensor(pairs[f"pair{index}/clean_tokens"][None].astype(np.int64))
        corrupted = torch.tensor(pairs[f"pair{index}/corrupted_tokens"][None].astype(np.int64))
        answers = torch.tensor(pairs[f"pair{index}/answers"][None].astype(np.int64))
        for direction in ("denoise", "noise"):
            runs = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
            paths = Paths(model, *runs, answers)
            for definition, patch in (("through-mlps", paths.through_mlps), ("direct", paths.direct)):
                key = f"pair{index}/{direction}/{definition}"
                table = {
                    "logits": [[paths.to_logits(definition, (l, h))[0] for h in heads] for l in layers],
                    "from": [[patch([sender], [(l, h)], ["q"])[0] for h in heads] for l in layers[1:]],
                }
                for inputs in (*INPUTS, "qv"):
                    table[inputs] = [
                        [patch([(l, h)], receivers, list(inputs))[0] for h in heads] for l in before
                    ]
                for name, values in table.items():
                    arrays[f"{key}/{name}"] = np.array(values, np.float32)
                    if name != "from" or index == 0:
                        assert np.ptp(arrays[f"{key}/{name}"]) > 1e-3, (key, name)
    spread = [np.ptp(value) for key, value in arrays.items() if key.startswith("pair")]
    print(f"{folder:6} paths: spread of the patched differences {min(spread):.4f} to {max(spread):.3f}")


class Circuit:
    """Mean ablation of heads outside a circuit."""

    def __init__(self, model, pairs, answers, templates, roles):
        self.model, self.pairs, self.answers, self.roles = model, pairs, answers, roles
        self.templates = templates
        self.means = {}
        for template in sorted(set(templates)):
            caches = [
                model.run_with_cache(torch.tensor([corrupted]))[1]
                for (_, corrupted), own in zip(pairs, templates) if own == template
            ]
            for layer in range(model.cfg.n_layers):
                name = get_act_name("z", layer)
                self.means[template, name] = torch.stack([c[name][0] for c in caches]).mean(0)

    def metric(self, kept, removed=()) -> list[float]:
        """By pair, the logit difference where only what is kept, (layer, head, role), has its own z; with
        kept None, where all but the removed has."""
        values = []
        for (clean, _), answers, template, roles in zip(
            self.pairs, self.answers, self.templates, self.roles
        ):
            def ablate(z, hook):
                mask = torch.full(z.shape[1:3], kept is None)
                for layer, head, role in removed if kept is None else kept:
                    if layer == hook.layer():
                        mask[slice(None) if role < 0 else roles[role], head] = kept is not None
                return torch.where(mask[None, :, :, None], z, self.means[template, hook.name][None])

            hooks = [(get_act_name("z", layer), ablate) for layer in range(self.model.cfg.n_layers)]
            last = self.model.run_with_hooks(torch.tensor([clean]), fwd_hooks=hooks)[0, -1]
            values.append(float(last[answers[0]] - last[answers[1]]))
        return values


def circuit_scores(by_pair) -> dict:
    """Wang et al. 2022, section 4: F is a mean over pairs before anything is compared. Minimality
    as a share of F(M), as in their figure; completeness with each head by itself as K."""
    f = {name: np.mean(values, axis=-1) for name, values in by_pair.items()}
    return {
        "faithfulness": abs(f["model"] - f["all"]),
        "share": f["all"] / f["model"],
        "minimality": np.abs(f["without"] - f["base"]) / abs(f["model"]),
        "completeness": np.abs(f["circuit-without"] - f["model-without"]),
    }


def write_circuit(folder: str, model, arrays):
    random = np.random.default_rng({"tiny": 51, "odd": 52}[folder])
    layers, heads, vocabulary = model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_vocab
    pairs, templates, roles = [], [0, 1, 0, 1, 1, 0, 0, 1], []
    bodies = [random.integers(0, vocabulary, length) for length in (8, 11)]
    for template in templates:
        body = bodies[template]
        second = int(random.integers(4, len(body) - 2))
        runs = []
        for _ in range(2):
            tokens = body.copy()
            tokens[[2, second]] = random.integers(0, vocabulary, 2)
            runs.append(tokens.tolist())
        pairs.append(tuple(runs))
        roles.append((second, len(body) - 1))
    answers = random.integers(0, vocabulary, (len(pairs), 2))
    every = list(product(range(layers), range(heads)))
    chosen = [every[i] for i in sorted(random.choice(len(every), min(6, len(every)), replace=False))]
    kept = [(*head, role) for head, role in zip(chosen, (0, 1, -1, 1, 0, 1))]
    k = np.triu(random.integers(0, 2, (len(kept), len(kept))), 1)

    circuit = Circuit(model, pairs, answers, templates, roles)
    arrays["circuit/answers"] = answers.astype(np.int32)
    arrays["circuit/template"] = np.array(templates, np.int32)
    arrays["circuit/roles"] = np.array(roles, np.int32)
    arrays["circuit/heads"] = np.array(kept, np.int32)
    arrays["circuit/k"] = k.astype(np.int32)
    for index, (clean, corrupted) in enumerate(pairs):
        arrays[f"circuit/pair{index}/clean"] = np.array(clean, np.int32)
        arrays[f"circuit/pair{index}/corrupted"] = np.array(corrupted, np.int32)

    def rest(without):
        return [head for head in kept if head not in without]

    sets = [[kept[j] for j in range(len(kept)) if k[i, j]] for i in range(len(kept))]
    found = {
        "model": circuit.metric(None),
        "all": circuit.metric(kept),
        "base": [circuit.metric(rest(own)) for own in sets],
        "without": [circuit.metric(rest([*own, v])) for own, v in zip(sets, kept)],
        "circuit-without": [circuit.metric(rest([v])) for v in kept],
        "model-without": [circuit.metric(None, [v]) for v in kept],
    }
    scores = circuit_scores(found)
    for name, values in (found | scores).items():
        arrays[f"circuit/{name}"] = np.array(values, np.float32)
    print(f"{folder:6} circuit: F(M) {np.mean(found['model']):+.4f}  F(C) {np.mean(found['all']):+.4f}")
    for name, values in scores.items():
        print(f"{folder:6} circuit: {name} {np.round(values, 4).tolist()}")
    assert np.ptp(arrays["circuit/without"], axis=0).max() > 0.05
    assert min(np.max(values) for values in scores.values()) > 0.02


def copying(model, tokens, sign: float, top: int = 5):
    """The share of tokens that a head's OV circuit puts among the largest logits, from each token's
    embedding after the first MLP. Layer 0 hears no such thing: NaN."""
    embedded = model.W_E[tokens]
    mlp = model.blocks[0]
    values = embedded + mlp.mlp(mlp.ln2(embedded[None]))[0]
    scores = np.full((model.cfg.n_layers, model.cfg.n_heads), np.nan, np.float32)
    for layer, head in product(range(1, model.cfg.n_layers), range(model.cfg.n_heads)):
        out = values @ (sign * model.W_V[layer, head] @ model.W_O[layer, head])
        logits = model.unembed(model.ln_final(out[None]))[0]
        scores[layer, head] = (logits.topk(top).indices == tokens[:, None]).any(-1).float().mean()
    return scores


def eigenvalue_score(circuit):
    values = circuit.eigenvalues
    return (values.sum(-1).real / values.abs().sum(-1)).numpy().astype(np.float32)


def write_scores(folder: str, hf, arrays):
    vocabulary = hf.config.vocab_size
    tokens = torch.tensor(np.random.default_rng(60).choice(vocabulary, 40, replace=False))
    arrays["scores/tokens"] = tokens.numpy().astype(np.int32)
    for weights in ("transformerlens", "raw"):
        model = lens.hooked(hf, weights)
        key = f"scores/{weights}"
        arrays[f"{key}/copying"] = copying(model, tokens, 1)
        arrays[f"{key}/negative"] = copying(model, tokens, -1)
        arrays[f"{key}/ov"] = eigenvalue_score(model.W_E @ model.OV @ model.W_U)
        arrays[f"{key}/qk"] = eigenvalue_score(model.W_E @ model.QK @ model.W_E.T)
        print(f"{folder:6} scores {weights}: copying up to {np.nanmax(arrays[f'{key}/copying']):.2f}, "
              f"ov {arrays[f'{key}/ov'].round(2).tolist()}")  # fmt: skip


@torch.no_grad()
def main():
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    FIXTURES.mkdir(exist_ok=True)
    for folder in ("tiny", "odd"):
        hf, arrays = lens.load_gpt2(MODELS / folder), {}
        model = lens.hooked(hf, "transformerlens")
        write_paths(folder, model, arrays)
        write_circuit(folder, model, arrays)
        write_scores(folder, hf, arrays)
        path = FIXTURES / f"circuits-{folder}.safetensors"
        save_file({name: np.ascontiguousarray(a) for name, a in sorted(arrays.items())}, path)
        print(f"{path.stat().st_size:9,}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
