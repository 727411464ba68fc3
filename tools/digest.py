"""A digest of the bits that fastopt computes, to prove that a change of the code changes none of them.

    python tools/digest.py --out before.json        # then change the code, install it, and
    python tools/digest.py --out after.json
    python tools/digest.py --compare before.json after.json

A case is a few steps of a rule in one of its forms, in a storage format, with some stages (digest_steps.py), or some other call
(digest_calls.py).  Its hash covers all that is written: parameters, state and its raw codes, masters, averages, copies, gradients,
norms and counts; a NaN equals any NaN.  Every case runs under each instruction set of this machine; the large ones with 1, 2 and 3
threads, the others with one of these.  Where these differ among themselves the case is reported as UNEQUAL and the exit code is 2.
What is refused has the error's type for its hash.  Hashes are to be compared on one machine, with the same versions of other packages.

`--emulated tests` takes the digest of CUDA optimizers instead, on the GPU that the tests emulate, and has each case on the CPU too.

Only fastopt's public interface is used, so that this runs before and after; what is needed of the tests is in `emulated_gpu` alone.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import digest_calls
import digest_steps
import ml_dtypes
import numpy as np

import fastopt

INFINITY = {np.float16: 0x7C00, ml_dtypes.bfloat16: 0x7F80, np.float32: 0x7F800000, np.float64: 0x7FF << 52}


class Digest:
    """A hash of arrays, numbers and words, and of lists and mappings of them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, name: str, value: Any) -> None:
        self._hash.update(f"{name}:".encode())
        if isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, Mapping):
            for key in sorted(value):
                self.add(key, value[key])
        elif isinstance(value, (list, tuple)):
            for i, each in enumerate(value):
                self.add(str(i), each)
        elif value is None or isinstance(value, (int, str)):
            self._hash.update(repr(value).encode())
        elif hasattr(value, "raw"):  # a Stored
            self.add(value.format, dict(value.raw))
            self.add("values", np.asarray(value))
        else:
            self._array(value.get() if hasattr(value, "get") else np.asarray(value))  # of a GPU's array a copy

    def _array(self, array: Any) -> None:
        self._hash.update(f"{array.dtype.num}{array.shape}".encode())
        infinity = INFINITY.get(array.dtype.type)
        if infinity is not None:
            array = array.view(f"u{array.itemsize}")
            nan = (array & (2 ** (8 * array.itemsize - 1) - 1)) > infinity
            if nan.any():
                array = np.where(nan, array.dtype.type(infinity + 1), array)
        self._hash.update(np.ascontiguousarray(array).data)

    def hex(self) -> str:
        return self._hash.hexdigest()


def hash_of(run: Callable[[Digest], None]) -> str:
    digest = Digest()
    try:
        run(digest)
    except (TypeError, ValueError) as error:
        return f"refused: {type(error).__name__}"
    return digest.hex()


def work(shard: int, shards: int, tests: str | None) -> dict[str, list[str]]:
    """The hashes of each case of a shard: one, if its runs are equal.  Cases that differ in the last part of their name stay together."""
    cases = digest_steps.emulated_cases(tests) if tests else {**digest_steps.cases(), **digest_calls.cases()}
    mine = [name for name in cases if zlib.crc32(name.rpartition(" | ")[0].encode()) % shards == shard]
    return {name: sorted({hash_of(run) for run in cases[name]}) for name in mine}


def spawn(job: tuple[str, int, int], tests: str | None, cache: str) -> dict[str, list[str]]:
    """`work` in a process of its own, under an instruction set."""
    isa, shard, shards = job
    command = [sys.executable, __file__, "--shard", str(shard), str(shards), *(["--emulated", tests] if tests else [])]
    environment = {"FASTOPT_EMULATION_CACHE": cache, **os.environ, "FASTOPT_ISA": isa}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def take(tests: str | None) -> tuple[dict[str, str], int]:
    """The hash of every case, and how many are unequal, which are named."""
    isas = fastopt.show_config(mode="dicts")["isa"]["available"]
    shards = os.cpu_count() or 1
    jobs = [(isa, shard, shards) for isa in (isas[:1] if tests else isas) for shard in range(shards)]
    found: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(shards) as pool:
        for (isa, *_), result in zip(jobs, pool.map(functools.partial(spawn, tests=tests, cache=cache), jobs), strict=True):
            for name, hashes in result.items():
                found.setdefault(name, {})[isa] = hashes
    every = {name: sorted({each for hashes in runs.values() for each in hashes}) for name, runs in found.items()}
    unequal = [name for name, hashes in every.items() if len(hashes) > 1]
    for name in unequal:
        print(f"UNEQUAL {name}: {found[name]}", file=sys.stderr)
    return {name: " ".join(hashes) for name, hashes in every.items()}, len(unequal)


def compare(before: str, after: str) -> int:
    a, b = (json.loads(Path(path).read_text()) for path in (before, after))
    for name in sorted({*a, *b}):
        if a.get(name) != b.get(name):
            print(f"{'differs' if name in a and name in b else f'only in {before if name in a else after}'}: {name}")
    print(f"{len(a)} and {len(b)} cases, {'the same' if a == b else 'not the same'}")
    return int(a != b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FILE.json", help="where the hash of every case is written")
    parser.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="list the cases that differ; exit code 1 if any")
    parser.add_argument("--emulated", metavar="TESTS", help="the directory of the tests: take the emulated GPU's digest instead")
    parser.add_argument("--shard", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compare:
        return compare(*given.compare)
    if given.shard:
        print(json.dumps(work(given.shard[0], given.shard[1], given.emulated)))
        return 0
    start = perf_counter()
    hashes, unequal = take(given.emulated)
    text = json.dumps(hashes, indent=0, sort_keys=True) + "\n"
    if given.out:
        Path(given.out).write_text(text)
    refused = sum(each.startswith("refused") for each in hashes.values())
    print(f"{len(hashes)} cases, {refused} of them refused, {unequal} unequal, in {perf_counter() - start:.0f} s")
    print(hashlib.sha256(text.encode()).hexdigest())
    return 2 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
