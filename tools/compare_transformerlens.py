#!/usr/bin/env python3
"""Holds Patchbay against TransformerLens 2.18 on the same model and the same prompts.

    python3 tools/compare_transformerlens.py --size gpt2-small
    python3 tools/compare_transformerlens.py --model ~/models/gpt2 --part hooks

--size writes a random model of that size (and a tokenizer of single bytes, unless --tokenizer
names a folder with vocab.json and merges.txt); --model takes a Hugging Face directory.

hooks   every hook of run_with_cache against capture's cache: largest absolute difference and
        largest relative to the hook's root mean square in that prompt, by kind of hook
sweeps  every patch sweep in both directions: largest difference of a normalised effect, and
        medians of --repeats runs in turns, the arithmetic done, and what share of the fastest
        matrix product's rate that is
ablations  zero and mean ablations of z and mlp_out, and lists of cells, against loops of
        run_with_hooks
traces  causal tracing against ROME's procedure in PyTorch (minutes a fact at GPT-2 small's size)
paths   path patching by both definitions against runs with hooks
readings   logit lens and attribution from a cache against the same from tensors in memory
times   run_with_cache against capture, the forward pass alone and, with --disk, the disk

Ends with 1 when a hook is off by more than 1e-4 of its RMS, log-softmax by more than 1e-4 or
an effect by more than 1e-4. The first run makes a Python environment in ~/.cache/patchbay
(--python names one that has transformer-lens 2.18 already).
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from patchbay_compare import environment

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["hooks", "sweeps", "ablations", "traces", "paths", "readings", "times"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", type=Path, help="a model directory")
    model.add_argument("--size", choices=["gpt2-small", "odd1", "odd2"], help="a random model")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer of the random model")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--weights", choices=["transformerlens", "raw"], action="append")
    parser.add_argument("--bin", type=Path, default=ROOT / ".build/release")
    parser.add_argument("--python", help="an interpreter with transformer-lens 2.18")
    parser.add_argument("--prompts", type=int, default=16, help="how many (default 16)")
    parser.add_argument("--shortest", type=int, default=5, help="tokens, BOS counted")
    parser.add_argument("--longest", type=int, default=60, help="at most the model's context")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of the sweeps (default 4)")
    parser.add_argument("--pair-tokens", type=int, default=15)
    parser.add_argument("--differ-at", type=int, help="where all pairs differ, BOS counted")
    parser.add_argument("--direction", choices=["denoise", "noise"], action="append")
    parser.add_argument("--sweep", action="append", help="such as resid_pre (default all)")
    parser.add_argument(
        "--reading", action="append", help="lens, layer, head, neuron, detect or stats (default all)"
    )
    parser.add_argument("--facts", type=int, default=1, help="facts that are traced (default 1)")
    parser.add_argument("--fact-tokens", type=int, default=12)
    parser.add_argument("--time-prompts", type=int, default=64)
    parser.add_argument("--time-tokens", type=int, default=15)
    parser.add_argument("--time-differ-at", type=int, help="pairs that differ there only, instead")
    parser.add_argument("--time-file", type=Path, help="a .txt prompt file, instead")
    parser.add_argument("--batch", type=int, default=8, help="prompts a run_with_cache")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs (default 5)")
    parser.add_argument("--disk", type=Path, help="a folder on a disk, to capture to as well")
    parser.add_argument("--threads", type=int, default=environment.cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for caches (default /dev/shm or /tmp)")
    args = parser.parse_args()
    for path, cure in (
        (args.bin / "capture", "build with `make build`, or name the folder with --bin"),
        (args.model and args.model / "config.json", "name a Hugging Face directory"),
        (args.tokenizer and args.tokenizer / "merges.txt", "vocab.json and merges.txt are wanted"),
    ):
        if path and not path.exists():
            parser.error(f"there is no {path}: {cure}")
    return args


def main() -> int:
    args = arguments()
    environment.enter(args.python)

    # Only the environment entered above has these.
    import torch
    from patchbay_compare import inputs, lens, parts
    from patchbay_compare.ablations import compare_ablations
    from patchbay_compare.bench import Bench
    from patchbay_compare.patchbay import Patchbay
    from patchbay_compare.readings import ANALYSES, compare_readings
    from patchbay_compare.sweeps import SWEEPS, compare_sweeps
    from patchbay_compare.traces import compare_paths, compare_traces

    torch.set_num_threads(args.threads)
    ram_disk = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="patchbay-compare-", dir=args.work or ram_disk))
    try:
        directory = args.model
        if directory is None:
            directory = folder / args.size
            inputs.write_model(args.size, directory, args.tokenizer, args.seed)
        model = lens.load_gpt2(directory)
        longest = min(args.longest, model.config.n_positions)
        prompts = inputs.Prompts(directory, args.seed)
        bench = Bench(Patchbay(args.bin, directory, args.threads), model, prompts, folder)
        texts = prompts.prompts(args.prompts, args.shortest, longest)

        print(f"{environment.machine()}, {args.threads} threads; torch {torch.__version__} "
              f"{torch.backends.cpu.get_cpu_capability()}")  # fmt: skip
        print(f"$ {' '.join(sys.argv)}")
        for weights in args.weights or ["transformerlens", "raw"]:
            for part in args.part or PARTS:
                if part == "hooks":
                    parts.compare_hooks(bench, weights, texts)
                elif part == "sweeps":
                    compare_sweeps(
                        bench, weights, args.pairs, args.pair_tokens, args.differ_at,
                        args.direction or ["denoise", "noise"], args.sweep or SWEEPS,
                        args.repeats,
                    )  # fmt: skip
                elif part == "ablations":
                    compare_ablations(bench, weights, args.pairs, args.pair_tokens)
                elif part == "traces":
                    if weights == "raw":  # as ROME has them
                        compare_traces(bench, args.facts, args.fact_tokens, args.repeats)
                elif part == "paths":
                    compare_paths(
                        bench, weights, args.pairs, args.pair_tokens, args.differ_at,
                        (args.direction or ["noise"])[0], args.repeats,
                    )  # fmt: skip
                elif part == "readings":
                    compare_readings(
                        bench, weights, args.time_prompts, args.time_tokens, args.batch,
                        args.repeats, args.reading or ANALYSES,
                    )  # fmt: skip
                else:
                    parts.compare_times(
                        bench, weights, args.time_prompts, args.time_tokens,
                        args.time_differ_at, args.time_file, args.batch, args.repeats, args.disk,
                    )  # fmt: skip
    finally:
        shutil.rmtree(folder)

    print("\nFAILED" if bench.failures else "\nAll within tolerance.")
    for failure in bench.failures:
        print(f"  {failure}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
