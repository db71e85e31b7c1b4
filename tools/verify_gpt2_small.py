#!/usr/bin/env python3
"""Holds Patchbay, with the weights of GPT-2 small, against numbers that TransformerLens's demos print.

    python3 tools/verify_gpt2_small.py                          (--model gpt2, from the hub's local cache)
    python3 tools/verify_gpt2_small.py --model ~/models/gpt2

Runs capture, analyze and cachedump on the eight IOI prompts of those demos and compares: the logit
difference of every prompt; activation patching of resid_pre, attn_out and mlp_out at every layer and
position, and of z, q, k, v and pattern of every head, at all positions and one by one; direct logit
attribution of the stream after each half block, of each layer's parts and of each head; the logit
difference without head 9.9, beside what the head says directly, and what the other heads say then; the
scale of the last LayerNorm with and without it. Of each table it prints the number that differs most; --all prints every one, --csv writes them.

tools/gpt2_small_ioi.json holds the numbers, with their source. What it does not run, such as
attribution patching, is named. The attributions in it were computed with refactored weights, whose
rounding shows (together they miss the logit difference by 2e-4): they may differ by ten times
--tolerance.

Ends with 0 if everything is within --tolerance, 1 if not; with 66 if the model or a command is missing or
fails, and 65 if the file of numbers is not one.
Needs Python's standard library only.

    python3 tools/verify_gpt2_small.py --model DIR --reference FILE

writes such a file of any GPT-2 whose tokenizer has the names as single tokens, as TransformerLens 2.18
computes it, and compares nothing; --expected FILE then compares with it. (The Python that has
TransformerLens is named by --python, or made in ~/.cache/patchbay.) Effects are shares of the gap between
clean and corrupted runs, 7.1 in GPT-2 small: where a model has hardly any gap, as random ones, rounding is
divided by it too, and --tolerance must allow for it.
"""

import argparse
import csv
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "tools/gpt2_small_ioi.json"
BLOCK_HOOKS = ["resid_pre", "attn_out", "mlp_out"]
HEAD_HOOKS = ["z", "q", "k", "v", "pattern"]
ATTRIBUTION = {"accumulated_resid": "accumulated", "per_layer": "layer",
               "per_head[layer][head]": "head"}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="gpt2", help="a directory or a hub name (default gpt2)")
    parser.add_argument("--bin", type=Path, default=binaries(), help="default the built ones, "
                        "or else those on the PATH")  # fmt: skip
    parser.add_argument("--expected", type=Path, default=PUBLISHED, help="the numbers")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="default 1e-4")
    parser.add_argument("--all", action="store_true", help="print every number")
    parser.add_argument("--csv", type=Path, help="write every number to this file")
    parser.add_argument("--threads", type=int, help="default one a core")
    parser.add_argument("--work", type=Path, help="folder for the cache (default the system's)")
    parser.add_argument("--reference", type=Path, help="write TransformerLens's numbers instead")
    parser.add_argument("--python", help="with --reference: one that has transformer-lens 2.18")
    return parser.parse_args()


def binaries() -> Path:
    built = ROOT / ".build/release"
    installed = shutil.which("analyze")
    return built if built.exists() or not installed else Path(installed).parent


class Failure(Exception):
    """What keeps the check from being made, in a sentence."""


@dataclass
class Number:
    """A published number beside ours."""

    group: str
    place: str
    published: float
    ours: float

    @property
    def difference(self) -> float:
        distance = abs(self.ours - self.published)
        return math.inf if math.isnan(distance) else distance

    def within(self, tolerance: float) -> bool:
        """Whether the two are near enough; attributions may be ten times as far apart."""
        return self.difference <= tolerance * (10 if "logit_attribution" in self.group else 1)


