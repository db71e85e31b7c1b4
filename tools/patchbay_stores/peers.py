"""The stores that researchers keep activations in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from patchbay_stores.arrays import SHAPES, Arrays, prompts_of
from patchbay_stores.store import Read, Store


def _write_rows(sets: dict, arrays: Arrays) -> None:
    for prompt in range(prompts_of(arrays)):
        for hook, array in arrays.items():
            sets[hook][prompt] = array[prompt]


class Npy(Store):
    name, packages, modules = "npy memmap", ("numpy",), ("numpy",)

    def write(self, folder: Path, arrays: Arrays) -> None:
        sets = {
            hook: np.lib.format.open_memmap(folder / f"{hook}.npy", "w+", a.dtype, a.shape)
            for hook, a in arrays.items()
        }
        _write_rows(sets, arrays)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        sets = {hook: np.load(folder / f"{hook}.npy", mmap_mode="r") for hook in SHAPES}
        return lambda hook, prompt: np.array(sets[hook][prompt])


class Safetensors(Store):
    name = "safetensors, one file"
    packages, modules = ("safetensors",), ("safetensors", "safetensors.numpy")

    def write(self, folder: Path, arrays: Arrays) -> None:
        from safetensors.numpy import save_file

        save_file(arrays, folder / "arrays.safetensors")

    def reader(self, folder: Path, threads: int = 1) -> Read:
        from safetensors import safe_open

        file = safe_open(folder / "arrays.safetensors", "numpy")
        sets = {hook: file.get_slice(hook) for hook in SHAPES}
        return lambda hook, prompt: sets[hook][prompt : prompt + 1][0]


class Hdf5(Store):
    packages, modules = ("h5py", "hdf5plugin"), ("h5py", "hdf5plugin")

    def __init__(self, name: str, options: Callable[[], dict]):
        self.name, self.options = name, options

    def write(self, folder: Path, arrays: Arrays) -> None:
        import h5py

        with h5py.File(folder / "arrays.h5", "w") as file:
            sets = {
                hook: file.create_dataset(
                    hook, a.shape, a.dtype, chunks=(1, *a.shape[1:]), **self.options()
                )
                for hook, a in arrays.items()
            }
            _write_rows(sets, arrays)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        import h5py
        import hdf5plugin  # noqa: F401  h5py finds the filters through it

        file = h5py.File(folder / "arrays.h5", "r")
        sets = {hook: file[hook] for hook in SHAPES}
        return lambda hook, prompt: sets[hook][prompt]


def _checked() -> dict:
    return {"fletcher32": True}


def _blosc2() -> dict:
    import hdf5plugin

    return hdf5plugin.Blosc2(cname="lz4", clevel=5, filters=hdf5plugin.Blosc2.BITSHUFFLE)


def _blosc() -> dict:
    import hdf5plugin

    return hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)


def _bitshuffle_checked() -> dict:
    import hdf5plugin

    return {**hdf5plugin.Bitshuffle(cname="lz4"), **_checked()}


class B2nd(Store):
    name = "blosc2 b2nd, LZ4 + bitshuffle"
    packages, modules = ("blosc2",), ("blosc2",)

    def write(self, folder: Path, arrays: Arrays) -> None:
        import blosc2

        way = {"codec": blosc2.Codec.LZ4, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}
        sets = {
            hook: blosc2.empty(
                a.shape, a.dtype, chunks=(1, *a.shape[1:]), cparams=way,
                urlpath=str(folder / f"{hook}.b2nd"),
            )
            for hook, a in arrays.items()
        }  # fmt: skip
        _write_rows(sets, arrays)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        import blosc2

        # A scan on 1 thread is to run on one.
        sets = {
            hook: blosc2.open(str(folder / f"{hook}.b2nd"), mode="r", dparams={"nthreads": 1})
            for hook in SHAPES
        }
        return lambda hook, prompt: sets[hook][prompt]


class Zarr(Store):
    packages, modules = ("zarr",), ("zarr", "zarr.codecs")

    def __init__(self, name: str, shard: int | None = None):
        self.name, self.shard = name, shard

    def write(self, folder: Path, arrays: Arrays) -> None:
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        zarr.config.set({"threading.max_workers": 1})
        group = zarr.open_group(str(folder), mode="w")
        ways = (BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=4), Crc32cCodec())
        count = prompts_of(arrays)
        together = min(self.shard or 1, count)
        sets = {
            hook: group.create_array(
                hook, shape=a.shape, dtype=a.dtype, chunks=(1, *a.shape[1:]), compressors=ways,
                shards=(together, *a.shape[1:]) if self.shard else None,
            )
            for hook, a in arrays.items()
        }  # fmt: skip
        for first in range(0, count, together):
            for hook, a in arrays.items():
                sets[hook][first : first + together] = a[first : first + together]

    def reader(self, folder: Path, threads: int = 1) -> Read:
        import zarr

        zarr.config.set({"threading.max_workers": threads})
        group = zarr.open_group(str(folder), mode="r")
        sets: dict[str, Any] = {hook: group[hook] for hook in SHAPES}
        return lambda hook, prompt: sets[hook][prompt]


class TensorStore(Store):
    name = "TensorStore zarr3, sharded + crc32c"
    packages, modules = ("tensorstore",), ("tensorstore",)
    shard = 200

    def _spec(self, folder: Path, hook: str, threads: int) -> dict:
        return {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(folder / hook)},
            "context": {"data_copy_concurrency": {"limit": threads}},
        }

    def write(self, folder: Path, arrays: Arrays) -> None:
        import tensorstore

        codecs = [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": {
                "cname": "lz4", "clevel": 5, "typesize": 4, "shuffle": "bitshuffle",
                "blocksize": 0}},
            {"name": "crc32c"},
        ]  # fmt: skip
        count = prompts_of(arrays)
        together = min(self.shard, count)
        sets = {}
        for hook, array in arrays.items():
            metadata = {
                "shape": list(array.shape), "data_type": "float32",
                "chunk_grid": {"name": "regular", "configuration": {
                    "chunk_shape": [together, *array.shape[1:]]}},
                "codecs": [{"name": "sharding_indexed", "configuration": {
                    "chunk_shape": [1, *array.shape[1:]], "codecs": codecs}}],
            }  # fmt: skip
            spec = {**self._spec(folder, hook, 1), "metadata": metadata}
            sets[hook] = tensorstore.open(spec, create=True, write=True).result()
        for first in range(0, count, together):
            for hook, array in arrays.items():
                end = min(first + together, count)
                sets[hook][first:end] = array[first:end]

    def reader(self, folder: Path, threads: int = 1) -> Read:
        import tensorstore

        sets = {
            hook: tensorstore.open(self._spec(folder, hook, threads), read=True).result()
            for hook in SHAPES
        }
        return lambda hook, prompt: sets[hook][prompt].read().result()


class Lmdb(Store):
    name = "LMDB, LZ4 + shuffle values"
    packages, modules = ("lmdb", "blosc2"), ("lmdb", "blosc2")
    together = 50
    """Prompts of a transaction."""

    def write(self, folder: Path, arrays: Arrays) -> None:
        import blosc2
        import lmdb

        blosc2.set_nthreads(1)
        base = lmdb.open(str(folder), map_size=1 << 31)
        count = prompts_of(arrays)
        for first in range(0, count, self.together):
            with base.begin(write=True) as transaction:
                for prompt in range(first, min(first + self.together, count)):
                    for hook, a in arrays.items():
                        data = a[prompt].tobytes()
                        value = blosc2.compress(data, typesize=4, codec=blosc2.Codec.LZ4)
                        transaction.put(f"{hook}/{prompt}".encode(), value)

    def reader(self, folder: Path, threads: int = 1) -> Read:
        import blosc2
        import lmdb

        blosc2.set_nthreads(1)
        base = lmdb.open(str(folder), readonly=True, lock=False)

        def read(hook: str, prompt: int) -> np.ndarray:
            with base.begin(buffers=True) as transaction:
                value = transaction.get(f"{hook}/{prompt}".encode())
                if value is None:
                    raise KeyError(f"{hook}/{prompt}")
                return np.frombuffer(blosc2.decompress(value), np.float32).reshape(SHAPES[hook])

        return read


def all_peers() -> list[Store]:
    return [
        Npy(),
        Safetensors(),
        Hdf5("HDF5 + fletcher32", _checked),
        Hdf5("HDF5 + Blosc2 LZ4 + bitshuffle", _blosc2),
        Hdf5("HDF5 + Blosc LZ4 + shuffle", _blosc),
        Hdf5("HDF5 + bitshuffle-LZ4 + fletcher32", _bitshuffle_checked),
        B2nd(),
        Zarr("zarr v3, LZ4 + bitshuffle + crc32c"),
        Zarr("zarr v3, sharded, LZ4 + bitshuffle + crc32c", shard=200),
        TensorStore(),
        Lmdb(),
    ]
