#!/usr/bin/env python3
"""Writes the manual pages in docs/man from what the commands say of themselves.

    python3 tools/man_pages.py              (`make man`; the commands of .build/release)
    python3 tools/man_pages.py --check      writes nothing; names the pages that are out of date

A page a command and subcommand, in mdoc(7): abstract, discussion and options from the command's
--experimental-dump-help, examples from docs/cookbook.md and README.md. The date of a page is that of its
last change; --check passes over it.

Ends with 0, with 1 if --check finds a page out of date, with 66 if a command or a file is missing.
Needs Python's standard library only.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from sessions import PAGES, PROGRAMS, Page

ROOT = Path(__file__).resolve().parent.parent
MONTHS = ("January February March April May June July August September October November"
          " December").split()  # fmt: skip
EXAMPLES = 3

STATUSES = [
    (0, "Done."),
    (64, "A mistake in the arguments."),
    (65, "A file holds what it must not hold, or is damaged."),
    (66, "A file, a model or a prompt is not there."),
    (70, "A check of the program's own results failed."),
    (73, "Something cannot be created, or is locked by another process."),
    (74, "Reading or writing failed."),
    (75, "Not complete; the same command goes on."),
    (78, "Things that do not fit together: a model that is not the cache's, or a setting."),
]
VARIABLES = [
    ("HF_HUB_CACHE , HF_HOME", "Where the local cache of Hugging Face's hub is."),
    ("HF_HUB_OFFLINE", "1: no model is fetched."),
    ("HF_ENDPOINT", "The hub, or a mirror of it."),
    ("HF_TOKEN", "The token for private and gated models."),
]


def escaped(text: str) -> str:
    """Text as roff shows it unchanged; what stands in backquotes is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    text = text.replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)


def prose(text: str) -> list[str]:
    """Paragraphs as text lines: each sentence on lines of its own, none over 78 columns."""
    lines = []
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            lines.append(".Pp")
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z-])", " ".join(paragraph.split())):
            for line in textwrap.wrap(escaped(sentence), 78, break_on_hyphens=False,
                                      break_long_words=False):  # fmt: skip
                lines.append("\\&" + line if line[0] in ".'" else line)
    return lines


def word(text: str) -> str:
    """Text as one argument of a macro, never a macro itself."""
    text = escaped(text)
    return f'"{text}"' if " " in text else "\\&" + text if len(text) < 3 else text


def value(argument: dict) -> str:
    """What an option takes, as macros; nothing for a flag."""
    if argument["kind"] != "option":
        return ""
    name = f"Ar {word(argument['valueName'])}"
    return f" Op {name}" if argument["parsingStrategy"] == "scanningForValue" else f" {name}"


def flag(name: dict) -> str:
    """-h or --help as a macro."""
    return "Fl " + ("\\-" if name["kind"] == "long" else "") + escaped(name["name"])


def flags(argument: dict) -> str:
    """-h, --help as macros."""
    names = [name for name in argument["names"] if name["kind"] != "longWithSingleDash"]
    return " , ".join(map(flag, names))


def positional(argument: dict) -> str:
    name = f"Ar {word(argument['valueName'])}"
    name += " ..." if argument["isRepeating"] else ""
    return f"Op {name}" if argument["isOptional"] else name


def explanation(argument: dict) -> str:
    """An option's text with its values and its default."""
    text = [argument.get("abstract", "")]
    if values := argument.get("allValues"):
        text.append(f"One of {', '.join(values)}.")
    # The number of threads is the machine's, and said in words.
    if (default := argument.get("defaultValue")) and argument["valueName"] != "threads":
        bare = argument["parsingStrategy"] == "scanningForValue"
        text.append(f"Without a value: {default}." if bare else f"By default {default}.")
    return " ".join(text)


def tagged(rows: list[tuple[str, str]]) -> list[str]:
    """A list of tags, each a line of macros, with their explanations."""
    lines = [".Bl -tag -width Ds"]
    for tag, text in rows:
        lines += [f".It {tag}", *prose(text)]
    return [*lines, ".El"]


