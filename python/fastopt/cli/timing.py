"""How arms are timed: in turn, in one process, compared pair by pair within each round."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from .arms import Arm

__all__ = ["ROUNDS", "compare", "measure", "seconds_allowed"]

TURN = 5e-3
"""Seconds that a turn lasts at least: long enough that the arm finds its data in cache and its threads awake, as in a loop."""

COLD = 50e-3
"""Seconds of a step from which on warming up is pointless: no cache holds its data, and threads wake in far less."""

LEAST_ROUNDS = 3
ROUNDS = 25

SECONDS, QUICK_SECONDS = 240.0, 20.0
"""What a whole run of a benchmark may take unless `--seconds` says; sizes that need less leave their share to those that follow."""


def seconds_allowed(args: argparse.Namespace) -> float:
    """What the whole run may take."""
    return float(args.seconds or (QUICK_SECONDS if args.quick else SECONDS))


def repeat(step: Callable[[], object], times: int) -> float:
    """Seconds of `times` steps."""
    begin = perf_counter()
    for _ in range(times):
        step()
    return perf_counter() - begin


def calibrate(step: Callable[[], object]) -> tuple[int, int]:
    """How many steps warm an arm up and how many make a turn."""
    step()
    times = 1
    while (elapsed := repeat(step, times)) < TURN:
        times = max(2 * times, math.ceil(times * TURN / max(elapsed, 1e-9))) if elapsed < TURN / 2 else times + times // 4 + 1
    return (0 if elapsed / times >= COLD else max(1, times // 5)), times


def measure(
    build: Callable[[], Sequence[Arm]], placements: int, rounds: int, deadline: float, tick: Callable[[], None]
) -> dict[str, list[float]]:
    """Seconds of one step of each arm in each round.

    There are `rounds` of them, fewer (but at least 3, or `rounds`) where `perf_counter()` passes `deadline`; `tick`
    is called after each.  The arms are built `placements` times, each time for a part of the rounds: which pages the
    system gives decides what stays in cache, so the spread of the rounds shall have it in.
    """
    seconds: dict[str, list[float]] = {}
    arms: Sequence[Arm] = ()
    done = 0
    placements = min(placements, rounds)
    for placement in range(placements):
        arms = build()  # while the arms before still hold their memory, so that this is other memory
        plans = [(arm, *calibrate(arm.step)) for arm in arms]
        while done < rounds * (placement + 1) // placements:
            if done >= LEAST_ROUNDS and perf_counter() > deadline:
                return seconds
            for arm, warm_up, times in plans if done % 2 == 0 else reversed(plans):  # so that a drift favours nobody
                repeat(arm.step, warm_up)
                seconds.setdefault(arm.name, []).append(repeat(arm.step, times) / times)
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
