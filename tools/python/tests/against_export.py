"""Compares every array of a cache with what `cachedump export --format npy` wrote of it.

    python3 against_export.py CACHE EXPORT

Prints how many arrays have equal bits; ends with 1 at the first that has not.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import patchbay  # noqa: E402


def main(cache_path: str, export: str) -> int:
    cache = patchbay.open(cache_path)
    equal = 0
    for number, prompt in enumerate(cache):
        for name, array in prompt.items():
            other = np.load(f"{export}/prompt-{number:06d}/{name}.npy")
            if array.shape != other.shape or array.tobytes() != other.tobytes():
                print(f"prompt {number}, {name}: the readers differ")
                return 1
            equal += 1
    streams = [cache[0]["resid_post", layer] for layer in range(cache.plan["model"]["layers"])]
    lazy = cache.hook("hook_embed")
    if len(lazy) != len(cache) or not np.array_equal(lazy[-1], cache[-1]["hook_embed"]):
        print("the lazy sequence differs")
        return 1
    print(f"{equal} arrays have equal bits, {len(streams)} streams by short name")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
