#!/usr/bin/env python3
"""Holds Patchbay's tokenizer against Hugging Face's fast one, which TransformerLens uses.

    /path/to/venv/bin/python tools/compare_tokenizer.py ~/models/gpt2

MODEL is a directory with vocab.json and merges.txt or tokenizer.json (and a config.json that
names the model type, as AutoTokenizer wants). Compares

    ids       of seeded random and adversarial strings (20,000 unless --count says otherwise)
    scalars   ids of texts that hold every Unicode scalar between letters, digits, signs, spaces
    text      of those ids decoded, of random ids decoded, and of every single id
    BOS       the token that TransformerLens puts before a prompt

Prints how many were compared and the first differences; ends with 1 if there are any. Needs
Python with transformers; no network is used.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from transformers import AutoTokenizer  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

SPACES = [chr(c) for c in (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))]
SPACES += list("\u2028\u2029\u202f\u205f\u3000")
NEARLY_SPACES = list("\u180e\u200b\u200c\u200d\u2060\ufeff\x1c\x1d\x1e\x1f\x00\x7f")
COMBINING = [chr(c) for c in (*range(0x300, 0x370), *range(0x1AB0, 0x1AC0), 0x20DD, 0xFE0F, 0x093F)]
DIGITS = [chr(c) for c in (0x660, 0x6F5, 0x966, 0xE53, 0xFF11, 0x1D7D9, 0x1F101)]
DIGITS += list("²³¹½Ⅷⅸ①⑳〇㊿")
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "❤️‍🔥", "1️⃣", "🧑🏿‍🚀", "🫠", "☠"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'r", "'l", "'v", "''s"]
CONTRACTIONS += ["’s", "ʼs", "'é", "'re's", " 's", "'sx", "'llll"]
TWINS = ["é", "e\u0301", "Å", "\u212b", "A\u030a", "ﬁ", "fi", "한", "한", "Ω", "\u2126", "\u1e9b\u0323"]
WORDS = """the quick brown Fox JUMPS over Mary and John went to store gave a drink to naïve Straße
Привет мир Καλημέρα שלום العربية 日本語 中文 한국어 ไทย हिन्दी don't I'll we've they're
def foo(x): return x**2 http://example.com/a?b=c&d=1 3.14159 1,000,000 C++ Ġ Ċ Ġthe âĢĻ""".split()
UNUSUAL = ["\ue000", "\uf8ff", "\U000f0000", "\U0010fffd", "\ufffd", "\ufffe", "\uffff", "\u0378",
           "\U0001ffff", "\U000e0001", "\U000e0041", "\U0001fad0", "\U00010940", "\u088f"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a directory in Hugging Face's layout")
    parser.add_argument("--analyze", type=Path, default=ROOT / ".build/release/analyze")
    parser.add_argument("--count", type=int, default=20_000, help="strings (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=5, help="differences shown (default 5)")
    parser.add_argument("--no-scalars", action="store_true", help="leave out every Unicode scalar")
    args = parser.parse_args()
    if not args.analyze.exists():
        parser.error(f"there is no {args.analyze}; build it, or name it with --analyze")
    return args


# Strings


def any_scalar(rng: random.Random) -> str:
    """A scalar of any plane; low ones, which have more letters, are likelier."""
    limit = rng.choice([0x80, 0x100, 0x250, 0x3000, 0x10000, 0x20000, 0x40000, 0x110000])
    while True:
        value = rng.randrange(limit)
        if not 0xD800 <= value < 0xE000:
            return chr(value)


def fragment(rng: random.Random, added: list[str]) -> str:
    def several(items: list[str], most: int) -> str:
        return "".join(rng.choice(items) for _ in range(rng.randint(1, most)))

    kind = rng.randrange(17)
    if kind == 0:
        return "".join(any_scalar(rng) for _ in range(rng.randint(1, 12)))
    if kind == 1:
        return rng.choice(WORDS) + rng.choice(CONTRACTIONS) + rng.choice(["", " ", "\n", "x"])
    if kind == 2:
        return rng.choice(SPACES) * rng.randint(1, 40)
    if kind == 3:
        return several(SPACES + NEARLY_SPACES, 6)
    if kind == 4:
        return several(WORDS, 1) + several(COMBINING, 8)
    if kind == 5:
        return several(EMOJI, 4)
    if kind == 6:
        return several(["\r\n", "\r", "\n", "\n\n", "\t", " \r\n "], 5)
    if kind == 7:
        return several(DIGITS + list("0123456789"), 8) + rng.choice(["", "th", " ", ".5", "'s"])
    if kind == 8 and added:
        token = rng.choice(added)
        cut = rng.choice([token, token, token, token[:-1], token[1:], token * 2, token.upper()])
        return rng.choice(["", " ", "  ", "\n", "\u3000"]) + cut + rng.choice(["", " ", "\n ", "a"])
    if kind == 9:
        return several(UNUSUAL, 5)
    if kind == 10:
        return "".join(chr(rng.randrange(0x20)) for _ in range(rng.randint(1, 5)))
    if kind == 11:
        return several(TWINS, 6)
    if kind == 12:
        return several(list("!?.,;:-_#@$%^&*()[]{}<>|/\\\"'`~+="), 12)
    if kind == 13:
        return "".join(chr(rng.randrange(0x80)) for _ in range(rng.randint(1, 30)))
    if kind == 14:
        return "".join(chr(rng.randrange(0xA0, 0x150)) for _ in range(rng.randint(1, 10)))
    return rng.choice(["", " "]).join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))