class Command:
    """A command or subcommand, as it describes itself."""

    def __init__(self, described: dict, parents: list["Command"], version: str):
        self.words = [*(parents[-1].words if parents else []), described["commandName"]]
        self.parents, self.version = parents, version
        self.abstract, self.discussion = described["abstract"], described.get("discussion", "")
        self.arguments = [a for a in described.get("arguments", []) if a["shouldDisplay"]]
        if parents:
            self.arguments = [a for a in self.arguments if a["valueName"] not in ("help", "version")]
        self.children = [Command(child, [*parents, self], version)
                         for child in described.get("subcommands", [])
                         if child["commandName"] != "help"]  # fmt: skip

    @property
    def name(self) -> str:
        return "-".join(self.words)

    def all(self) -> list["Command"]:
        return [self, *(below for child in self.children for below in child.all())]

    def synopsis(self) -> list[str]:
        named = [a for a in self.arguments if a["kind"] != "positional"]
        lines = [f".Nm {self.words[0]}" if not self.parents else f'.Nm "{" ".join(self.words)}"']
        required = [a for a in named if not a["isOptional"]]
        if len(required) < len(named):
            lines.append(".Op Ar options")
        lines += [f".{flag(a['preferredName'])}{value(a)}" for a in required]
        lines += [f".{positional(a)}" for a in self.arguments if a["kind"] == "positional"]
        if self.children:
            lines.append(".Ar subcommand ...")
        return lines

    def options(self) -> list[tuple[str, str]]:
        return [
            (positional(a) if a["kind"] == "positional" else flags(a) + value(a),
             explanation(a)) for a in self.arguments
        ]  # fmt: skip

    def statuses(self) -> list[tuple[int, str]]:
        """The exit statuses; of a comparison as diff(1) has them."""
        if self.name != "cachedump-diff":
            return STATUSES
        return [(0, "The caches are equal."), (1, "They differ."), *STATUSES[1:]]

    def page(self, sessions: list[Page]) -> str:
        """The page without its date."""
        lines = [f".Dt {self.name.upper()} 1", f'.Os "{self.version}"', ".Sh NAME",
                 f".Nm {self.name}", f".Nd {escaped(self.abstract.rstrip('.?'))}", ".Sh SYNOPSIS",
                 *self.synopsis(), ".Sh DESCRIPTION",
                 *prose(self.discussion or self.abstract)]  # fmt: skip
        if self.arguments:
            lines += [".Pp", "The options are:", *tagged(self.options())]
        if self.children:
            lines += [".Sh SUBCOMMANDS",
                      *tagged([(f"Xr {c.name} 1", c.abstract) for c in self.children])]  # fmt: skip
        if any(a["kind"] == "option" and a["names"][0]["name"] == "model" for a in self.arguments):
            lines += [".Sh ENVIRONMENT", *tagged([
                (" , ".join(f"Ev {name}" for name in names.split(" , ")), text)
                for names, text in VARIABLES])]  # fmt: skip
        lines += [".Sh EXIT STATUS",
                  *tagged([(str(status), text) for status, text in self.statuses()])]  # fmt: skip
        start = " ".join(self.words)
        if shown := [each for page in sessions for each in page.examples(start)][:EXAMPLES]:
            lines.append(".Sh EXAMPLES")
            for number, (heading, command) in enumerate(shown):
                lines += [".Pp"] * (number > 0)
                lines += [*prose(heading.rstrip(".?") + ":"), ".Bd -literal -offset indent",
                          *broken(command), ".Ed"]  # fmt: skip
        near = [*self.parents, *(self.parents[-1].children if self.parents else self.children)]
        near = sorted({c.name for c in near if c is not self}
                      | {p for p in PROGRAMS if not self.parents and p != self.name})  # fmt: skip
        lines += [".Sh SEE ALSO"]
        lines += [f".Xr {name} 1" + (" ," if name != near[-1] else "") for name in near]
        return "\n".join(lines) + "\n"


def broken(command: str, width: int = 72) -> list[str]:
    """A command line as literal text, continued with backslashes where it is long."""
    lines = textwrap.wrap(command, width, break_on_hyphens=False, break_long_words=False,
                          subsequent_indent="    ")  # fmt: skip
    return [escaped(line) + (" \\e" if line is not lines[-1] else "") for line in lines]


def programs(folder: Path) -> list[Command]:
    """Every program with its subcommands."""
    found = []
    for name in PROGRAMS:
        say = [subprocess.run([folder / name, option], capture_output=True, text=True, check=True)
               for option in ("--version", "--experimental-dump-help")]  # fmt: skip
        found.append(Command(json.loads(say[1].stdout)["command"], [], say[0].stdout.strip()))
    return found


def body(page: str) -> str:
    """A page without the lines that say how it was made and when."""
    return "".join(line for line in page.splitlines(True) if not line.startswith((".\\", ".Dd")))


def today() -> str:
    day = datetime.date.today()
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bin", type=Path, default=ROOT / ".build/release")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/man")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    try:
        sessions = [Page.read(page) for page in PAGES]
        commands = [command for program in programs(options.bin) for command in program.all()]
        pages = {f"{command.name}.1": command.page(sessions) for command in commands}
        there = {file.name: file.read_text(encoding="utf-8") for file in options.out.glob("*.1")}
        stale = sorted(name for name in {*pages, *there}
                       if pages.get(name) != (body(there[name]) if name in there else None))  # fmt: skip
        for name in stale:
            if options.check:
                print(f"{options.out / name} is out of date; `make man` renews it")
            elif name in pages:
                head = '.\\" Made by tools/man_pages.py; `make man` makes it anew.\n'
                (options.out / name).write_text(head + f".Dd {today()}\n" + pages[name],
                                                encoding="utf-8")  # fmt: skip
            else:
                (options.out / name).unlink()
    except OSError as error:
        print(f"man_pages: {error.filename}: {error.strerror}; build with `make`, or name --bin",
              file=sys.stderr)  # fmt: skip
        return 66
    except subprocess.CalledProcessError as error:
        print(f"man_pages: {error}: {error.stderr.strip()}", file=sys.stderr)
        return 66
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
