"""Models and prompts to compare on: random models of a size, prompts of given token counts."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from patchbay_compare import lens
from transformers import AutoTokenizer, GPT2Config

END_OF_TEXT = "<|endoftext|>"

SIZES = {
    "gpt2-small": {},  # transformers' defaults: 12 layers, 12 heads of 64, V 50257
    "odd1": dict(n_layer=3, n_head=5, n_embd=80, n_inner=112, vocab_size=331, n_positions=37,
                 layer_norm_epsilon=1e-4),
    "odd2": dict(n_layer=4, n_head=3, n_embd=72, n_inner=200, vocab_size=401, n_positions=61,
                 scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
}  # fmt: skip

WORDS = (
    "when Mary and John went to the store gave a drink of milk because river stone under "
    "seven lamps were slowly turning while nobody counted them again before winter came"
).split()


def write_model(size: str, folder: Path, tokenizer: Path | None, seed: int):
    """A random GPT-2 of a size, with a given tokenizer or one of single bytes."""
    config = GPT2Config(**SIZES[size])
    config.bos_token_id = config.eos_token_id = config.vocab_size - 1
    lens.random_gpt2(config, seed).save_pretrained(folder)
    if tokenizer:
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(tokenizer / name, folder / name)
        return
    vocabulary = {symbol: index for index, symbol in enumerate(byte_symbols())}
    for index in range(len(vocabulary), config.bos_token_id):
        vocabulary[f"unused{index}"] = index  # no merge makes it
    vocabulary[END_OF_TEXT] = config.bos_token_id
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins of the 256 bytes: printable ones are themselves, the
    others take the code points from 256 on, in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


@dataclass
class Pair:
    """A clean and a corrupted prompt of equal length, as texts and as tokens with BOS."""

    texts: tuple[str, str]
    tokens: tuple[list[int], list[int]]
    answers: tuple[int, int] = (0, 0)  # right, wrong


class Prompts:
    """Makes texts of exactly so many tokens, beginning-of-sequence token counted."""

    def __init__(self, folder: Path, seed: int):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.random = np.random.default_rng(seed)
        words = [*WORDS, *(" " + word for word in WORDS)]
        ids = {token for word in words for token in self.tokenizer.encode(word)}
        self.vocabulary = sorted(token for token in ids if self.is_one_token(token))

    def text_of(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

    def is_one_token(self, token: int) -> bool:
        text = self.text_of([token])
        return text.isprintable() and self.tokenizer.encode(text) == [token]

    def is_plain(self, tokens: list[int]) -> bool:
        """Whether a prompt file keeps the text and the tokenizer gives these tokens again."""
        text = self.text_of(tokens)
        fits = text == text.strip() and not text.startswith("#")
        return fits and self.tokenizer.encode(text) == tokens

    def with_bos(self, tokens: list[int]) -> list[int]:
        return [self.tokenizer.bos_token_id, *tokens]

    def prompt(self, length: int) -> list[int]:
        """Tokens of words in random order, without BOS; `length` counts it."""
        while True:
            text = " ".join(self.random.choice(WORDS, length))
            tokens = self.tokenizer.encode(text)[: length - 1]
            if self.is_plain(tokens):
                return tokens

    def prompts(self, count: int, shortest: int, longest: int) -> list[list[int]]:
        """Different prompts without BOS, their lengths spread evenly over the range."""
        found = []
        for length in np.linspace(shortest, longest, count).round().astype(int):
            tokens = self.prompt(length)
            while tokens in found:
                tokens = self.prompt(length)
            found.append(tokens)
        return found

    def pairs(self, count: int, length: int, differ_at: int | None) -> list[Pair]:
        """Pairs that differ in one to three inner positions, or at one given position."""
        pairs = []
        while len(pairs) < count:
            clean = self.prompt(length)
            corrupted = list(clean)
            if differ_at is None:
                inner = np.arange(length // 3, length - 2)
                changed = self.random.choice(inner, 1 + len(pairs) % 3, replace=False)
            else:
                changed = [differ_at - 1]  # without BOS
            for position in changed:
                corrupted[position] = int(self.random.choice(self.vocabulary))
            if clean != corrupted and self.is_plain(corrupted):
                texts = self.text_of(clean), self.text_of(corrupted)
                pairs.append(Pair(texts, (self.with_bos(clean), self.with_bos(corrupted))))
        return pairs

    @torch.no_grad()
    def choose_answers(self, model, pairs: list[Pair]):
        """The tokens that the corruption makes least and most likely: effects are then not
        divided by a difference of nearly nothing."""
        for pair in pairs:
            logits = model(torch.tensor(pair.tokens))[:, -1, self.vocabulary]
            change = logits[0] - logits[1]
            best, worst = int(change.argmax()), int(change.argmin())
            pair.answers = self.vocabulary[best], self.vocabulary[worst]
