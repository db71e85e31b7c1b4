#!/usr/bin/env python3
"""Holds Patchbay's store against what researchers keep activations in, on the same kind of arrays.

    python3 tools/compare_stores.py                 # bytes, speed, damage
    python3 tools/compare_stores.py --part damage

2,000 prompts of three arrays each: a residual stream N(0, 1) [16, 768], GELU of N(-1/2, 1)
[16, 3072] and causal attention patterns [12, 16, 16]; 516 MB. One chunk is one prompt.

speed   bytes stored / bytes, write GB/s, a random prompt (all three arrays, warm) p50 and p99,
        scan GB/s on 1 and 2 threads. Peers run through their Python packages, Patchbay through
        patchbay-bench; read them as what each gives its user.
damage  on 40 prompts: 120 single-bit flips over all bytes of all files, 9 truncations of the largest
        file, each read in a process of its own: detected, SILENT wrong numbers, harmless, or a crash.
        On 400 prompts: kill -9 of the writer when 30 % and 70 % of the bytes are there.

Peers that are not installed are left out. --python names an environment that has them:
    pip install numpy lz4 safetensors h5py hdf5plugin blosc2 'zarr>=3' tensorstore lmdb
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("resid", "post", "pattern")


def make_arrays(np, prompts: int) -> dict:
    noise = np.random.default_rng(0)
    x = noise.standard_normal((prompts, 16, 3072), np.float32) - np.float32(0.5)
    post = 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))
    scores = np.exp(2 * noise.standard_normal((prompts, 12, 16, 16), np.float32)) * np.tri(16)
    pattern = scores / scores.sum(-1, keepdims=True)
    resid = noise.standard_normal((prompts, 16, 768), np.float32)
    return dict(zip(NAMES, (resid, post.astype(np.float32), pattern.astype(np.float32))))


class Store:
    """One way to keep arrays: `write` makes the path, `reader` gives a function from a prompt's
    number to its three arrays, in memory of the caller's own."""

    package = "numpy"
    suffix = ""

    def write(self, path, arrays):
        raise NotImplementedError

    def reader(self, path):
        raise NotImplementedError

    def prompts(self, path, arrays):
        """The arrays of each prompt as they were written. Peers are not opened for it: some start
        threads, which do not survive the fork of the processes that read damaged files."""
        return [[arrays[n][i] for n in NAMES] for i in range(len(arrays["resid"]))]


class Npy(Store):
    name = "npy memmap"

    def write(self, path, arrays):
        import numpy as np

        path.mkdir()
        maps = {n: np.lib.format.open_memmap(path / f"{n}.npy", "w+", a.dtype, a.shape)
                for n, a in arrays.items()}  # fmt: skip
        for i in range(len(arrays["resid"])):
            for n, a in arrays.items():
                maps[n][i] = a[i]

    def reader(self, path):
        import numpy as np

        maps = [np.load(path / f"{n}.npy", mmap_mode="r") for n in NAMES]
        return lambda i: [np.array(m[i]) for m in maps]


class Safetensors(Store):
    name, package, suffix = "safetensors, one file", "safetensors", ".safetensors"

    def write(self, path, arrays):
        from safetensors.numpy import save_file

        save_file(arrays, path)

    def reader(self, path):
        from safetensors import safe_open

        file = safe_open(path, "numpy")
        slices = [file.get_slice(n) for n in NAMES]
        return lambda i: [s[i : i + 1][0] for s in slices]


class Hdf5(Store):
    package, suffix = "h5py", ".h5"

    def __init__(self, name, blosc):
        self.name, self.blosc = name, blosc

    def write(self, path, arrays):
        import h5py
        import hdf5plugin

        way = (hdf5plugin.Blosc2(cname="lz4", clevel=5, filters=hdf5plugin.Blosc2.BITSHUFFLE)
               if self.blosc else {"fletcher32": True})  # fmt: skip
        with h5py.File(path, "w") as file:
            sets = {n: file.create_dataset(n, a.shape, a.dtype, chunks=(1, *a.shape[1:]), **way)
                    for n, a in arrays.items()}  # fmt: skip
            for i in range(len(arrays["resid"])):
                for n, a in arrays.items():
                    sets[n][i] = a[i]

    def reader(self, path):
        import h5py
        import hdf5plugin  # noqa: F401

        file = h5py.File(path, "r")
        sets = [file[n] for n in NAMES]
        return lambda i: [s[i] for s in sets]


