"""Patchbay's side: its commands and the files they write."""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from patchbay_compare.inputs import Pair, Prompts
from safetensors.numpy import load_file


class Patchbay:
    """Runs the commands of a build directory on one model directory."""

    def __init__(self, binaries: Path, model: Path, threads: int):
        self.binaries, self.model, self.threads = binaries, model, threads
        self.last_line = ""

    def command(self, name: str, *arguments) -> tuple[str, float]:
        """Runs a command; returns what it printed and its wall time in seconds."""
        line = [str(self.binaries / name), *map(str, arguments)]
        self.last_line = " ".join(line)
        start = time.perf_counter()
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"{self.last_line}\nended with {done.returncode}: {done.stderr}")
        return done.stdout + done.stderr, seconds

    def capture(self, prompts: Path, cache: Path, weights: str, *more, hooks: str = "*"):
        return self.command(
            "capture", "--prompts", prompts, "--out", cache, "--model", self.model,
            "--weights", weights, "--hooks", hooks, "--threads", self.threads, "--quiet", *more,
        )  # fmt: skip

    def forward_pass(self, prompts: Path) -> str:
        """What patchbay-bench reports of the forward pass alone."""
        return self.command(
            "patchbay-bench", "pass", "--model", self.model, "--prompts", prompts,
            "--threads", self.threads, "--batch-tokens", 528, "--runs", 1,
        )[0]  # fmt: skip

    def disk_rate(self, folder: Path) -> float:
        """GB a second of sequential writing with synchronisation."""
        report, _ = self.command("patchbay-bench", "disk", "--directory", folder, "--runs", 1)
        return float(report.split(" at ")[1].split()[0])

    def arrays(self, cache: Path, prompt: int, folder: Path) -> dict:
        """Every array that a cache holds of a prompt, by hook name."""
        path = folder / f"prompt-{prompt}.safetensors"
        self.command(
            "cachedump", "export", cache, "--prompt", prompt, "--format", "safetensors",
            "--out", path,
        )  # fmt: skip
        arrays = load_file(path)
        path.unlink()
        return arrays

    def peak(self) -> dict:
        """GFLOPS of the fastest of our products: one_thread, and all of `threads`."""
        return json.loads(self.command("patchbay-bench", "peak", "--threads", self.threads)[0])

    def patch(self, cache: Path, hooks: list[str], direction: str, out: Path,
              threads: int | None = None) -> tuple:  # fmt: skip
        """A sweep of each hook along its usual axes: rows of cells.csv, patch.json, seconds."""
        arguments = ["--hooks", ",".join(hooks), "--direction", direction]
        return self.sweep("patch", cache, out, threads, *arguments)

    def patch_cells(self, cache: Path, cells: Path, direction: str, out: Path) -> tuple:
        """The same of a list of cells."""
        return self.sweep("patch", cache, out, None, "--cells", cells, "--direction", direction)

    def ablate(self, cache: Path, hooks: list[str], source: str, out: Path) -> tuple:
        """The same of ablations."""
        arguments = ["--hooks", ",".join(hooks), "--source", source]
        return self.sweep("ablate", cache, out, None, *arguments)

    def trace(self, cache: Path, *arguments) -> dict:
        """trace.json of causal tracing."""
        report, _ = self.command(
            "analyze", "trace", "--cache", cache, "--model", self.model, "--threads", self.threads,
            "--json", *arguments,
        )  # fmt: skip
        return json.loads(report)

    def read(self, cache: Path, *arguments) -> dict:
        """The JSON of an analysis that reads a cache."""
        model = [] if arguments[0] == "stats" else ["--model", self.model]
        report, _ = self.command(
            "analyze", arguments[0], "--cache", cache, *model, "--threads", self.threads,
            "--quiet", "--json", *arguments[1:],
        )  # fmt: skip
        return json.loads(report)

    def store_rate(self, cache: Path, hooks: str) -> float:
        """Prompts a second whose hooks are read, and nothing else."""
        report, _ = self.command(
            "patchbay-bench", "hooks", "--cache", cache, "--only", hooks, "--threads",
            self.threads, "--runs", 1,
        )  # fmt: skip
        return float(re.search(r"([\d,.]+) prompts/s", report)[1].replace(",", ""))

    def sweep(self, command: str, cache: Path, out: Path, threads: int | None, *arguments):
        _, seconds = self.command(
            "analyze", command, "--cache", cache, "--model", self.model, "--out", out,
            "--threads", threads or self.threads, "--quiet", *arguments,
        )  # fmt: skip
        with open(out / "cells.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return rows, json.loads((out / "patch.json").read_text()), seconds


def write_prompts(path: Path, prompts: Prompts, tokens: list[list[int]]):
    path.write_text("".join(prompts.text_of(prompt) + "\n" for prompt in tokens))


def write_pairs(path: Path, prompts: Prompts, pairs: list[Pair]):
    columns = ((*pair.texts, *(prompts.text_of([a]) for a in pair.answers)) for pair in pairs)
    path.write_text("".join("\t".join(row) + "\n" for row in columns))
