#!/usr/bin/env python3
r"""Holds Patchbay's store beside what researchers keep activations in, on the same arrays.

    python3 tools/compare_stores.py                          # speed and damage
    python3 tools/compare_stores.py --part damage --stores hdf5 patchbay

Each prompt has a residual stream N(0, 1) [16, 768], GELU of N(-1/2, 1) [16, 3072] and causal
attention patterns [12, 16, 16], 258 kB, as `patchbay-bench arrays` writes them; one chunk is one
prompt's array.

speed   2,000 prompts, medians of 5 rounds in which the stores take turns, each in a process of its
        own: bytes of all files / bytes of the values; write GB/s, not synchronised; all arrays of a
        random prompt, p50 and p99; a scan, hook after hook, on 1 and 2 threads. Files are in RAM.
        Ceilings: memcpy of the same arrays, and LZ4 with a bit shuffle in the processor's cache.
        Rows called from Python have its cost in them, that of Patchbay's Python reader too.
damage  40 prompts, each reading in a process of its own: single-bit flips over all bytes of all
        files, and the largest file cut to 0, 1, 10, 30, 50, 70, 90, 99 and 99.99 %. "SILENT": some
        array came back wrong without an error. 400 prompts: kill -9 of the writer with 30 and 70 %
        of the bytes there; prompts by what came back: "right", "ZEROS" in place of values, other
        "WRONG" ones, an "error" at that prompt, or "nothing opens" at all.

Stores that are not installed are left out:
    pip install numpy lz4 google-crc32c safetensors h5py hdf5plugin blosc2 'zarr>=3' \
        tensorstore lmdb
"""

import argparse
import json
import platform
import shlex
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from patchbay_compare import environment
from patchbay_stores import arrays, damage, speed, table
from patchbay_stores.isolation import alone
from patchbay_stores.ours import PatchbayPython, PatchbaySwift
from patchbay_stores.peers import all_peers
from patchbay_stores.store import Store

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["speed", "damage"], help="default: both")
    parser.add_argument("--quick", action="store_true", help="few prompts, flips and cuts")
    parser.add_argument("--flips", type=int, help="bit flips a store (default 120)")
    parser.add_argument("--seed", type=int, default=7, help="of arrays, damage and order of reads")
    parser.add_argument("--stores", nargs="+", metavar="NAME", help="only those named like this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--bin", type=Path, default=ROOT / ".build/release")
    parser.add_argument("--folder", type=Path, help="where stores are written (default /dev/shm)")
    args = parser.parse_args()
    for name in ("patchbay-bench", "cachedump"):
        if not (args.bin / name).exists():
            parser.error(f"there is no {args.bin / name}: build with `make build`, or name --bin")
    args.flips = args.flips or (12 if args.quick else 120)
    return args


def chosen(stores: list[Store], names: list[str] | None) -> list[Store]:
    return [
        store for store in stores
        if names is None or any(name.lower() in store.name.lower() for name in names)
    ]  # fmt: skip


def versions(stores: list[Store]) -> tuple[list[Store], dict[str, str]]:
    """The stores that are installed, and the versions of their packages."""
    there: list[Store] = []
    found: dict[str, str] = {}
    for store in stores:
        try:
            found |= {package: version(package) for package in store.packages}
            there.append(store)
        except PackageNotFoundError as error:
            print(f"{store.name} is left out: {error.name} is not installed", file=sys.stderr)
    return there, found


def main() -> int:
    args = arguments()
    wanted = [*all_peers(), PatchbayPython(args.bin, args.seed), PatchbaySwift(args.bin, args.seed)]
    stores, packages = versions(chosen(wanted, args.stores))
    bench = args.bin / "patchbay-bench"
    ram_disk = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="patchbay-stores-", dir=args.folder or ram_disk))
    prompts, rounds, cuts = (200, 1, 3) if args.quick else (2000, 5, len(damage.TRUNCATIONS))
    measured: dict[str, speed.Figures] = {}
    damaged: dict[str, dict] = {}
    try:
        source = folder / "arrays"
        arrays.write(bench, source, max(prompts, damage.KILLED_PROMPTS), args.seed)
        if args.part != "damage":
            timed = [store for store in stores if not isinstance(store, PatchbaySwift)]
            measured = speed.measure(timed, bench, source, folder, prompts, rounds, args.seed)
        if args.part != "speed":
            for store in stores:
                found = alone(damage.damage, store, source, folder, args.flips, cuts, args.seed)
                damaged[store.name] = found
                print(f"{store.name}: {found}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)

    command = shlex.join(["tools/compare_stores.py", *sys.argv[1:]])
    if measured:
        print(*table.speed(measured, {store.name for store in stores}), sep="\n")
        of = f"medians of {rounds} rounds" if rounds > 1 else "one round"
        machine = f"{environment.machine()}, {environment.cores()} cores"
        print(f"\n{prompts} prompts, {of}; {machine}.\n")
    if damaged:
        print(*table.damage(damaged, args.flips, cuts), sep="\n", end="\n\n")
    named = ", ".join(f"{name} {number}" for name, number in sorted(packages.items()))
    print(f"Python {platform.python_version()}, {named}; seed {args.seed}; `{command}`.")
    if args.json:
        report = {
            "command": command, "machine": environment.machine(), "seed": args.seed,
            "python": platform.python_version(), "packages": packages,
            "speed": measured, "damage": damaged,
        }  # fmt: skip
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