class B2nd(Store):
    name, package = "blosc2 b2nd, lz4 + bitshuffle", "blosc2"

    def write(self, path, arrays):
        import blosc2

        path.mkdir()
        way = {"codec": blosc2.Codec.LZ4, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}
        sets = {n: blosc2.empty(a.shape, a.dtype, chunks=(1, *a.shape[1:]), cparams=way,
                                urlpath=str(path / f"{n}.b2nd"))
                for n, a in arrays.items()}  # fmt: skip
        for i in range(len(arrays["resid"])):
            for n, a in arrays.items():
                sets[n][i] = a[i]

    def reader(self, path):
        import blosc2

        sets = [blosc2.open(str(path / f"{n}.b2nd"), mode="r") for n in NAMES]
        return lambda i: [s[i] for s in sets]


class Zarr(Store):
    name, package = "zarr v3 + crc32c", "zarr"

    def write(self, path, arrays):
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        group = zarr.open_group(str(path), mode="w")
        ways = (BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=4), Crc32cCodec())
        sets = {n: group.create_array(n, shape=a.shape, dtype=a.dtype, chunks=(1, *a.shape[1:]),
                                      compressors=ways)
                for n, a in arrays.items()}  # fmt: skip
        for i in range(len(arrays["resid"])):
            for n, a in arrays.items():
                sets[n][i] = a[i]

    def reader(self, path):
        import zarr

        group = zarr.open_group(str(path), mode="r")
        sets = [group[n] for n in NAMES]
        return lambda i: [s[i] for s in sets]


class TensorStore(Store):
    name, package = "TensorStore zarr3, sharded + crc32c", "tensorstore"

    def _open(self, path, name, array=None):
        import tensorstore as ts

        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / name)}}
        if array is None:
            return ts.open(spec, read=True).result()
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}},
                  {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "typesize": 4,
                                                      "shuffle": "bitshuffle", "blocksize": 0}},
                  {"name": "crc32c"}]  # fmt: skip
        inner = [1, *array.shape[1:]]
        outer = [min(200, len(array)), *array.shape[1:]]
        spec["metadata"] = {
            "shape": list(array.shape), "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
            "codecs": [{"name": "sharding_indexed",
                        "configuration": {"chunk_shape": inner, "codecs": codecs}}],
        }  # fmt: skip
        return ts.open(spec, create=True, write=True).result()

    def write(self, path, arrays):
        sets = {n: self._open(path, n, a) for n, a in arrays.items()}
        count = len(arrays["resid"])
        for first in range(0, count, 200):  # a shard at a time
            end = min(first + 200, count)
            for n, a in arrays.items():
                sets[n][first:end] = a[first:end]

    def reader(self, path):
        sets = [self._open(path, n) for n in NAMES]
        return lambda i: [s[i].read().result() for s in sets]


class Lmdb(Store):
    name, package = "LMDB, LZ4 + shuffle values", "lmdb"

    def write(self, path, arrays):
        import blosc2
        import lmdb

        base = lmdb.open(str(path), map_size=1 << 31)
        for first in range(0, len(arrays["resid"]), 50):
            with base.begin(write=True) as transaction:
                for i in range(first, min(first + 50, len(arrays["resid"]))):
                    for n, a in arrays.items():
                        value = blosc2.compress(a[i].tobytes(), typesize=4, codec=blosc2.Codec.LZ4)
                        transaction.put(b"%s/%d" % (n.encode(), i), value)

    def reader(self, path):
        import blosc2
        import lmdb
        import numpy as np

        base = lmdb.open(str(path), readonly=True, lock=False)
        shapes = {"resid": (16, 768), "post": (16, 3072), "pattern": (12, 16, 16)}

        def read(i):
            with base.begin(buffers=True) as transaction:
                return [np.frombuffer(blosc2.decompress(transaction.get(b"%s/%d" % (n.encode(), i))),
                                      np.float32).reshape(shapes[n])
                        for n in NAMES]  # fmt: skip

        return read