class Patchbay:
    """The commands of a build, on one model and one cache."""

    def __init__(self, binaries: Path, model: str, folder: Path, threads: int | None):
        self.binaries, self.model, self.folder = binaries, model, folder
        self.threads = [] if threads is None else ["--threads", str(threads)]
        self.cache = folder / "cache"
        self.ablated = folder / "ablated"

    def run(self, name: str, *words, text: str = "") -> str:
        line = [str(self.binaries / name), *map(str, words)]
        try:
            done = subprocess.run(line, input=text, capture_output=True, text=True)
        except OSError as error:
            raise Failure(f"{line[0]}: {error.strerror}; build with `make`, or name --bin") from None
        if done.returncode:
            raise Failure(f"{' '.join(line)}\nended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def texts_of(self, tokens: list[int]) -> list[str]:
        """The text of each token, which must be that token again."""
        lines = "".join(f"[{token}]\n" for token in tokens)
        out = self.run("analyze", "tokens", "--model", self.model, "--decode", "--json", text=lines)
        texts = [json.loads(line) for line in out.splitlines()]
        again = self.run(
            "analyze", "tokens", "--model", self.model, "--no-bos", "--json", "--jsonl",
            text="".join(json.dumps(text) + "\n" for text in texts),
        )  # fmt: skip
        if [json.loads(line) for line in again.splitlines()] != [[token] for token in tokens]:
            raise Failure(f"{self.model}: the answers {tokens} are not this tokenizer's names; "
                          "--expected is of another model")  # fmt: skip
        return texts

    def capture(self, prompts: list[str], answers: list[list[int]]):
        rows = []
        for number, (prompt, pair) in enumerate(zip(prompts, answers)):
            right, wrong = self.texts_of(pair)
            rows.append({"clean": prompt, "corrupted": prompts[number ^ 1], "answer": right,
                         "wrong_answer": wrong})  # fmt: skip
        file = self.folder / "prompts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self.run("capture", "--model", self.model, "--prompts", file, "--out", self.cache,
                 "--quiet", *self.threads)  # fmt: skip

    def sweep(self, command: str, *words) -> dict:
        """What `analyze patch` or `analyze ablate` says."""
        return json.loads(
            self.run("analyze", command, "--cache", self.cache, "--json", "--quiet",
                     "--permutations", 1, *words, *self.threads)  # fmt: skip
        )

    def ablate(self, layer: int, head: int) -> dict:
        """Zeroes a head's output at the last position, and keeps these runs in `ablated`."""
        cells = self.folder / "cells.csv"
        cells.write_text(f"group,hook,layer,head,pos\na,z,{layer},{head},-1\n", encoding="utf-8")
        shutil.rmtree(self.ablated, ignore_errors=True)
        return self.sweep("ablate", "--cells", cells, "--source", "zero", "--capture", self.ablated)

    def attribution(self, by: str, cache: Path | None = None) -> list[float]:
        """Mean direct logit attribution of each part at the last position."""
        out = self.run("analyze", "attribution", "--cache", cache or self.cache, "--by", by, "--json",
                       "--model", self.model, "--quiet", *self.threads)  # fmt: skip
        parts = json.loads(out)["tables"][0]
        return parts["mean"][: parts["rows"].index("remainder") if by == "head" else None]

    def last_scales(self, cache: Path, prompts: int) -> list[float]:
        """ln_final.hook_scale at the last position of each prompt."""
        scales = []
        for number in range(prompts):
            out = self.run("cachedump", "show", cache, "--prompt", number, "--hook",
                           "ln_final.hook_scale", "--pos", -1, "--json")  # fmt: skip
            shown = json.loads(out)
            scales.append((shown[0] if isinstance(shown, list) else shown)["values"][0])
        return scales


def table(sweep: dict, values: str) -> list:
    """A sweep's numbers as nested lists in its shape."""
    numbers = [math.nan if value is None else value for value in sweep[values]]
    for length in reversed(sweep["shape"][1:]):
        numbers = [numbers[i : i + length] for i in range(0, len(numbers), length)]
    return numbers


