"""The arms of one row at one size: how many bytes they move, which fit in memory, and their first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._arrays.memory import BLOCK
from ..rows import Row
from .place import LR, Arm, Place

__all__ = ["Bytes", "build", "bytes_of", "fitting", "sets_needed"]

CACHES = 4
"""A round through all sets of arrays reads at least so many times what the cache holds."""

MOST_SETS = 128
"""Below about 1e5 elements this is fewer than `CACHES` asks for: what is timed there is the host."""

RESERVE = 0.95
"""The part of the free memory that arms may take."""


@dataclass(frozen=True)
class Bytes:
    """What one set of a row's arrays takes and moves, in bytes a parameter."""

    held: float
    read: float
    written: float

    @property
    def moved(self) -> float:
        return self.read + self.written


def bytes_of(place: Place, row: Row, dtype: str) -> Bytes:
    """Counted over a block, for which some formats keep a word."""
    optimizer, param, grad = place.fastopt(row, place.normal(BLOCK, dtype), LR)
    traffic = optimizer.traffic()["total"]
    kept = [value for value in optimizer.state[0].values() if not isinstance(value, (int, float, np.generic))]
    held = sum(int(array.nbytes) for array in [param, grad, *kept])
    return Bytes(held / BLOCK, traffic["read"] / BLOCK, traffic["write"] / BLOCK)


def sets_needed(read: float, cache: int) -> int:
    """How many sets of arrays take turns so that no cache holds what a step reads when its turn comes again."""
    return max(1, min(MOST_SETS, math.ceil(CACHES * cache / max(1, read)))) if read < CACHES * cache else 1


def fitting(place: Place, row: Row, names: Sequence[str], nbytes: int, available: float) -> list[str]:
    """The first of these arms, as many as fit in memory beside the gradient: none if fastopt and its floor do not."""
    kept: list[str] = []
    needed = nbytes
    for name in names:
        needed += place.memory_needed(row, name, nbytes)
        if needed > RESERVE * available:
            break
        kept.append(name)
    return kept if len(kept) >= 2 else []


def build(
    place: Place, row: Row, grads: Sequence[Any], names: Sequence[str], moved: int, lr: float = LR
) -> tuple[list[Arm], dict[str, str]]:
    """These arms, each after its first steps, and which arms failed, with their words.

    Each arm has a set of arrays for each of `grads`, whose values are all the same.  `moved`: the bytes that fastopt's step moves.
    """
    arms, failed = [], {}
    for name in names:
        arm = Arm(name)
        try:
            place.add(arm, row, grads, moved, lr)
            begin(place, arm)
        except Exception as error:  # whatever somebody else's library has against it, the other arms are measured
            if name in ("fastopt", "floor", "float32"):
                raise
            failed[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
        else:
            arms.append(arm)
        if name in failed:  # out of the handler, which holds the failed arm's arrays
            del arm
            place.release()
    return arms, failed


def begin(place: Place, arm: Arm) -> None:
    """Takes each set's first step, which allocates and compiles."""
    place.synchronize()  # optax does not follow the stream on which the arrays were made
    for step in arm.steps:
        step()
    if arm.finish is not None:
        arm.finish()
    place.synchronize()
