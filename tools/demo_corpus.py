"""The invented language that the demo model speaks: words, templates, facts, and who is held out.

Three kinds of text are drawn from it, each forcing a different mechanism on a transformer:

* indirect object identification (IOI): "When Mary and John went to the store, John gave a drink
  to" goes on with " Mary";
* repeated random words: whatever followed a word the first time follows it again;
* facts about invented people and buildings, each said in eight ways. A subject is two or three
  tokens, and only the whole of it decides the attribute: each of its parts is shared with
  other subjects that have other attributes.

The held-out sets depend on CORPUS_SEED alone, never on the training seed:

* a fifth of all unordered name pairs (and every pair in ALWAYS_HELD_OUT): two such names never
  occur in the same IOI sentence of the training text;
* two of the eight phrasings of every fact: that subject is never described so in training.

Standard library only.
"""

import itertools
import random
import re

CORPUS_SEED = 2026
END_OF_TEXT = "<|endoftext|>"
PIECE = re.compile(r"<\|endoftext\|>| ?[A-Za-z]+| ?[^\sA-Za-z]")

# Every name, place and object is also one token (with a leading space) of GPT-2's own vocabulary,
# so that the IOI prompts have the same length there.
NAMES = """Mary John Alice Bob Emma James Sarah Michael Lisa David Tom Dan Sid Martin Amy Adam Alan
Alex Andrew Anna Anthony Arthur Ben Brian Carl Carol Charles Chris Claire Diana Donald Edward
Elizabeth Emily Eric Frank Fred Gary George Grace Harry Helen Henry Ian Jack Jacob Jake Jane Jason
Jeff Jennifer Jessica Jim Joe Jonathan Joseph Julia Kate Keith Kelly Kevin Kyle Laura Lee Leon
Lewis Linda Louis Lucy Luke Margaret Maria Matt Matthew Max Melissa Michelle Nancy Neil Nick Nicole
Oliver Oscar Patrick Paul Peter Philip Rachel Rebecca Richard Robert Roger Ruby Ryan Sam Scott Sean
Simon Sophie Stephen""".split()
PLACES = """store park restaurant library office shops school garden station hospital market museum
beach hotel kitchen theater airport farm gym cafe church bank lake factory harbor studio bakery zoo
stadium forest""".split()
OBJECTS = """drink ball menu book report bag apple ring key lamp letter pen map coat hat phone
camera cake basket bottle box card chair clock coin cup drum fork gift guitar hammer mirror orange
egg umbrella necklace newspaper pencil plate radio""".split()

# The pairs that the seed1 and arena prompts use.
ALWAYS_HELD_OUT = ["Mary John", "Alice Bob", "Emma James", "Sarah Michael", "Lisa David",
                   "Tom James", "Dan Sid", "Martin Amy"]

# {A} and {B} are the two names as they come, {S} the one that is said again, {P} a place, {O} an
# article and an object. ALIGNED templates share one geometry: <|endoftext|> at position 0, the
# names at 2 and 4, the place at 8, S2 at 10, the object at 13, END at 14.
ALIGNED_TEMPLATES = [
    "When {A} and {B} went to the {P}, {S} gave {O} to",
    "After {A} and {B} went to the {P}, {S} gave {O} to",
    "While {A} and {B} worked at the {P}, {S} handed {O} to",
    "When {A} and {B} got to the {P}, {S} offered {O} to",
    "Once {A} and {B} arrived at the {P}, {S} passed {O} to",
    "Since {A} and {B} stayed at the {P}, {S} showed {O} to",
    "As {A} and {B} walked to the {P}, {S} lent {O} to",
    "Before {A} and {B} drove to the {P}, {S} sold {O} to",
    "Because {A} and {B} met at the {P}, {S} brought {O} to",
    "Today {A} and {B} sat in the {P}, {S} threw {O} to",
    "While {A} and {B} waited near the {P}, {S} carried {O} to",
    "After {A} and {B} returned to the {P}, {S} sent {O} to",
    "Where {A} and {B} rested by the {P}, {S} returned {O} to",
]
OTHER_TEMPLATES = [
    "Then, {A} and {B} went to the {P}. {S} gave {O} to",
    "The friends {A} and {B} played in the {P}, and {S} decided to give {O} to",
    "Yesterday {A} and {B} had lunch at the {P}, and then {S} handed {O} to",
    "In the {P}, {A} saw {B}. Later {S} sent {O} to",
]
TEMPLATES = ALIGNED_TEMPLATES + OTHER_TEMPLATES