def head_rows(cells: list) -> list:
    """[layer][pos][head] as [layer * heads + head][pos]."""
    return [list(column) for layer in cells for column in zip(*layer)]


def flat(group: str, published, ours, place: str = "") -> list[Number]:
    """Two nested lists of one shape, number by number."""
    if not isinstance(published, list):
        if isinstance(ours, list):
            raise ValueError(f"{group}{place} is a number, and ours a list")
        return [Number(group, place, float(published), float(ours))]
    if not isinstance(ours, list) or len(ours) != len(published):
        count = len(ours) if isinstance(ours, list) else "no"
        raise ValueError(f"{group}{place} has {len(published)} values, and ours {count}")
    return [number for index, (a, b) in enumerate(zip(published, ours))
            for number in flat(group, a, b, f"{place}[{index}]")]  # fmt: skip


def compared(expected: dict, patchbay: Patchbay) -> tuple[list[Number], list[str]]:
    """Every number that a command of ours computes, and the names of all others."""
    prompts, answers = expected["prompts"], expected["answer_tokens"]
    patchbay.capture(prompts, answers)
    runs = [
        (patchbay.sweep("patch", "--hooks", ",".join(BLOCK_HOOKS)), BLOCK_HOOKS, "[layer][pos]"),
        (patchbay.sweep("patch", "--hooks", ",".join(HEAD_HOOKS), "--by", "head"), HEAD_HOOKS,
         "all_pos[layer][head]"),
        (patchbay.sweep("patch", "--hooks", ",".join(HEAD_HOOKS), "--by", "head-pos"), HEAD_HOOKS,
         "by_pos"),
    ]  # fmt: skip
    first = runs[0][0]
    numbers = flat("per_prompt_logit_diff", expected["per_prompt_logit_diff"],
                   [pair["clean_metric"] for pair in first["pairs"]])  # fmt: skip
    numbers += flat("clean_logit_diff", expected["clean_logit_diff"], first["baselines"]["clean"])
    numbers += flat("corrupted_logit_diff", expected["corrupted_logit_diff"],
                    first["baselines"]["corrupted"])  # fmt: skip
    for run, hooks, ending in runs:
        for hook in hooks:
            sweep = next(sweep for sweep in run["sweeps"] if sweep["hook"] == hook)
            ours = table(sweep, "effect")
            if ending == "by_pos":
                name, ours = f"head_{hook}_by_pos[layer*12+head][pos]", head_rows(ours)
            else:
                name = f"head_{hook}_{ending}" if hook in HEAD_HOOKS else hook + ending
            numbers += flat(f"act_patch.{name}", expected["act_patch"][name], ours)
    published = expected.get("logit_attribution", {})
    parts = {name: patchbay.attribution(by) for name, by in ATTRIBUTION.items()}
    heads = len(expected["act_patch"]["head_z_all_pos[layer][head]"][0])
    by_head = parts["per_head[layer][head]"]
    parts["per_head[layer][head]"] = rows = [
        by_head[i : i + heads] for i in range(0, len(by_head), heads)
    ]
    for name, ours in parts.items():
        if name in published:
            numbers += flat(f"logit_attribution.{name}", published[name], ours)
    not_run = [key for key in expected if key.startswith("head_scores")]
    not_run += ["attribution_patch"] if "attribution_patch" in expected else []
    for key in expected:
        if match := re.fullmatch(r"ablate_(\d+)\.(\d+)", key):
            layer, head = map(int, match.groups())
            more, missing = ablation(key, expected[key], patchbay, layer, head, rows[layer][head],
                                     len(prompts), heads)  # fmt: skip
            numbers += more
            not_run += missing
    return numbers, not_run


