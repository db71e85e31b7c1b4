#!/usr/bin/env python3
"""Trains, measures and supplies with prompts the small GPT-2 of examples/demo-model.

    train_demo_model.py --train examples/demo-model       # minutes on two CPU cores
    train_demo_model.py --evaluate examples/demo-model    # measures it on held-out data
    train_demo_model.py --write-prompts examples          # ioi.txt and the others

The model is GPT-2 as Hugging Face lays it out, 4 layers of width 128 with 4 heads, trained from
nothing on the language of demo_corpus.py: indirect object identification, repeated random words,
and facts about invented people and buildings, drawn anew at every step. Every sequence begins with
<|endoftext|>. Everything is seeded; another PyTorch or another processor may round otherwise and
so end in another model of the same abilities, which is why --evaluate is there.

Needs torch, transformers, tokenizers, safetensors and numpy.
"""

import argparse
import collections
import json
import math
import os
import random
import sys
import time

import demo_corpus as corpus
import demo_prompts as prompts

LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 128, 64
LEARNING_RATE, WARMUP, WEIGHT_DECAY = 2e-3, 100, 0.1
CONTEXT_WEIGHT = 0.1  # of a word of the prompt in the loss, against 1 for the answer
# END could leave the reading of the names to the verb, or do it all in the first layer or the last.
# So that S2 and END are two steps of the computation, each visible in the residual stream between
# layers, nine IOI sentences in ten are trained under a mask: END never sees the words between S2
# and itself, and what comes after S2 sees the names only in the middle layers.
GUIDED, MIDDLE_LAYERS = 0.9, (1, 2)
EVALUATION_SEED = 7
SIZE_LIMIT = 5_000_000


# ------------------------------------------------------------------ the tokenizer