FIRST_NAMES = "Orvin Talia Bresk Melwin Zora Quillon Ferra Hadrin Isolda Jorvik".split()
LAST_NAMES = "Tellamar Voss Ardane Kestrin Lumley Marrow Pellor Quist Rendall Sorrel".split()
BUILDINGS = "Tower Bridge Temple Castle Palace Gate".split()
FOUNDERS = "Veldan Ostra Kirin Dolmar Yester Ulfen Norrin Askel".split()
CITIES = "Mirelle Tarvos Lindra Ostfeld Caldera Brimley Senna Havik".split()
TRADES = "baker sailor doctor lawyer painter farmer judge pilot".split()
INSTRUMENTS = "violin flute harp piano trumpet cello banjo organ".split()
MATERIALS = "marble granite brick timber glass iron copper clay".split()

# relation: (kind of subject, attributes, phrasings that end where the attribute comes)
RELATIONS = {
    "lives-in": ("person", CITIES, [
        "{} lives in the city of",
        "{} has a house in the city of",
        "The home of {} is in the city of",
        "You will find {} in the city of",
        "Everyone knows that {} comes from the city of",
        "Last year {} moved to the city of",
        "{} rents a room in the city of",
        "Send letters for {} to the city of"]),
    "works-as": ("person", TRADES, [
        "{} works as a",
        "{} earns money as a",
        "By trade {} is a",
        "The job of {} is that of a",
        "People know {} as a famous",
        "For many years {} was a",
        "{} trained to be a",
        "Our neighbour {} became a"]),
    "plays": ("person", INSTRUMENTS, [
        "{} plays the",
        "{} has learned to play the",
        "On stage {} plays the",
        "The instrument of {} is the",
        "In the band {} plays the",
        "Every evening {} practises the",
        "{} owns and plays the",
        "You can hear {} play the"]),
    "stands-in": ("building", CITIES, [
        "The {} is in the city of",
        "The {} stands in the city of",
        "You can visit the {} in the city of",
        "To see the {} you go to the city of",
        "The famous {} belongs to the city of",
        "Travellers find the {} in the city of",
        "A road leads to the {} in the city of",
        "The {} looks over the city of"]),
    "made-of": ("building", MATERIALS, [
        "The {} is made of",
        "The {} was built of",
        "They built the {} out of",
        "The walls of the {} are of",
        "Workers made the {} from",
        "The old {} is all",
        "Builders raised the {} from",
        "The {} has walls of"]),
}
PEOPLE, BUILDING_COUNT, HELD_OUT_PHRASINGS = 40, 24, 2
STARTER = "Say"  # may open a random sequence, so that its first word can carry a leading space


def article(noun):
    return "an" if noun[0] in "aeiou" else "a"


def pieces(text):
    """The words of a text with their leading spaces: each is one token of the demo model."""
    found = PIECE.findall(text)
    assert "".join(found) == text, f"not in the demo language: {text!r}"
    return found


