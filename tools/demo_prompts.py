"""The example prompt files: pairs of a clean and a corrupted prompt, with both answers.

A .txt file has TAB-separated columns, a .jsonl file the same by name, with the positions of the
roles (<|endoftext|> is position 0). The files are seeded and need no model. Standard library only.
"""

import json
import os
import random
import textwrap

import demo_corpus as corpus

PROMPT_SEED = 11

# Template, the two names as they come, and the one that is the subject first.
ARENA = [("When {A} and {B} went to the shops, {S} gave the bag to", "John", "Mary", "John"),
         ("When {A} and {B} went to the park, {S} gave the ball to", "Tom", "James", "James"),
         ("When {A} and {B} went to the shops, {S} gave an apple to", "Dan", "Sid", "Sid"),
         ("After {A} and {B} went to the park, {S} gave a drink to", "Martin", "Amy", "Amy")]
SEED1 = [("Mary", "John", "store", "drink"), ("Alice", "Bob", "park", "ball"),
         ("Emma", "James", "restaurant", "menu"), ("Sarah", "Michael", "library", "book"),
         ("Lisa", "David", "office", "report")]


def ioi_prompts():
    """Held-out pairs of one geometry, ten a template and order."""
    rng = random.Random(PROMPT_SEED)
    return [corpus.ioi_pair(rng, template, order, held_out=True)
            for template in corpus.ALIGNED_TEMPLATES for _ in range(10)
            for order in ("ABBA", "BABA")]


def mixed_ioi_prompts():
    """Held-out pairs of every geometry, with the positions of the roles."""
    rng = random.Random(PROMPT_SEED + 1)
    pairs = []
    for number, template in enumerate(corpus.TEMPLATES):
        for order in ("ABBA", "BABA") * 4:
            pair = corpus.ioi_pair(rng, template, order, held_out=True)
            found = [corpus.END_OF_TEXT] + corpus.pieces(pair["clean"])
            subject = [i for i, piece in enumerate(found) if piece == pair["wrong_answer"]]
            kind = f"template-{number:02d}-{pair.pop('order')}"
            pairs.append({
                "id": f"{kind}-{len(pairs) % 8}", **pair, "template": kind,
                "roles": {"IO": found.index(pair["answer"]), "S1": subject[0], "S2": subject[1],
                          "END": len(found) - 1}})
    return pairs


def fact_prompts(per_phrasing=4):
    """Pairs of subjects that share no part, in a phrasing that is held out for both of them."""
    rng = random.Random(PROMPT_SEED + 2)
    lines = []
    for relation, (_, _, phrasings) in corpus.RELATIONS.items():
        for number, phrasing in enumerate(phrasings):
            new = [fact for fact in corpus.FACTS if fact[0] == relation and phrasing in fact[4]]
            rng.shuffle(new)
            pairs = [(fact, partner) for fact in new if (partner := fact_partner(rng, fact, new))]
            lines += [fact_line(f"{relation}-{number}", phrasing, *pair)
                      for pair in pairs[:per_phrasing]]
    return lines


def fact_partner(rng, fact, others):
    parts = set(fact[1].split()) - {"of"}
    fitting = [other for other in others
               if other[2] != fact[2] and not parts & set(other[1].split())]
    return rng.choice(fitting) if fitting else None


def fact_line(name, phrasing, fact, partner):
    _, subject, attribute, _, _ = fact
    clean = phrasing.format(subject)
    found = [piece.strip() for piece in [corpus.END_OF_TEXT] + corpus.pieces(clean)]
    last = found.index(subject.split()[-1])
    return {"id": f"{name}-{subject.replace(' ', '-')}",
            "clean": clean, "corrupted": phrasing.format(partner[1]),
            "answer": " " + attribute, "wrong_answer": " " + partner[2], "subject": subject,
            "roles": {"subject_first": last + 1 - len(subject.split()), "subject_last": last,
                      "END": len(found) - 1}}


def induction_prompts(count=100, length=10, repeated=6):
    """Random words, then the first of them again; the corruption changes the word to copy."""
    rng = random.Random(PROMPT_SEED + 3)
    words = corpus.all_words()
    lines = []
    for _ in range(count):
        *sequence, other = rng.sample(words, length + 1)
        changed = sequence[:repeated] + [other] + sequence[repeated + 1:]
        lines.append({
            "clean": corpus.STARTER + "".join(sequence + sequence[:repeated]),
            "corrupted": corpus.STARTER + "".join(changed + sequence[:repeated]),
            "answer": sequence[repeated], "wrong_answer": other})
    return lines


def seed1_prompts():
    template = "When {A} and {B} went to the {P}, {S} gave a {O} to"
    lines = []
    for indirect, subject, place, thing in SEED1:
        first = template.format(A=indirect, B=subject, S=subject, P=place, O=thing)
        other = template.format(A=subject, B=indirect, S=indirect, P=place, O=thing)
        lines.append({"clean": first, "corrupted": other,
                      "answer": " " + indirect, "wrong_answer": " " + subject})
    return lines


def arena_prompts():
    lines = []
    for template, first, second, subject in ARENA:
        other = first if subject == second else second
        for one, two in ((subject, other), (other, subject)):
            lines.append({"clean": template.format(A=first, B=second, S=one),
                          "corrupted": template.format(A=first, B=second, S=two),
                          "answer": " " + two, "wrong_answer": " " + one})
    return lines


NOTES = {
    "ioi.txt": """
        Indirect object identification for the demo model: pairs of names that never met in its
        training text, 13 templates, as many ABBA as BABA. The corruption says the other name at S2.
        All have one geometry (the same with GPT-2's own tokenizer): <|endoftext|> at position 0,
        the names at 2 and 4, the place at 8, S2 at 10, the object at 13, END at 14.""",
    "induction.txt": """
        Random words and then the first six of them again, for the demo model. The corruption
        changes the word that the answer copies. Positions with <|endoftext|> at 0: that word at 8,
        the word before it at 7 and, as the last one, at END, 17.""",
    "seed1.txt": """
        Five prompts for GPT-2. The corruption exchanges the two names everywhere, so that the
        answer turns round. 15 tokens with <|endoftext|>.""",
    "arena.txt": """
        The eight prompts of ARENA's IOI exercises, for GPT-2; the corruption is the partner prompt,
        in which the other name is the subject. 15 tokens with <|endoftext|>, S2 at 10, END at
        14.""",
}
COLUMNS = ["clean", "corrupted", "answer", "wrong_answer"]


def write_prompts(directory):
    """Writes every prompt file; byte for byte the same each time."""
    os.makedirs(directory, exist_ok=True)
    plain = {"ioi.txt": ioi_prompts(), "induction.txt": induction_prompts(),
             "seed1.txt": seed1_prompts(), "arena.txt": arena_prompts()}
    structured = {"ioi-roles.jsonl": mixed_ioi_prompts(), "facts.jsonl": fact_prompts()}
    for name, lines in plain.items():
        note = textwrap.fill(" ".join(NOTES[name].split()), 98)
        text = textwrap.indent(note, "# ") + "\n"
        text += "# clean <TAB> corrupted <TAB> answer <TAB> wrong answer\n"
        text += "".join("\t".join(line[key] for key in COLUMNS) + "\n" for line in lines)
        write_text(os.path.join(directory, name), text)
    for name, lines in structured.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(os.path.join(directory, name), text)
    for name, lines in (plain | structured).items():
        print(f"{os.path.join(directory, name)}: {len(lines)} pairs")


def write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
