#!/usr/bin/env python3
"""Writes Tests/PatchingTests/Fixtures/trace-*.safetensors: causal tracing of the random models tiny and
odd by whole forward passes of Hugging Face's GPT-2, as Meng et al. 2022 define it.

    /path/to/venv/bin/python tools/make_trace_reference.py     (torch, transformers)

The procedure is patchbay_compare/rome.py's. Float32, raw weights, by fact f0, f1, f2:

    f0/tokens [T] int32, subject [2] int32: the first position and the one after the last
    f0/answer [1] int32: the clean run's most probable next token
    f0/high, low [1]: its probability in the clean run, and the mean of the noised ones
    f0/resid_post, mlp_out, attn_out [T, L]: the mean with the output of that block at that position
        restored; of mlp_out and attn_out those of WINDOW blocks, from layer - WINDOW // 2 on
    f0/severed_mlp_out, severed_attn_out [T, L]: resid_post with these severed
    f0/noise [samples, positions, D] float64, without DEVIATION
"""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from patchbay_compare import lens
from patchbay_compare.rome import Tracer
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "Tests/ModelTests/Fixtures"
FIXTURES = ROOT / "Tests/PatchingTests/Fixtures"
SAMPLES, DEVIATION, WINDOW = 4, 0.7, 2
FACTS = [(9, 2, 5), (6, 0, 1), (12, 7, 12)]  # T and the subject


def main():
    for folder in ("tiny", "odd"):
        tracer = Tracer(lens.load_gpt2(MODELS / folder), SAMPLES, DEVIATION, WINDOW)
        random = np.random.RandomState(7)
        arrays = {}
        for number, (length, *subject) in enumerate(FACTS):
            tokens = random.randint(0, tracer.model.config.vocab_size, length).tolist()
            answer, high, low = tracer.baselines(tokens, subject)
            found = {
                "tokens": np.array(tokens, np.int32),
                "subject": np.array(subject, np.int32),
                "answer": np.array([answer], np.int32),
                "high": np.array([high], np.float32),
                "low": np.array([low], np.float32),
                "noise": tracer.noise(subject),
            }
            for name in ("resid_post", "mlp_out", "attn_out"):
                found[name] = tracer.scores(name, tokens, subject, answer)
            for name in ("mlp_out", "attn_out"):
                found[f"severed_{name}"] = tracer.severed(name, tokens, subject, answer)
            arrays |= {f"f{number}/{name}": value for name, value in found.items()}
        save_file(arrays, FIXTURES / f"trace-{folder}.safetensors")


if __name__ == "__main__":
    main()
