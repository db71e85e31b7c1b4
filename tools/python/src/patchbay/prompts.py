"""prompts.jsonl and pairs.jsonl: the texts of a cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from . import limits
from .errors import CacheError
from .fields import Fields, is_integer, parse
from .files import read_whole
from .plan import Plan

_PROMPTS = "prompts.jsonl"
_PAIRS = "pairs.jsonl"


@dataclass(frozen=True)
class PromptLine:
    """A prompt of the plan, captured or not."""

    text: str
    tokens: List[int]
    """Token ids, with the one put before the text if there is one."""
    pieces: List[str]
    """The text of each token."""


@dataclass(frozen=True)
class Pair:
    """A row of the prompt file; what it lacks is None."""

    clean: int
    """The number of the clean prompt in the cache."""
    corrupted: Optional[int]
    """The number of the corrupted prompt."""
    answer: Optional[int]
    """A token id."""
    wrong_answer: Optional[int]
    """A token id."""
    id: Optional[str]
    roles: Optional[Dict[str, int]]
    """A position in the clean prompt for each role."""
    subject: Optional[Tuple[int, int]]
    """First position of the subject in the clean prompt, and the one after its last."""
    template: Optional[str] = None
    """What the row's prompts were made from."""


def load_prompts(directory: Path, plan: Plan) -> List[PromptLine]:
    """All prompts of the plan."""
    found = []
    for line in _lines(directory, _PROMPTS, plan.prompts_digest, plan.prompt_count):
        prompt = PromptLine(
            line.text("text"), line.integers("tokens", limits.U32), line.texts("pieces")
        )
        if len(prompt.tokens) != len(prompt.pieces):
            raise line.wrong("pieces", "are not as many as the tokens")
        found.append(prompt)
    return found


def load_pairs(directory: Path, plan: Plan) -> List[Pair]:
    """All pairs of the plan."""
    return [
        Pair(
            clean=line.integer("clean", plan.prompt_count - 1),
            corrupted=line.optional_integer("corrupted", plan.prompt_count - 1),
            answer=line.optional_integer("answer", limits.U32),
            wrong_answer=line.optional_integer("wrongAnswer", limits.U32),
            id=line.text("id") if "id" in line else None,
            roles=_roles(line) if "roles" in line else None,
            subject=_subject(line) if "subject" in line else None,
            template=line.text("template") if "template" in line else None,
        )
        for line in _lines(directory, _PAIRS, plan.pairs_digest, plan.pair_count)
    ]


def _roles(line: Fields) -> Dict[str, int]:
    roles = line.object("roles").value
    if not all(is_integer(position, limits.TOKENS) for position in roles.values()):
        raise line.wrong("roles", "has a role without a position")
    return roles


def _subject(line: Fields) -> Tuple[int, int]:
    positions = line.integers("subject", limits.TOKENS)
    if len(positions) != 2 or positions[0] > positions[1]:
        raise line.wrong("subject", "is not a range of positions")
    return positions[0], positions[1]


def _lines(directory: Path, name: str, digest: str, count: int) -> List[Fields]:
    text = read_whole(directory, name, limits.PROMPT_BYTES)
    where = directory / name
    if hashlib.sha256(text).hexdigest() != digest:
        raise CacheError(f"{where}: is damaged: its SHA-256 is not the plan's")
    # Only a newline ends a line; JSON may hold what Python takes for other line ends.
    lines = text.split(b"\n")
    if lines.pop() != b"" or len(lines) != count:
        raise CacheError(f"{where}: has not the plan's {count} lines")
    return [parse(line, f"{where}: line {number + 1}") for number, line in enumerate(lines)]
