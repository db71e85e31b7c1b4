#!/usr/bin/env python3
"""Runs the terminal sessions of a page and compares what is printed with what the page says.

    python3 tools/sessions.py                        (docs/cookbook.md and README.md)
    python3 tools/sessions.py docs/cookbook.md --write

A session is a code block of a page: `$ ` begins a command, the lines after it are its standard output, and
`> ` goes on with a command that takes several lines. All commands of a page run one after the other in a
temporary folder, in which examples/ is the repository's. `…` stands for any text in a line and, alone in
one, for any number of lines; times and speeds are passed over. Blocks without a `$ ` are left alone, and a
comment `<!-- $ … -->` holds a command that is run and not shown.

Every command must end with 0; `cachedump diff` may end with 1, which says that caches differ. --write puts
what was printed in the place of what differs, and keeps `…` where only numbers have changed.

Ends with 0, with 1 if something differs, with 66 if a page or a command is missing.
Needs Python's standard library only; the pages' own commands may need numpy.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs/cookbook.md", ROOT / "README.md"]
PROGRAMS = ["capture", "analyze", "cachedump"]
TIMES = re.compile(r"[\d.,]+ s, [\d.,]+ tokens/s")
HIDDEN = re.compile(r"<!-- \$ (.*) -->")


@dataclass
class Command:
    """A command line of a page, and what the page says that it prints."""

    text: str
    heading: str
    number: int  # of the line, from 1
    output: list[str] | None  # None: not shown


class Page:
    """A Markdown page as the sessions in it."""

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.commands: list[Command] = []
        heading, fenced = "", False
        for number, line in enumerate(lines, 1):
            if line.startswith("```"):
                fenced = not fenced
                running = False
            elif not fenced:
                if line.startswith("#"):
                    heading = re.sub(r"^#+ (\d+\. )?", "", line)
                elif hidden := HIDDEN.fullmatch(line):
                    self.commands.append(Command(hidden[1], heading, number, None))
            elif line.startswith("$ "):
                self.commands.append(Command(line[2:], heading, number, []))
                running = True
            elif running and line.startswith("> ") and not self.commands[-1].output:
                self.commands[-1].text += "\n" + line[2:]
            elif running:
                self.commands[-1].output.append(line)

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path.read_text(encoding="utf-8").splitlines())

    def examples(self, start: str) -> list[tuple[str, str]]:
        """The shown commands that begin with these words, each with the heading above it."""
        return [(c.heading, c.text) for c in self.commands
                if c.output is not None and (c.text + " ").startswith(start + " ")]  # fmt: skip

    def with_outputs(self, outputs: dict[int, list[str]]) -> str:
        """The page with other outputs, by the lines of their commands."""
        lines, skipped = [], 0
        for number, line in enumerate(self.lines, 1):
            if skipped:
                skipped -= 1
                continue
            lines.append(line)
            if number in outputs:
                command = next(c for c in self.commands if c.number == number)
                more = command.text.count("\n")
                lines += self.lines[number : number + more] + outputs[number]
                skipped = more + len(command.output)
        return "\n".join(lines) + "\n"


def line_pattern(line: str) -> re.Pattern:
    """What may stand in place of a line of the page."""
    parts = re.split("…", TIMES.sub("…", line.rstrip()))
    return re.compile(".*".join(map(re.escape, parts)))


def difference(page: list[str], printed: list[str]) -> str | None:
    """Where the lines of a page and those that were printed first differ; None if nowhere.

    Empty lines at the end count in neither.
    """
    page, printed = ("\n".join(lines).rstrip().splitlines() for lines in (page, printed))
    blocks: list[list[str]] = [[]]
    for line in page:
        if line.strip() == "…":
            blocks.append([])
        else:
            blocks[-1].append(line)
    at = 0
    for index, block in enumerate(blocks):
        patterns = [line_pattern(line) for line in block]

        def fits(start: int) -> int:
            """How many lines of the block fit from there on."""
            pairs = zip(patterns, printed[start:])
            return next((i for i, (p, l) in enumerate(pairs) if not p.fullmatch(l.rstrip())),
                        min(len(patterns), len(printed) - start))  # fmt: skip

        last = index == len(blocks) - 1
        if index == 0:
            starts = [0]
        elif last:
            starts = [len(printed) - len(block)] if len(printed) - len(block) >= at else []
        else:
            starts = range(at, len(printed) - len(block) + 1)
        start = next((s for s in starts if fits(s) == len(block)), None)
        if start is None:
            best = max(starts, key=fits, default=None)
            line = block[0 if best is None else fits(best)]
            near = difflib.get_close_matches(line, printed[at:], 1, 0) or ["nothing more"]
            return f"the page has     {line}\nprinted, nearest {near[0]}"
        at = start + len(block)
    if at < len(printed):
        return f"the page has nothing more\nprinted          {printed[at]}"
    return None


def mended(page: list[str], printed: list[str]) -> list[str]:
    """The printed lines with the page's `…`, and the empty lines at its end, where the rest is what it
    was but for numbers, digests and blanks."""

    kinds = [r"\b[0-9a-f]{12}\b", r"[\d.,]*\d", " +"]

    def loosened(part: str) -> str:
        return "".join(
            next((kind for kind in kinds if re.fullmatch(kind, piece)), re.escape(piece))
            for piece in re.split(f"({'|'.join(kinds)})", part)
        )

    shown = "\n".join(page).rstrip().splitlines()
    lines, at, skips = [], 0, False
    for line in shown:
        if line.strip() == "…":
            lines.append(line)
            skips = True
            continue
        pattern = re.compile(".*".join(f"({loosened(part)})" for part in line.rstrip().split("…")))
        found = None
        while at < len(printed) and found is None:
            found = pattern.fullmatch(printed[at].rstrip())
            at += 1
            if not skips:
                break
        if not found:
            return printed
        lines.append("…".join(found.groups()))
        skips = False
    return lines + page[len(shown) :] if skips or at == len(printed) else printed


def run(page: Page, path: Path, binaries: Path, write: bool) -> int:
    """Runs a page's commands; returns how many do not do what the page says."""
    failures, outputs = 0, {}
    with tempfile.TemporaryDirectory(prefix="patchbay-sessions-") as folder:
        os.symlink(ROOT / "examples", Path(folder, "examples"))
        # python3 is this one, so that who chose it chose the pages' as well.
        folders = [str(binaries.resolve()), str(Path(sys.executable).parent), os.environ["PATH"]]
        environment = os.environ | {"PATH": ":".join(folders), "HF_HUB_OFFLINE": "1"}
        for command in page.commands:
            done = subprocess.run(["bash", "-c", command.text], cwd=folder, env=environment,
                                  capture_output=True, text=True)  # fmt: skip
            printed = done.stdout.splitlines()
            problem = None if command.output is None else difference(command.output, printed)
            differs = done.returncode == 1 and command.text.startswith("cachedump diff ")
            if done.returncode and not differs:
                problem = f"ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
            elif problem and write:
                outputs[command.number] = mended(command.output, [line.rstrip() for line in printed])
                problem = None
            if problem:
                failures += 1
                print(f"{path.name}:{command.number}: $ {command.text}\n{problem}\n")
    if outputs:
        path.write_text(page.with_outputs(outputs), encoding="utf-8")
    print(f"{path.name}: {len(page.commands)} commands, {failures} not as the page says, "
          f"{len(outputs)} written anew")  # fmt: skip
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    parser.add_argument("--bin", type=Path, default=ROOT / ".build/release")
    parser.add_argument("--write", action="store_true", help="mend the page")
    options = parser.parse_args()
    for program in PROGRAMS:
        if not os.access(options.bin / program, os.X_OK):
            print(f"sessions: {options.bin / program} is missing; build with `make`, or name --bin",
                  file=sys.stderr)  # fmt: skip
            return 66
    try:
        failures = sum(run(Page.read(page), page, options.bin, options.write)
                       for page in options.pages)  # fmt: skip
    except OSError as error:
        print(f"sessions: {error.filename}: {error.strerror}", file=sys.stderr)
        return 66
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