def write_tokenizer(directory):
    """Trains a byte-level BPE until every word of the language is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    rng = random.Random(corpus.CORPUS_SEED)
    text = [corpus.ioi_sentence(rng) for _ in range(4000)]
    text += [corpus.fact_sentence(rng) for _ in range(4000)]
    text += corpus.all_words() + corpus.opening_words()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    # Trained without special tokens, so that <|endoftext|> comes last, as in GPT-2.
    bpe.model.save(directory)
    with open(os.path.join(directory, "vocab.json"), encoding="utf-8") as file:
        vocabulary = json.load(file)
    vocabulary[corpus.END_OF_TEXT] = len(vocabulary)
    write_json(os.path.join(directory, "vocab.json"), vocabulary, indent=None)
    write_json(os.path.join(directory, "tokenizer_config.json"), {
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "add_bos_token": False,
        "bos_token": corpus.END_OF_TEXT, "eos_token": corpus.END_OF_TEXT,
        "unk_token": corpus.END_OF_TEXT, "model_max_length": CONTEXT})
    return load_tokenizer(directory)


def load_tokenizer(directory):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    for word in corpus.all_words() + corpus.opening_words():
        assert len(tokenizer.encode(word)) == 1, f"{word!r} is not one token"
    return tokenizer


def write_json(path, value, indent=2):
    prompts.write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


class Encoder:
    """Text of the language to token ids, by a table: every piece is one token."""

    def __init__(self, tokenizer):
        self.vocabulary = {tokenizer.decode([i]): i for i in tokenizer.get_vocab().values()}
        self.end_of_text = tokenizer.bos_token_id
        self.words = [self.vocabulary[word] for word in corpus.all_words()]

    def __call__(self, text):
        """The ids of `text` after <|endoftext|>."""
        return [self.end_of_text] + [self.vocabulary[piece] for piece in corpus.pieces(text)]


# ------------------------------------------------------------------ training

# A training sequence: token ids; the first position to learn; the position of the answer, if one
# token matters more than the others; positions of the names, if the sentence is to be guided.
Sequence = collections.namedtuple("Sequence", "ids first answer names")


def text_sequence(rng, encode, sentence):
    """A sentence that ends with its answer, one time in four after an unrelated fact."""
    text = sentence(rng)
    if rng.random() < 0.25:
        text = f"{corpus.fact_sentence(rng)} {text}"
    ids = encode(text) + [encode.end_of_text]
    guided = sentence is corpus.ioi_sentence and rng.random() < GUIDED
    return Sequence(ids, 1, len(ids) - 3, corpus.name_positions(text) if guided else None)


def repeated_sequence(rng, encode):
    """Random words and then the same again, as far as they fit."""
    head = [encode.end_of_text]
    if rng.random() < 0.5:
        head.append(encode.vocabulary[corpus.STARTER])
    words = rng.sample(encode.words, rng.randint(4, 31))
    # What comes before the second word's repetition cannot be known.
    return Sequence((head + words + words)[:CONTEXT], len(head) + len(words) + 1, None, None)


def make_batch(sequences):
    """Right-padded: inputs and targets [B, T], their weights [B, T] and the attention masks
    [2, B, 1, T, T] of the outer and of the middle layers."""
    import torch

    longest = max(len(sequence.ids) for sequence in sequences) - 1
    inputs = torch.zeros(len(sequences), longest, dtype=torch.long)
    targets, weights = torch.zeros_like(inputs), torch.zeros(inputs.shape)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    visible = causal.repeat(2, len(sequences), 1, 1, 1)
    for row, (ids, first, answer, names) in enumerate(sequences):
        ids = torch.tensor(ids)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, : len(ids) - 1] = ids[1:]
        weights[row, first - 1: len(ids) - 1] = 1.0 if answer is None else CONTEXT_WEIGHT
        if answer is not None:
            weights[row, answer - 1] = 1.0
        if names is not None:
            *said, subject, answer = names
            visible[:, row, 0, answer - 1, subject + 1: answer - 1] = False
            visible[0, row, 0, subject + 1: answer, [*said, subject]] = False
    return inputs, targets, weights, visible


def final_states(model, inputs, visible):
    """The states [B, T, D] before the unembedding, each layer under its own attention mask."""
    gpt2 = model.transformer
    hidden = gpt2.wte(inputs) + gpt2.wpe.weight[: inputs.shape[1]]
    for layer, block in enumerate(gpt2.h):
        hidden = block(hidden, attention_mask=visible[int(layer in MIDDLE_LAYERS)])[0]
    return gpt2.ln_f(hidden)


def learn_from(model, sequences, groups):
    """Adds the gradient of the weighted mean cross-entropy over all targets; returns that mean.

    The sequences are passed in groups of like length, so that little padding is computed, and
    logits are computed only where there is a target.
    """
    import torch

    sequences = sorted(sequences, key=lambda sequence: len(sequence.ids))
    size = math.ceil(len(sequences) / groups)
    batches = [make_batch(sequences[i: i + size]) for i in range(0, len(sequences), size)]
    whole = sum(weights.sum() for _, _, weights, _ in batches)
    total = 0.0
    for inputs, targets, weights, visible in batches:
        wanted = weights > 0
        logits = model.lm_head(final_states(model, inputs, visible)[wanted])
        losses = torch.nn.functional.cross_entropy(logits, targets[wanted], reduction="none")
        loss = (losses * weights[wanted]).sum() / whole
        loss.backward()
        total += loss.item()
    return total


def progress(model, encode):
    """The three abilities on a little held-out data."""
    import torch

    with torch.no_grad():
        ioi = measure_ioi(model, encode, corpus.TEMPLATES, per_order=4, seed=EVALUATION_SEED)
        induction = measure_induction(model, encode, 24, 16, EVALUATION_SEED)
        _, facts = measure_facts(model, encode, held_out=True)
    return (f"held out: ioi {ioi['answer above subject']:.3f} (logit difference "
            f"{ioi['mean logit difference']:.2f})  induction {induction:.3f}  facts {facts:.3f}")


def train(directory, steps, seed, threads):
    import torch
    from safetensors.torch import save_file
    from transformers import GPT2Config, GPT2LMHeadModel

    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = write_tokenizer(directory)
    encode = Encoder(tokenizer)
    end = encode.end_of_text
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, bos_token_id=end, eos_token_id=end,
        architectures=["GPT2LMHeadModel"], attn_implementation="sdpa"))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, "
          f"{len(tokenizer):,} tokens, {steps} steps", flush=True)

    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / WARMUP, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))))
    start = time.time()
    for step in range(steps):
        text = [text_sequence(rng, encode, corpus.ioi_sentence) for _ in range(48)]
        text += [text_sequence(rng, encode, corpus.fact_sentence) for _ in range(96)]
        repeats = [repeated_sequence(rng, encode) for _ in range(24)]
        text_loss = learn_from(model, text, groups=3)
        repeats_loss = learn_from(model, repeats, groups=2)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:5d}  text {text_loss:.3f}  repeats {repeats_loss:.3f}  "
                  f"{time.time() - start:5.0f} s", flush=True)
        if step % 250 == 249:
            print(f"           {progress(model, encode)}", flush=True)

    model.config.save_pretrained(directory)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    size = sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))
    print(f"saved in {directory}, {size:,} bytes")
    if size > SIZE_LIMIT:
        sys.exit(f"{directory} is larger than {SIZE_LIMIT:,} bytes")


# ------------------------------------------------------------------ measuring

def last_logits(model, sequences):
    """Logits [N, V] after the last token of each sequence; the lengths may differ."""
    import torch

    logits = torch.empty(len(sequences), model.config.vocab_size)
    by_length = collections.defaultdict(list)
    for index, ids in enumerate(sequences):
        by_length[len(ids)].append(index)
    for indices in by_length.values():
        for begin in range(0, len(indices), 256):
            chosen = indices[begin: begin + 256]
            batch = torch.tensor([sequences[i] for i in chosen])
            logits[chosen] = model(batch).logits[:, -1]
    return logits


def measure_ioi(model, encode, templates, per_order, seed):
    """Shares and logit differences on pairs of names that never met in training."""
    import torch

    rng = random.Random(seed)
    pairs = [corpus.ioi_pair(rng, template, order, held_out=True)
             for template in templates for order in ("ABBA", "BABA") for _ in range(per_order)]
    logits = last_logits(model, [encode(pair["clean"]) for pair in pairs])
    right = torch.tensor([encode.vocabulary[pair["answer"]] for pair in pairs])
    wrong = torch.tensor([encode.vocabulary[pair["wrong_answer"]] for pair in pairs])
    names = torch.tensor([encode.vocabulary[" " + name] for name in corpus.NAMES])
    rows = torch.arange(len(pairs))
    difference = logits[rows, right] - logits[rows, wrong]
    best_name = names[logits[:, names].argmax(1)]
    return {"prompts": len(pairs),
            "answer above subject": (difference > 0).float().mean().item(),
            "first of the names": (best_name == right).float().mean().item(),
            "first of all tokens": (logits.argmax(1) == right).float().mean().item(),
            "mean logit difference": difference.mean().item(),
            "least logit difference": difference.min().item()}


def repeated_words(encode, length, count, seed):
    """Token ids [count, 1 + 2 length]: <|endoftext|>, random different words, the same again."""
    import torch

    rng = random.Random(seed)
    halves = [rng.sample(encode.words, length) for _ in range(count)]
    return torch.tensor([[encode.end_of_text] + half + half for half in halves])


def measure_induction(model, encode, length, count, seed):
    ids = repeated_words(encode, length, count, seed)
    guesses = model(ids).logits.argmax(-1)
    return (guesses[:, length + 1:-1] == ids[:, length + 2:]).float().mean().item()


def measure_facts(model, encode, held_out):
    sequences, attributes = [], []
    for relation, subject, attribute, known, new in corpus.FACTS:
        for phrasing in new if held_out else known:
            sequences.append(encode(phrasing.format(subject)))
            attributes.append(encode.vocabulary[" " + attribute])
    logits = last_logits(model, sequences)
    return len(sequences), (logits.argmax(1).numpy() == attributes).mean().item()


def head_scores(model, encode, length, count, seed):
    """Mean attention on repeated words, two [L][H]: induction, and to the token before."""
    ids = repeated_words(encode, length, count, seed)
    induction, previous = [], []
    for pattern in model(ids, output_attentions=True).attentions:
        induction.append(pattern.diagonal(1 - length, 2, 3)[..., 2:].mean((0, 2)))
        previous.append(pattern.diagonal(-1, 2, 3).mean((0, 2)))
    return induction, previous


def patched_recovery(model, clean, corrupted, right, wrong):
    """Effects of putting clean activations into the corrupted run, aligned prompts [N, T].

    Returns the recovered share of the logit difference for the residual stream before each layer
    at each position, [L][T], and for each head's output at all positions, [L][H].
    """
    import torch

    def difference(ids):
        logits = model(ids).logits[:, -1]
        rows = torch.arange(len(ids))
        return (logits[rows, right] - logits[rows, wrong]).mean().item()

    def with_hook(module, change, ids):
        def hook(_, arguments):
            value = arguments[0].clone()
            change(value)
            return (value, *arguments[1:])
        handle = module.register_forward_pre_hook(hook)
        try:
            return difference(ids)
        finally:
            handle.remove()

    blocks, heads_out = model.transformer.h, {}
    handles = [block.attn.c_proj.register_forward_pre_hook(
        lambda _, arguments, layer=layer: heads_out.__setitem__(layer, arguments[0].clone()))
        for layer, block in enumerate(blocks)]
    residual = model(clean, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    best, worst = difference(clean), difference(corrupted)

    def recovered(module, change):
        return (with_hook(module, change, corrupted) - worst) / (best - worst)

    width = WIDTH // HEADS
    stream, heads = [], []
    for layer, block in enumerate(blocks):
        stream.append([])
        for position in range(clean.shape[1]):
            def change(value):
                value[:, position] = residual[layer][:, position]
            stream[-1].append(recovered(block, change))
        heads.append([])
        for head in range(HEADS):
            def change(value):
                part = slice(head * width, (head + 1) * width)
                value[..., part] = heads_out[layer][..., part]
            heads[-1].append(recovered(block.attn.c_proj, change))
    return best, worst, stream, heads


def print_row(label, cells, width=6):
    print(f"{label:24}" + "".join(f"{cell:>{width}}" for cell in cells))


def print_table(title, table, columns):
    print_row(title, columns)
    for layer, row in enumerate(table):
        print_row(f"  layer {layer}", [f"{value:.2f}" for value in row])
    print()


def evaluate(directory, threads):
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model = GPT2LMHeadModel.from_pretrained(directory, attn_implementation="eager").eval()
    encode = Encoder(load_tokenizer(directory))
    print("Held-out data throughout.\n")
    print("| ability | measured on | result |\n|---|---|---|")
    ioi = measure_ioi(model, encode, corpus.TEMPLATES, per_order=60, seed=EVALUATION_SEED)
    held = f"{ioi['prompts']:,} prompts, {len(corpus.TEMPLATES)} templates, ABBA and BABA"
    for name in ("answer above subject", "first of the names", "first of all tokens"):
        print(f"| IOI, {name} | {held} | {ioi[name]:.2%} |")
    for name in ("mean logit difference", "least logit difference"):
        print(f"| IOI, {name} | {held} | {ioi[name]:.2f} |")
    for length in (8, 16, 24, 31):
        share = measure_induction(model, encode, length, 200, EVALUATION_SEED + length)
        print(f"| induction, first of all tokens | 200 sequences of {length} random words, "
              f"repeated; second half | {share:.2%} |")
    for held_out, name in ((True, "phrasings new to the subject"), (False, "trained phrasings")):
        count, share = measure_facts(model, encode, held_out)
        print(f"| facts, first of all tokens | {count} {name} | {share:.2%} |")
    print("\nBy template: share of answers above the subject, mean and least logit difference")
    for template in corpus.TEMPLATES:
        row = measure_ioi(model, encode, [template], per_order=40, seed=EVALUATION_SEED)
        print(f"{row['answer above subject']:8.2%} {row['mean logit difference']:6.2f} "
              f"{row['least logit difference']:6.2f}  {template}")

    pairs = prompts.ioi_prompts()
    clean, corrupted = (torch.tensor([encode(pair[key]) for pair in pairs])
                        for key in ("clean", "corrupted"))
    right, wrong = ([encode.vocabulary[pair[key]] for pair in pairs]
                    for key in ("answer", "wrong_answer"))
    best, worst, stream, heads = patched_recovery(model, clean, corrupted, right, wrong)
    print(f"\nThe {len(pairs)} pairs of ioi.txt: mean logit difference {best:.3f} clean, "
          f"{worst:.3f} corrupted.\n"
          "Share recovered by patching clean activations into the corrupted run:\n")
    positions = ["BOS", 1, "N1", 3, "N2", 5, 6, 7, "place", ",", "S2", 11, 12, "thing", "END"]
    print_table("residual stream before", stream, positions)
    print_table("head's output (z)", heads, range(HEADS))
    induction, previous = head_scores(model, encode, 24, 64, EVALUATION_SEED)
    print("Attention of each head on repeated random words:\n")
    print_table("induction", induction, range(HEADS))
    print_table("to the token before", previous, range(HEADS))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--train", metavar="DIR", help="train a model and write it to DIR")
    work.add_argument("--evaluate", metavar="DIR", help="measure the model in DIR, held-out data")
    work.add_argument("--write-prompts", metavar="DIR", help="write the prompt files to DIR")
    parser.add_argument("--steps", type=int, default=1600, help="training steps (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of training (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (%(default)s)")
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, arguments.steps, arguments.seed, arguments.threads)
    elif arguments.evaluate:
        evaluate(arguments.evaluate, arguments.threads)
    else:
        prompts.write_prompts(arguments.write_prompts)


if __name__ == "__main__":
    main()