def very_long_word(rng: random.Random) -> str:
    alphabet = rng.choice(["a", "ab", "abcdefghijklmnopqrstuvwxyz", "=-", "0123456789", "é漢字", " "])
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(500, 20_000)))


def strings(rng: random.Random, count: int, added: list[str]) -> list[str]:
    result = ["", " ", "  ", "'", " '", "\n", "a", *added]
    while len(result) < count:
        if rng.random() < 0.002:
            result.append(very_long_word(rng))
        else:
            result.append("".join(fragment(rng, added) for _ in range(rng.randint(1, 8))))
    return result[:count]


def scalar_texts() -> list[str]:
    """Each scalar after a letter, a number, a sign and a space, and before them."""
    scalars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return [
        "".join(f"a{c}1{c}! {c} {c}{c}\n" for c in scalars[start : start + 64])
        for start in range(0, len(scalars), 64)
    ]


# The two sides


def analyze(args: argparse.Namespace, options: list[str], lines: list[str]) -> list[object]:
    command = [str(args.analyze), "tokens", "--model", str(args.model), "--json", *options]
    given = "".join(line + "\n" for line in lines).encode()
    run = subprocess.run(command, input=given, capture_output=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {run.returncode}: {run.stderr.decode()}")
    answers = [json.loads(line) for line in run.stdout.split(b"\n")[:-1]]
    if len(answers) != len(lines):
        sys.exit(f"{len(answers)} answers to {len(lines)} lines")
    return answers


class Comparison:
    def __init__(self, show: int) -> None:
        self.show = show
        self.differences = 0

    def compare(self, title: str, inputs: list, theirs: list, ours: list) -> None:
        bad = [row for row in zip(inputs, theirs, ours, strict=True) if row[1] != row[2]]
        self.differences += len(bad)
        print(f"{title}: {len(inputs):,} compared, {len(bad):,} differ")
        for given, expected, got in bad[: self.show]:
            print(f"  {given!r:.300}\n    Hugging Face {expected!r:.300}\n    Patchbay     {got!r:.300}")


def beginning_id(tokenizer) -> int:
    """The BOS of TransformerLens: HookedTransformer.set_tokenizer."""
    token = tokenizer.bos_token or tokenizer.eos_token or "<|endoftext|>"
    return tokenizer.convert_tokens_to_ids(token)


def main() -> None:
    args = arguments()
    rng = random.Random(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    comparison = Comparison(args.show)

    def compare_ids(title: str, texts: list[str]) -> list[list[int]]:
        theirs = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ours = analyze(args, ["--jsonl", "--no-bos"], [json.dumps(text) for text in texts])
        comparison.compare(title, texts, theirs, ours)
        return theirs

    def compare_text(title: str, ids: list[list[int]]) -> None:
        theirs = [
            tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            for row in ids
        ]
        ours = analyze(args, ["--decode"], [json.dumps(row) for row in ids])
        comparison.compare(title, ids, theirs, ours)

    print(f"{args.model}: {len(tokenizer):,} tokens, {type(tokenizer).__name__}, seed {args.seed}")
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    ids = compare_ids("ids of strings", strings(rng, args.count, added))
    compare_text("text of their ids", ids)
    if not args.no_scalars:
        compare_ids("ids of every scalar", scalar_texts())
    size = len(tokenizer)
    compare_text("text of every id", [[token] for token in range(size)])
    compare_text(
        "text of random ids",
        [[rng.randrange(size) for _ in range(rng.randint(0, 30))] for _ in range(args.count // 4)],
    )
    ours = analyze(args, ["--jsonl"], ['""'])
    comparison.compare("BOS", [""], [[beginning_id(tokenizer)]], ours)
    sys.exit(1 if comparison.differences else 0)


if __name__ == "__main__":
    main()
