#!/usr/bin/env python3
"""Writes Tests/PatchingTests/Fixtures/trace-*.safetensors: causal tracing of the random models tiny and
odd by whole forward passes of Hugging Face's GPT-2, as Meng et al. 2022 define it.

    /path/to/venv/bin/python tools/make_trace_reference.py     (torch, transformers)

A pass has a clean row and SAMPLES rows whose subject's token embeddings have noise: DEVIATION times
numpy.random.RandomState(SEED).randn(samples, positions, D). In the noised rows an activation at one
position is that of the clean row. Float32, raw weights, by fact f0, f1, f2:

    f0/tokens [T] int32, subject [2] int32: the first position and the one after the last
    f0/answer [1] int32: the clean run's most probable next token
    f0/high, low [1]: its probability in the clean run, and the mean of the noised ones
    f0/resid_post, mlp_out, attn_out [T, L]: the mean with the output of that block at that position
        restored; of mlp_out and attn_out those of WINDOW blocks, from layer - WINDOW // 2 on
    f0/noise [samples, positions, D] float64, without DEVIATION
"""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import GPT2LMHeadModel

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "Tests/ModelTests/Fixtures"
FIXTURES = ROOT / "Tests/PatchingTests/Fixtures"
SAMPLES, SEED, DEVIATION, WINDOW = 4, 1, 0.7, 2
FACTS = [(9, 2, 5), (6, 0, 1), (12, 7, 12)]  # T and the subject


def noised(tokens, subject):
    return np.random.RandomState(SEED).randn(SAMPLES, subject[1] - subject[0], tokens)


class Tracer:
    def __init__(self, folder):
        self.model = GPT2LMHeadModel.from_pretrained(MODELS / folder).eval()
        self.config = self.model.config

    def module(self, name, layer):
        block = self.model.transformer.h[layer]
        return {"resid_post": block, "mlp_out": block.mlp, "attn_out": block.attn}[name]

    @torch.no_grad()
    def probabilities(self, tokens, subject=None, restored=()):
        """[1 + SAMPLES, V], or [1, V] without a subject. restored: (module, position)."""
        handles = []
        batch = torch.tensor(tokens)[None].repeat(1 if subject is None else 1 + SAMPLES, 1)
        if subject is not None:
            noise = DEVIATION * torch.from_numpy(noised(self.config.n_embd, subject))

            def corrupt(_, __, output):
                output[1:, subject[0] : subject[1]] += noise
                return output

            handles.append(self.model.transformer.wte.register_forward_hook(corrupt))
        for module, position in restored:

            def restore(_, __, output, position=position):
                rows = output[0] if isinstance(output, tuple) else output
                rows[1:, position] = rows[:1, position].clone()
                return output

            handles.append(module.register_forward_hook(restore))
        try:
            return torch.softmax(self.model(batch).logits[:, -1], dim=-1)
        finally:
            for handle in handles:
                handle.remove()

    def trace(self, tokens, subject):
        clean = self.probabilities(tokens)[0]
        answer = int(clean.argmax())
        layers = self.config.n_layer

        def score(restored):
            return float(self.probabilities(tokens, subject, restored)[1:, answer].mean())

        arrays = {
            "tokens": np.array(tokens, np.int32),
            "subject": np.array(subject, np.int32),
            "answer": np.array([answer], np.int32),
            "high": np.array([float(clean[answer])], np.float32),
            "low": np.array([score(())], np.float32),
            "noise": noised(self.config.n_embd, subject),
        }
        for name in ("resid_post", "mlp_out", "attn_out"):
            table = np.zeros((len(tokens), layers), np.float32)
            for position in range(len(tokens)):
                for layer in range(layers):
                    first = layer - WINDOW // 2
                    window = range(max(0, first), min(layers, first + WINDOW))
                    chosen = [layer] if name == "resid_post" else window
                    table[position, layer] = score(
                        [(self.module(name, chosen_layer), position) for chosen_layer in chosen]
                    )
            arrays[name] = table
        return arrays


def main():
    for folder in ("tiny", "odd"):
        tracer = Tracer(folder)
        random = np.random.RandomState(7)
        arrays = {}
        for number, (length, *subject) in enumerate(FACTS):
            tokens = random.randint(0, tracer.config.vocab_size, length).tolist()
            for name, value in tracer.trace(tokens, subject).items():
                arrays[f"f{number}/{name}"] = value
        save_file(arrays, FIXTURES / f"trace-{folder}.safetensors")


if __name__ == "__main__":
    main()
