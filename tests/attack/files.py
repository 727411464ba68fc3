"""Mutated checkpoint files and state_dicts: each loads to what it says, or is refused by name with nothing changed.

`python -m tests.attack.files --count 10000 --seed 1` prints how many of each kind loaded and were refused.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fastopt
from tests.attack.command import Outcomes, run
from tests.support.checkpoints import everything

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 0.5, -0.0, 1e-60, 1e300, "", "8bit", "a"),
    *([], [1], {}, {"a": 1}, {"tensor": "state.0.exp_avg"}, ["a"] * 3, float("nan"), float("inf"), 10**400),
)
MEMORY: tuple[Callable[[], Any], ...] = (
    lambda: np.ones(3),
    lambda: np.ones((2, 3), np.float32),
    lambda: np.zeros(0, np.float32),
    lambda: np.ones(7, ">f4"),
    lambda: np.ones(14, np.float32)[::2],
    lambda: np.array([None] * 7),
    lambda: np.float32(1),
    lambda: bytearray(b"1234"),
)
"""Values that only a state_dict in memory can have."""


def optimizers() -> list[Any]:
    """One of each kind of snapshot, two steps old."""
    rng = np.random.default_rng(3)
    made = []
    for rule, dtype, arguments in (
        ("AdamW", np.float32, {"ema_decay": 0.5}),
        ("NAdam", np.float32, {"state_dtype": "8bit", "max_norm": 1.0}),
        ("SGD", np.float16, {"momentum": 0.9, "master": "24bit"}),
        ("RMSprop", ml_dtypes.bfloat16, {"state_dtype": "bfloat16", "centered": True, "master": "float32"}),
    ):
        params = {name: rng.standard_normal(7).astype(dtype) for name in "ab"}
        plateau = fastopt.schedules.ReduceOnPlateau(0.1)
        groups = [{"params": {"a": params["a"]}, "lr": plateau}, {"params": {"b": params["b"]}, "lr": 0.25}]
        optimizer = getattr(fastopt, rule)(groups, **arguments)
        for loss in (2.0, 1.0):
            step(optimizer, rng)
            plateau.step(loss)
        made.append(optimizer)
    return made


def step(optimizer: Any, rng: np.random.Generator) -> None:
    optimizer.step({name: rng.standard_normal(7).astype(np.float32) for name in "ab"})


# Mutations


def flipped(content: bytes, dice: random.Random) -> bytes:
    """Bytes that changed, went, came twice or came from somewhere else."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        at, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 2:
            del data[at : at + dice.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = data[end : end + dice.randrange(1, 20)]
        elif kind == 4:
            data[at : at + 8] = dice.randbytes(8)
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


def places(nest: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a nest, the nest aside."""
    for key in nest if isinstance(nest, dict) else range(len(nest)) if isinstance(nest, list) else ():
        yield (*before, key)
        yield from places(nest[key], (*before, key))


def changed(nest: Any, dice: random.Random, hostile: Callable[[], Any]) -> Any:
    """One or a few entries replaced, removed, exchanged or added."""
    for _ in range(dice.choice((1, 1, 1, 2))):
        ways = list(places(nest))
        if not ways:
            return hostile()
        *way, key = dice.choice(ways)
        target = nest
        for each in way:
            target = target[each]
        kind = dice.randrange(5)
        if kind == 0:
            del target[key]
        elif kind == 1:
            other = dice.choice(list(target) if isinstance(target, dict) else range(len(target)))
            target[key], target[other] = target[other], target[key]
        elif kind == 2 and isinstance(target, dict):
            target[dice.choice(("a", "lr", "name", "schedule", "step", "tensor", "ema"))] = hostile()
        else:
            target[key] = hostile()
    return nest


def rewritten(content: bytes, dice: random.Random) -> bytes:
    """Another document with the checksums of one that was written so."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    text = header["__metadata__"]["fastopt"]
    if dice.random() < 0.8:
        text = json.dumps(changed(json.loads(text), dice, lambda: copy.deepcopy(dice.choice(HOSTILE))))
    else:
        header = changed(header, dice, lambda: copy.deepcopy(dice.choice(HOSTILE)))
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"] |= {"fastopt": text, "fastopt.crc32": f"{zlib.crc32(text.encode()):08x}"}
    start = json.dumps(header).encode()
    return struct.pack("<Q", len(start)) + start + data


# The attack


def same(given: Any, found: Any) -> bool:
    """Whether a snapshot says what was given, in its own types.  A group without a state for its schedule leaves that as it is."""
    if isinstance(found, dict):
        return isinstance(given, dict) and all(key == "schedule" or same(given.get(key), found[key]) for key in found)
    if isinstance(found, (list, tuple)):
        if found and isinstance(found[0], dict) and "name" in found[0]:
            given = sorted(given, key=lambda entry: entry["name"])  # entries find their tensors by name
        return len(given) == len(found) and all(map(same, given, found))
    if isinstance(found, np.ndarray):
        return bool(given.dtype == found.dtype and given.tobytes() == found.tobytes())
    return bool((float(given) if isinstance(found, float) else given) == found)


def loaded(optimizer: Any, load: Callable[[], None], beginning: str) -> bool:
    """Whether a load was made; AssertionError if it was neither made nor refused by name with nothing changed."""
    before, refusal = everything(optimizer), None
    try:
        load()
    except (TypeError, ValueError) as error:
        refusal = error
    assert refusal is None or str(refusal).startswith(beginning), f"a nameless error: {refusal!r}"
    assert refusal is None or everything(optimizer) == before, f"half applied, then {refusal!r}"
    return refusal is None


class Attack:
    """Optimizers with their checkpoints, mutated in `folder` by `dice`."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.path, self.dice = folder / "attacked", dice
        self.rng = np.random.default_rng(1)
        self.outcomes: Outcomes = Counter()
        self.optimizers = optimizers()
        self.snapshots = [optimizer.state_dict() for optimizer in self.optimizers]
        self.contents = []
        for optimizer in self.optimizers:
            optimizer.save(self.path)
            self.contents.append(self.path.read_bytes())

    def run(self) -> None:
        """One mutation of each kind, of one of the optimizers."""
        i = self.dice.randrange(len(self.optimizers))
        optimizer, snapshot = self.optimizers[i], copy.deepcopy(self.snapshots[i])
        self._file("flipped bytes", optimizer, flipped(self.contents[i], self.dice), snapshot)
        self._file("rewritten metadata", optimizer, rewritten(self.contents[i], self.dice), None)
        mutated = changed(copy.deepcopy(snapshot), self.dice, lambda: self._value(optimizer))
        kept = copy.deepcopy(mutated)
        made = loaded(optimizer, lambda: optimizer.load_state_dict(mutated), "state_dict")
        assert not made or same(kept, optimizer.state_dict()), f"something else than was given: {kept}, {optimizer.state_dict()}"
        self._after("state_dict", optimizer, made)
        optimizer.load_state_dict(snapshot)

    def _value(self, optimizer: Any) -> Any:
        """A hostile value, or an array of the optimizer itself."""
        kind = self.dice.random()
        if kind < 0.5:
            return copy.deepcopy(self.dice.choice(HOSTILE))
        if kind < 0.75:
            return self.dice.choice(MEMORY)()
        entry = optimizer.state[self.dice.choice("ab")]
        value = entry[self.dice.choice([name for name in entry if name != "step"])]
        return dict(value.raw) if hasattr(value, "raw") else value

    def _file(self, kind: str, optimizer: Any, content: bytes, saved: Any) -> None:
        step(optimizer, self.rng)
        self.path.write_bytes(content)
        made = loaded(optimizer, lambda: optimizer.load(self.path), f"{self.path}: ")
        assert not made or saved is None or same(saved, optimizer.state_dict()), "something else than was saved"
        self._after(kind, optimizer, made)

    def _after(self, kind: str, optimizer: Any, made: bool) -> None:
        self.outcomes[kind, "loaded" if made else "refused by name"] += 1
        if made and all(entry["step"] < 2**63 - 1 for entry in optimizer.state):
            step(optimizer, self.rng)


def attack(count: int, seed: int) -> Outcomes:
    """How `count` mutations of each kind ended; AssertionError at the first that did harm."""
    with tempfile.TemporaryDirectory() as folder:
        made = Attack(Path(folder), random.Random(seed))
        for i in range(count):
            try:
                made.run()
            except AssertionError as error:
                raise AssertionError(f"mutation {i} of seed {seed}: {error}") from error
        return made.outcomes


def main(arguments: list[str] | None = None) -> int:
    return run("files", __doc__, attack, 1000, arguments)


if __name__ == "__main__":
    sys.exit(main())