class Patchbay(Store):
    """Written by patchbay-bench, whose arrays are its own; read by the Python reader."""

    name, package = "Patchbay", "lz4"

    def __init__(self, bench: Path):
        self.bench = bench

    def write(self, path, arrays):
        prompts = str(len(arrays["resid"]))
        subprocess.run([self.bench, "store", "--keep", path, "--prompts", prompts], check=True)

    def reader(self, path):
        import patchbay

        cache = patchbay.open(path)
        _ = cache.prompts, cache.pairs  # checked when they are read
        return lambda i: [cache[i][name] for name in cache.hooks]

    def prompts(self, path, arrays):
        read = self.reader(path)
        return [read(i) for i in range(len(arrays["resid"]))]


PEERS = [Npy(), Safetensors(), Hdf5("HDF5 + fletcher32", False), Hdf5("HDF5 + Blosc2", True),
         B2nd(), Zarr(), TensorStore(), Lmdb()]  # fmt: skip


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def remove(path: Path):
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def in_child(work, seconds: float = 60) -> str:
    """What `work` returned in a process of its own: its exceptions are "detected"."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            answer = work()
        except BaseException:
            answer = "detected"
        os.write(send, answer.encode())
        os._exit(0)
    os.close(send)
    deadline = time.time() + seconds
    status = None
    while status is None and time.time() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else (time.sleep(0.001), None)[1]
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    answer = os.read(receive, 100).decode()
    os.close(receive)
    return answer or "crash"


def speed(np, store: Store, arrays: dict, path: Path, runs: int) -> dict:
    total = sum(a.nbytes for a in arrays.values())
    count = len(arrays["resid"])
    writes = []
    for _ in range(runs):
        remove(path)
        start = time.perf_counter()
        store.write(path, arrays)
        writes.append(time.perf_counter() - start)
    read = store.reader(path)
    order = np.random.default_rng(1).integers(0, count, 400)
    latencies = []
    for _ in range(2):
        latencies = []
        for i in order:
            start = time.perf_counter()
            read(int(i))
            latencies.append((time.perf_counter() - start) * 1e6)

    def scan(threads: int) -> float:
        def part(number: int):
            for i in range(count * number // threads, count * (number + 1) // threads):
                read(i)

        times = []
        for _ in range(runs):
            start = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, range(threads)))
            times.append(time.perf_counter() - start)
        return total / statistics.median(times) / 1e9

    latencies.sort()
    return {
        "bytes_ratio": sum(p.stat().st_size for p in files_of(path)) / total,
        "write_gbs": total / statistics.median(writes) / 1e9,
        "random_p50_us": latencies[200], "random_p99_us": latencies[396],
        "scan1_gbs": scan(1), "scan2_gbs": scan(2),
    }  # fmt: skip


def damage(np, store: Store, folder: Path, small: dict, large: dict, seed: int) -> dict:
    path = folder / f"damage{store.suffix}"
    remove(path)
    assert in_child(lambda: (store.write(path, small), "ok")[1]) == "ok", f"{store.name} cannot write"
    count = len(small["resid"])

    def everything():
        read = store.reader(path)
        return b"".join(np.asarray(a).tobytes() for i in range(count) for a in read(i))

    expected = b"".join(np.asarray(a).tobytes() for p in store.prompts(path, small) for a in p)
    found = {"flips": {}, "truncations": {}, "kills": []}

    def outcome() -> str:
        return in_child(lambda: "harmless" if everything() == expected else "SILENT")

    def note(kind: str, what: str):
        found[kind][what] = found[kind].get(what, 0) + 1

    generator = random.Random(seed)
    all_files = files_of(path)
    sizes = [p.stat().st_size for p in all_files]
    for _ in range(120):
        file = generator.choices(all_files, sizes)[0]
        place = generator.randrange(8 * file.stat().st_size)
        with open(file, "r+b", buffering=0) as f:
            f.seek(place // 8)
            byte = f.read(1)[0]
            f.seek(place // 8)
            f.write(bytes([byte ^ 1 << place % 8]))
            note("flips", outcome())
            f.seek(place // 8)
            f.write(bytes([byte]))
    largest = max(all_files, key=lambda p: p.stat().st_size)
    data = largest.read_bytes()
    for share in (0, 1, 10, 30, 50, 70, 90, 99, 99.99):
        largest.write_bytes(data[: int(len(data) * share / 100)])
        note("truncations", outcome())
    largest.write_bytes(data)

    remove(path)
    in_child(lambda: (store.write(path, large), "ok")[1])
    whole = sum(p.stat().st_blocks for p in files_of(path))
    expected_prompts = store.prompts(path, large)
    for share in (0.3, 0.7):
        remove(path)
        child = os.fork()
        if child == 0:
            os.setsid()  # with whatever it starts
            store.write(path, large)
            os._exit(0)
        while (sum(p.stat().st_blocks for p in files_of(path) if p.exists()) < share * whole
               and os.waitpid(child, os.WNOHANG)[0] == 0):  # fmt: skip
            time.sleep(0.0005)
        try:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

        def prompts() -> str:
            read = store.reader(path)
            right = wrong = 0
            for i, prompt in enumerate(expected_prompts):
                try:
                    got = read(i)
                except Exception:
                    continue
                same = all(np.array_equal(a, b) for a, b in zip(got, prompt))
                right, wrong = right + same, wrong + (not same)
            return f"{right} right, {wrong} WRONG" if wrong else f"{right} right"

        answer = in_child(prompts)
        found["kills"].append("nothing opens" if answer == "detected" else answer)
    remove(path)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["speed", "damage"], action="append")
    parser.add_argument("--bin", type=Path, default=ROOT / ".build/release")
    parser.add_argument("--python", help="an interpreter that has the peers")
    parser.add_argument("--folder", type=Path, help="where stores are written (default /dev/shm)")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", help="only stores whose name holds this")
    args = parser.parse_args()
    if args.python and Path(args.python).absolute() != Path(sys.executable).absolute():
        os.execv(args.python, [args.python, *sys.argv])
    sys.path.insert(0, str(ROOT / "tools/python/src"))
    import numpy as np

    base = args.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="patchbay-stores-", dir=base))
    bench = args.bin / "patchbay-bench"
    print(f"$ {' '.join(sys.argv)}\n{os.cpu_count()} cores; seed {args.seed}")
    rows = []
    try:
        big = make_arrays(np, args.prompts)
        small = {n: a[:40].copy() for n, a in big.items()}
        large = {n: a[:400].copy() for n, a in big.items()}
        for store in [*PEERS, Patchbay(bench)]:
            if args.only and args.only not in store.name:
                continue
            try:
                package = f"{store.package} {version(store.package)}"
            except Exception:
                print(f"{store.name}: {store.package} is not installed; left out")
                continue
            row = {"store": store.name, "package": package}
            if "speed" in (args.part or ["speed"]):
                if isinstance(store, Patchbay):
                    command = [bench, "store", "--json", "--prompts", str(args.prompts)]
                    answer = subprocess.run(command, check=True, capture_output=True)
                    row |= json.loads(answer.stdout)
                else:
                    path = folder / f"speed{store.suffix}"
                    row |= speed(np, store, big, path, args.runs)
                    remove(path)
            if "damage" in (args.part or ["damage"]):
                row |= damage(np, store, folder, small, large, args.seed)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    show(rows)
    return 0


def show(rows: list[dict]):
    if any("write_gbs" in row for row in rows):
        print("\n| store | bytes/raw | write GB/s | random prompt p50 µs | p99 µs | scan 1 thread GB/s "
              "| scan 2 threads GB/s |\n|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip
        for row in (row for row in rows if "write_gbs" in row):
            print(f"| {row['store']} | {row['bytes_ratio']:.3f} | {row['write_gbs']:.2f} "
                  f"| {row['random_p50_us']:.0f} | {row['random_p99_us']:.0f} "
                  f"| {row['scan1_gbs']:.2f} | {row['scan2_gbs']:.2f} |")  # fmt: skip
    if any("flips" in row for row in rows):
        print("\n| store | 120 bit flips | 9 truncations | killed at 30 % | at 70 % |\n"
              "|---|---|---|---|---|")  # fmt: skip
        for row in (row for row in rows if "flips" in row):
            counts = (", ".join(f"{n} {what}" for what, n in sorted(row[kind].items()))
                      for kind in ("flips", "truncations"))  # fmt: skip
            print(f"| {row['store']} | {' | '.join(counts)} | {' | '.join(row['kills'])} |")
    print("\n" + ", ".join(sorted({row["package"] for row in rows})))


if __name__ == "__main__":
    sys.exit(main())
