"""The two tables, in Markdown."""

from collections.abc import Iterator

Rows = dict[str, dict]
"""What was found, by name of the store."""

_SPEED = [
    ("bytes / raw", "bytes_ratio", 3),
    ("write GB/s", "write_gbs", 2),
    ("random prompt p50 µs", "random_p50_us", 0),
    ("p99 µs", "random_p99_us", 0),
    ("scan, 1 thread GB/s", "scan1_gbs", 2),
    ("2 threads GB/s", "scan2_gbs", 2),
]


def speed(rows: Rows, python: set[str]) -> Iterator[str]:
    """`python`: the rows whose reading goes through Python."""
    yield "| store | called from | " + " | ".join(title for title, _, _ in _SPEED) + " |"
    yield "|---|---|" + "---:|" * len(_SPEED)
    for name, figures in rows.items():
        cells = [
            f"{figures[key]:.{digits}f}" if figures.get(key) is not None else "–"
            for _, key, digits in _SPEED
        ]
        language = "Python" if name in python else "Swift"
        yield f"| {name} | {language} | {' | '.join(cells)} |"


def damage(rows: Rows, flips: int, truncations: int) -> Iterator[str]:
    shares = next(iter(rows.values()))["kills"]
    titles = ["store", f"{flips} bit flips", f"{truncations} truncations"]
    titles += [f"writer killed at {share} %" for share in shares]
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for name, found in rows.items():
        cells = [_counts(found[kind]) for kind in ("flips", "truncations")]
        cells += [_killed(found["kills"][share]) for share in shares]
        yield f"| {name} | {' | '.join(cells)} |"


_KINDS = ("right", "detected", "harmless", "SILENT", "ZEROS", "WRONG", "error", "crash", "hang")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS if counts.get(kind))


def _killed(found: dict) -> str:
    """Prompts by kind, or the one thing that can be said of all of them."""
    prompts = found["prompts"]
    return _counts(prompts) if sum(prompts.values()) > 1 else next(iter(prompts))
