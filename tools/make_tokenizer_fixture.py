#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/tokenizer: small tokenizers and what Hugging Face's fast
tokenizer makes of hard texts with them. Seeded; no network is used.

    /path/to/venv/bin/python tools/make_tokenizer_fixture.py     (transformers, tokenizers)

    two-files      vocab.json, merges.txt, added_tokens.json, special_tokens_map.json
    single-file    the same as tokenizer.json, with tokenizer_config.json, as transformers saves it
    odd            tokenizer.json with what GPT-2's does not have: a vocabulary that lacks most
                   bytes and an unknown token for runs of them, a space put in front, added tokens
                   that take the space around them, PreTrainedTokenizerFast, older merges

Each folder has cases.json: "cases", an array of {"text", "ids", "decoded"}; "pieces", the text of
every id; and "beginning", the id that TransformerLens puts before a prompt.

scalar-classes.json says which class of GPT-2's pattern every Unicode scalar has: how many there
are of each, and the 64-bit FNV-1a hash of a text with one character for each scalar in order:
L letter, N number, S space, O other.
"""

import json
import os
import random
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: E402

from compare_tokenizer import beginning_id, strings  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "Tests/ModelTests/Fixtures/tokenizer"
END = "<|endoftext|>"

CORPUS = """
When Mary and John went to the store, John gave a drink to Mary. When Alice and Bob had lunch at
the garden, Bob gave the letter to Alice. The harbour lies in the north of the city; its lamps
don't go out before seven o'clock. We've seen them, they're green, and I'll say it's 1,234 steps.
def layer_norm(x, weight, bias): return (x - x.mean()) / x.std() * weight + bias
Schöne Grüße aus Köln! Le café était déjà fermé. Привет, как дела? 今日は良い天気です。 안녕하세요 세계
 2024-01-15   3.14159  1000000   10%  $25  (see note 7)  [a]  {b}  <c>  http://example.org/x?y=1
"""


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=True) + "\n", encoding="ascii")


def train(alphabet: list[str], size: int, unknown: str | None, space: bool) -> Tokenizer:
    tokenizer = Tokenizer(BPE(unk_token=unknown, fuse_unk=unknown is not None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        special_tokens=[unknown or END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines() * 3, trainer)
    return tokenizer


def make_two_files(folder: Path) -> None:
    tokenizer = train(pre_tokenizers.ByteLevel.alphabet(), 600, None, False)
    tokenizer.model.save(str(folder))
    size = tokenizer.get_vocab_size()
    write(folder / "config.json", {"model_type": "gpt2"})
    added = {"<|name|>": size, "<pad>": size + 1, "e\u0301t": size + 2}
    write(folder / "added_tokens.json", added)
    write(folder / "special_tokens_map.json", {"pad_token": "<pad>", "bos_token": END})


def make_single_file(two_files: Path, folder: Path) -> None:
    AutoTokenizer.from_pretrained(two_files).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)
    write(folder / "config.json", {"model_type": "gpt2"})


def make_odd(folder: Path) -> None:
    tokenizer = train([], 360, "<unk>", True)
    tokenizer.add_special_tokens([AddedToken("<s>", lstrip=False, rstrip=True)])
    tokenizer.add_tokens(
        [
            AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("<m", normalized=True),
            AddedToken("Straße"),
            AddedToken("<left>", lstrip=True),
        ]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>", add_prefix_space=True
    ).save_pretrained(folder)
    path = folder / "tokenizer.json"
    contents = json.loads(path.read_text())
    model = contents["model"]
    model["merges"] = [" ".join(merge) for merge in model["merges"]]
    write(path, contents)
    write(folder / "config.json", {"model_type": "gpt2"})


def write_cases(folder: Path, rng: random.Random) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    texts = [text for text in strings(rng, 130, added) if len(text) < 100]
    texts += ["ab" * 300, " " * 200 + "x", "When Mary and John went to the store"]
    cases = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        cases.append({"text": text, "ids": ids, "decoded": decoded(tokenizer, ids)})
    pieces = [decoded(tokenizer, [token]) for token in range(len(tokenizer))]
    write(
        folder / "cases.json",
        {"beginning": beginning_id(tokenizer), "pieces": pieces, "cases": cases},
    )


def decoded(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def scalar_class(splitter, character: str) -> str:
    """The class in which it makes one word with another character of that class."""
    for name, other in (("L", "a"), ("N", "1"), ("O", "!")):
        if len(splitter.pre_tokenize_str(other + character)) == 1:
            return name
    return "S"


def write_scalar_classes(path: Path) -> None:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    classes = "".join(
        scalar_class(splitter, chr(value)) for value in range(0x110000) if not 0xD800 <= value < 0xE000
    )
    counts = {name: classes.count(name) for name in "LNSO"}
    hash_value = 0xCBF29CE484222325
    for byte in classes.encode():
        hash_value = (hash_value ^ byte) * 0x100000001B3 % 2**64
    write(path, {"counts": counts, "fnv1a": f"{hash_value:x}"})


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    two_files, single_file, odd = (FOLDER / name for name in ("two-files", "single-file", "odd"))
    for folder in (two_files, single_file, odd):
        folder.mkdir(parents=True)
    make_two_files(two_files)
    make_single_file(two_files, single_file)
    make_odd(odd)
    for seed, folder in enumerate((two_files, single_file, odd)):
        write_cases(folder, random.Random(seed))
    write_scalar_classes(FOLDER / "scalar-classes.json")
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"wrote {FOLDER}: {size:,} bytes")


if __name__ == "__main__":
    main()
