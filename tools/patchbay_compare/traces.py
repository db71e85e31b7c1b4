"""Causal tracing beside ROME's procedure, and path patching beside TransformerLens's hooks."""

import json
import statistics
import time

import numpy as np
import torch
from patchbay_compare import lens
from patchbay_compare.bench import Bench, cells, difference
from patchbay_compare.paths import Paths
from patchbay_compare.rome import Tracer
from patchbay_compare.sweeps import baselines, capture_pairs

HOOKS = ["resid_post", "mlp_out", "attn_out"]
SAMPLES, DEVIATION, WINDOW = 10, 0.3, 10


def compare_traces(bench: Bench, count: int, length: int, repeats: int):
    """Facts of `length` tokens, the second to the fourth of them the subject, without BOS and with raw
    weights as ROME has them; every hook, layer and position, ten samples of noise. Theirs is timed
    once: it takes minutes."""
    facts = []
    while len(facts) < count:
        tokens = bench.prompts.prompt(length + 1)
        text, subject = (bench.prompts.text_of(part) for part in (tokens, tokens[1:4]))
        if text.count(subject) == 1 and subject == subject.rstrip():
            facts.append((tokens, {"clean": text, "subject": subject.strip()}))
    file, cache = bench.folder / "facts.jsonl", bench.folder / "facts"
    file.write_text("".join(json.dumps(row) + "\n" for _, row in facts))
    bench.patchbay.capture(file, cache, "raw", "--no-bos")

    ours, seconds = None, []
    for _ in range(repeats):
        out = bench.folder / "trace"
        ours = bench.patchbay.trace(
            cache, "--samples", SAMPLES, "--noise-deviation", DEVIATION, "--window", WINDOW,
            "--hooks", ",".join(HOOKS), "--out", out,
        )  # fmt: skip
        seconds.append(ours["timing"]["sweep_s"])
    tracer = Tracer(bench.model, SAMPLES, DEVIATION, WINDOW)
    print(f"\ncausal tracing: {count} facts of {length} tokens, {SAMPLES} samples, windows of "
          f"{WINDOW} layers")  # fmt: skip
    print(f"  {'hook':11}{'cells':>7}{'largest effect':>15}{'|difference|':>13}{'ROME s':>8}")
    total = 0.0
    for number, name in enumerate(HOOKS):
        found, lows = [], []
        start = time.perf_counter()
        for tokens, fact in zip((t for t, _ in facts), ours["facts"]):
            answer, _, low = tracer.baselines(tokens, fact["subject_range"])
            found.append(tracer.scores(name, tokens, fact["subject_range"], answer))
            lows.append(low)
        total += time.perf_counter() - start
        error = max(
            difference(np.array(scores), theirs)[0]
            for scores, theirs in zip(ours["hooks"][number]["scores"], found)
        )
        effect = max(np.abs(theirs - low).max() for theirs, low in zip(found, lows))
        print(f"  {name:11}{count * length * tracer.layers:7}{effect:15.3f}{error:13.1e}"
              f"{time.perf_counter() - start:8.1f}")  # fmt: skip
        bench.check(f"trace {name}", error)
    mine = statistics.median(seconds)
    print(f"  all three: ROME {total:.1f} s, ours {mine:.2f} s (median of {repeats}), ratio "
          f"{total / mine:.1f}; {ours['timing']['gflop']:.0f} GFLOP, "
          f"{ours['timing']['gflop'] / mine:.0f} GFLOPS")  # fmt: skip


@torch.no_grad()
def compare_paths(bench: Bench, weights: str, count: int, length: int, differ_at: int | None,
                  direction: str, repeats: int):  # fmt: skip
    """Paths from every head to the logits and to the queries of three heads of the last layer but one,
    by both definitions. Theirs is timed once."""
    hooked, batch, cache = capture_pairs(bench, weights, count, length, differ_at)
    clean_diff, corrupted_diff = baselines(hooked, batch)
    gap = clean_diff - corrupted_diff
    runs = (batch.corrupted, batch.clean) if direction == "denoise" else (batch.clean, batch.corrupted)
    base = corrupted_diff if direction == "denoise" else clean_diff
    start = time.perf_counter()
    paths = Paths(hooked, *runs, batch.answers)
    cached = time.perf_counter() - start
    layers, heads = range(hooked.cfg.n_layers), range(hooked.cfg.n_heads)
    receivers = [(max(0, hooked.cfg.n_layers - 2), head) for head in heads[:3]]
    named = ",".join(f"{layer}.{head}" for layer, head in receivers)
    print(f"\n{weights} weights: paths of {count} pairs of {length} tokens, {direction}; ours the "
          f"median of {repeats}, theirs once, with the two runs that it needs ({cached:.2f} s)")  # fmt: skip
    print(f"  {'to':8}{'definition':>14}{'cells':>7}{'largest effect':>15}{'|difference|':>13}"
          f"{'hooks s':>9}{'ours s':>8}{'ratio':>7}")  # fmt: skip
    for definition in ("through-mlps", "direct"):
        patch = paths.through_mlps if definition == "through-mlps" else paths.direct
        for to in ("logits", "q"):
            rows = layers if to == "logits" else range(receivers[0][0])
            start = time.perf_counter()
            values = [
                [
                    paths.to_logits(definition, (layer, head))
                    if to == "logits"
                    else patch([(layer, head)], receivers, ["q"])
                    for head in heads
                ]
                for layer in rows
            ]
            theirs = time.perf_counter() - start + cached
            arguments = ["--to", "logits"] if to == "logits" else ["--receivers", named, "--input", "q"]
            seconds = []
            for _ in range(repeats):
                table, summary, _ = bench.patchbay.sweep(
                    "path", cache, bench.folder / f"path-{definition}-{to}", None, *arguments,
                    "--paths", definition, "--direction", direction,
                )  # fmt: skip
                seconds.append(summary["sweeps"][0]["seconds"])
            effect = np.array(values, np.float64).transpose(2, 0, 1) - base.reshape(-1, 1, 1)
            effect /= gap.reshape(-1, 1, 1)
            name = summary["sweeps"][0]["hook"]
            ours, _ = cells(table, name, ("layer", "head"), effect.shape)
            error = difference(ours, effect)[0]
            mine = statistics.median(seconds)
            print(f"  {to:8}{definition:>14}{effect[0].size:7}{np.abs(effect).max():15.3f}"
                  f"{error:13.1e}{theirs:9.2f}{mine:8.3f}{theirs / mine:7.0f}")  # fmt: skip
            bench.check(f"{weights} path {definition} {to}", error)