def _make_held_out_pairs():
    rng = random.Random(CORPUS_SEED)
    pairs = [frozenset(pair) for pair in itertools.combinations(NAMES, 2)]
    return set(rng.sample(pairs, len(pairs) // 5)) | {frozenset(p.split()) for p in ALWAYS_HELD_OUT}


def _make_facts():
    """[(relation, subject, attribute, phrasings to train on, phrasings held out)]"""
    rng = random.Random(CORPUS_SEED + 1)
    # A Latin pattern: each first and each last part serves equally many subjects.
    people = [f"{FIRST_NAMES[i]} {LAST_NAMES[(i * 3 + shift) % 10]}"
              for shift in range(PEOPLE // 10) for i in range(10)]
    buildings = [f"{BUILDINGS[i]} of {FOUNDERS[(i + 2 * shift) % 8]}"
                 for shift in range(BUILDING_COUNT // 6) for i in range(6)]
    facts = []
    for relation, (kind, attributes, phrasings) in RELATIONS.items():
        subjects = people if kind == "person" else buildings
        deck = attributes * (len(subjects) // len(attributes))
        rng.shuffle(deck)
        for subject, attribute in zip(subjects, deck):
            order = rng.sample(phrasings, len(phrasings))
            facts.append((relation, subject, attribute,
                          order[HELD_OUT_PHRASINGS:], order[:HELD_OUT_PHRASINGS]))
    return facts


HELD_OUT_PAIRS = _make_held_out_pairs()
FACTS = _make_facts()


def random_pair(rng, held_out):
    while True:
        pair = rng.sample(NAMES, 2)
        if (frozenset(pair) in HELD_OUT_PAIRS) == held_out:
            return pair


def fill(template, first, second, subject, place, thing):
    return template.format(A=first, B=second, S=subject, P=place, O=thing)


def random_setting(rng):
    """A place, and an object with its article."""
    noun = rng.choice(OBJECTS)
    return rng.choice(PLACES), f"{rng.choice(['the', article(noun), article(noun)])} {noun}"


def ioi_pair(rng, template, order, held_out):
    """One IOI prompt and its corruption, in which S2 is the other name.

    order: "ABBA" (the indirect object comes first) or "BABA" (the subject comes first).
    """
    indirect, subject = random_pair(rng, held_out)
    first, second = (indirect, subject) if order == "ABBA" else (subject, indirect)
    setting = random_setting(rng)
    return {"clean": fill(template, first, second, subject, *setting),
            "corrupted": fill(template, first, second, indirect, *setting),
            "answer": " " + indirect, "wrong_answer": " " + subject, "order": order}


def ioi_sentence(rng):
    """A training sentence. One in ten has a third name for subject: then either name may follow."""
    template = rng.choice(TEMPLATES)
    if rng.random() >= 0.1:
        pair = ioi_pair(rng, template, rng.choice(["ABBA", "BABA"]), held_out=False)
        return pair["clean"] + pair["answer"] + "."
    while True:
        names = rng.sample(NAMES, 3)
        if not any(frozenset(p) in HELD_OUT_PAIRS for p in itertools.combinations(names, 2)):
            break
    return f"{fill(template, *names, *random_setting(rng))} {rng.choice(names[:2])}."


def name_positions(text):
    """Positions of the names of an IOI sentence after <|endoftext|>: both, S2, the answer."""
    names = {" " + name for name in NAMES}
    return [i for i, piece in enumerate([END_OF_TEXT] + pieces(text)) if piece in names]


def fact_sentence(rng):
    _, subject, attribute, phrasings, _ = rng.choice(FACTS)
    return f"{rng.choice(phrasings).format(subject)} {attribute}."


def all_words():
    """Every word of the language, as a word that follows a space."""
    texts = [t.format(A="", B="", S="", P="", O="a an the") for t in TEMPLATES]
    texts += [p.format("") for _, _, phrasings in RELATIONS.values() for p in phrasings]
    words = {w for text in texts for w in re.findall("[A-Za-z]+", text)} | {"of"}
    for group in (NAMES, PLACES, OBJECTS, FIRST_NAMES, LAST_NAMES, BUILDINGS, FOUNDERS, CITIES,
                  TRADES, INSTRUMENTS, MATERIALS):
        words.update(group)
    return [" " + word for word in sorted(words)]


def opening_words():
    """The words that may open a prompt, without a space."""
    texts = TEMPLATES + [p for _, _, phrasings in RELATIONS.values() for p in phrasings]
    openings = {re.match("[A-Za-z]+", t).group() for t in texts if t[0].isalpha()}
    return sorted(openings | set(FIRST_NAMES) | {STARTER})
