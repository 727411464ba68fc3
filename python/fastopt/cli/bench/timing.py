"""How arms are timed: in turn, in one process, compared pair by pair within each round."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from .place import Arm, Step

__all__ = ["ROUNDS", "calibrate", "compare", "measure", "repeat", "seconds_allowed", "turn_by_clock"]

TURN = 5e-3
"""Seconds that a turn on the host lasts at least: the arm finds its data in cache and its threads awake, as in a loop."""

COLD = 50e-3
"""Seconds of a step from which on warming up is pointless: no cache holds its data, and threads wake in far less."""

LEAST_ROUNDS = 3
ROUNDS = 25

SECONDS, QUICK_SECONDS = 240.0, 20.0
"""What a whole run of a benchmark may take unless `--seconds` says; sizes that need less leave their share to those that follow."""


def seconds_allowed(args: argparse.Namespace) -> float:
    """What the whole run may take."""
    return float(args.seconds or (QUICK_SECONDS if args.quick else SECONDS))


def repeat(turns: Iterator[Step], times: int) -> float:
    """Seconds of so many steps, by the host's clock."""
    begin = perf_counter()
    for step in itertools.islice(turns, times):
        step()
    return perf_counter() - begin


def calibrate(elapsed: Callable[[int], float], least: float) -> tuple[int, float]:
    """How many steps take `least` seconds or a little more, and how long they took; `elapsed`: the seconds of so many steps."""
    times = 1
    while (seconds := elapsed(times)) < least:
        # A fifth more, so that measurements do not end just below.
        times = max(times + 1, math.ceil(1.2 * times * least / max(seconds, least / 100)))
    return times, seconds


def turn_by_clock(arm: Arm) -> Callable[[], float]:
    """A function that warms the arm up, takes its turn and returns the seconds of a step."""
    turns = arm.turns()
    repeat(turns, 1)
    times, elapsed = calibrate(lambda times: repeat(turns, times), TURN)
    warm_up = 0 if elapsed / times >= COLD else max(1, times // 5)

    def turn() -> float:
        repeat(turns, warm_up)
        return repeat(turns, times) / times

    return turn


def measure(
    build: Callable[[], Sequence[Arm]],
    placements: int,
    rounds: int,
    deadline: float,
    tick: Callable[[], object],
    turn_of: Callable[[Arm], Callable[[], float]] = turn_by_clock,
) -> dict[str, list[float]]:
    """Seconds of one step of each arm in each round.

    The arms have `rounds` rounds; past `deadline`, by `perf_counter()`, they have fewer, but at least 3 (or `rounds`).  `tick`
    is called after each round.  The arms are built `placements` times, each time for a part of the rounds: the pages that the
    system gives decide what stays in cache, and the spread of the rounds includes that.
    """
    seconds: dict[str, list[float]] = {}
    turns: list[tuple[str, Callable[[], float]]] = []
    done = 0
    placements = min(placements, rounds)
    for placement in range(placements):
        # The arms before still hold their memory, so that these have other memory.
        turns = [(arm.name, turn_of(arm)) for arm in build()]
        while done < rounds * (placement + 1) // placements:
            if done >= LEAST_ROUNDS and perf_counter() > deadline:
                return seconds
            for name, turn in turns if done % 2 == 0 else reversed(turns):  # so that a drift favours no arm
                seconds.setdefault(name, []).append(turn())
            done += 1
            tick()
    return seconds


def compare(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Median seconds of each arm, and for each rival its seconds over fastopt's, as median and spread of the rounds' ratios.

    The spread is the distance between the quartiles, as a part of the median.
    """
    own = np.array(seconds["fastopt"])
    ratios = {}
    for name, values in seconds.items():
        if name != "fastopt":
            low, median, high = np.quantile(np.array(values) / own, (0.25, 0.5, 0.75))
            ratios[name] = {"median": float(median), "spread": float((high - low) / median)}
    return {"rounds": len(own), "seconds": {name: float(np.median(values)) for name, values in seconds.items()}, "ratios": ratios}