def ablation(key: str, expected: dict, patchbay: Patchbay, layer: int, head: int, says: float,
             prompts: int, heads: int):  # fmt: skip
    """The runs without a head's output at the last position; the head says so much directly."""
    run = patchbay.ablate(layer, head)
    scales = patchbay.last_scales(patchbay.cache, prompts)
    after = patchbay.last_scales(patchbay.ablated, prompts)
    others = patchbay.attribution("head", patchbay.ablated)
    ours = {
        "original": run["baselines"]["clean"],
        "post_ablation": run["sweeps"][0]["metric"][0],
        f"DLA_{layer}.{head}": says,
        "naive_prediction": run["baselines"]["clean"] - says,
        "ln_final_scale_last_pos_original": scales,
        "ln_final_scale_last_pos_ablated": after,
        "mean_scale_ratio": sum(a / b for a, b in zip(scales, after)) / len(scales),
        "logit_attribution[layer][head]": [
            others[i : i + heads] for i in range(0, len(others), heads)
        ],
    }
    numbers = []
    for name, value in ours.items():
        if name in expected:
            numbers += flat(f"{key}.{name}", expected[name], value)
    missing = [f"{key}.{name}" for name in expected if name not in ours and name != "note"]
    return numbers, missing


def report(numbers: list[Number], not_run: list[str], options: argparse.Namespace) -> int:
    """Prints the comparison; returns how many numbers are beyond the tolerance."""
    groups: dict[str, list[Number]] = {}
    for number in numbers:
        groups.setdefault(number.group, []).append(number)
    wide = max(map(len, groups)) + 2
    print(f"{'':{wide}}  numbers  published       ours  difference  where it is largest")
    for group, members in groups.items():
        worst = max(members, key=lambda number: number.difference)
        beyond = sum(not number.within(options.tolerance) for number in members)
        shown = members if options.all else [worst]
        for number in shown:
            count = len(members) if number is worst else ""
            verdict = "" if number.within(options.tolerance) else "  BEYOND"
            print(f"{group:{wide}}  {count:7}  {number.published:9.6f}  {number.ours:9.6f}"
                  f"  {number.difference:10.1e}  {number.place}{verdict}".rstrip())  # fmt: skip
        if beyond > 1:
            print(f"{'':{wide}}  {beyond} of {len(members)} are beyond {options.tolerance:g}")
    for name in not_run:
        print(f"not run: {name}")
    return sum(not number.within(options.tolerance) for number in numbers)


def write_csv(path: Path, numbers: list[Number]):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["group", "place", "published", "ours", "difference"])
        for number in numbers:
            rows.writerow([number.group, number.place, number.published, number.ours,
                           number.difference])  # fmt: skip


def write_reference(options: argparse.Namespace):
    from patchbay_compare import environment

    environment.enter(options.python)
    from patchbay_compare import ioi_reference

    prompts = json.loads(PUBLISHED.read_text(encoding="utf-8"))["prompts"]
    options.reference.write_text(ioi_reference.numbers(options.model, prompts), encoding="utf-8")
    print(f"wrote {options.reference}")


def main() -> int:
    options = arguments()
    if options.reference:
        write_reference(options)
        return 0
    try:
        expected = json.loads(options.expected.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory(prefix="patchbay-verify-", dir=options.work) as folder:
            patchbay = Patchbay(options.bin, options.model, Path(folder), options.threads)
            numbers, not_run = compared(expected, patchbay)
    except (Failure, OSError) as error:
        print(f"verify_gpt2_small: {error}", file=sys.stderr)
        return 66
    except (KeyError, TypeError, ValueError) as error:
        print(f"verify_gpt2_small: {options.expected} is not a file of numbers as "
              f"{PUBLISHED.name} is: {error!r}", file=sys.stderr)  # fmt: skip
        return 65
    print(f"{options.model} beside {options.expected.name}, tolerance {options.tolerance:g}\n")
    beyond = report(numbers, not_run, options)
    if options.csv:
        write_csv(options.csv, numbers)
    print(f"\n{beyond} of {len(numbers)} numbers are beyond {options.tolerance:g}" if beyond
          else f"\nall {len(numbers)} numbers are within {options.tolerance:g}")  # fmt: skip
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
