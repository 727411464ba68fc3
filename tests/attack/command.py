"""The command line that all attacks have: `python -m tests.attack.files --count 10000 --seed 1`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Outcomes", "run"]

Outcomes: TypeAlias = "Counter[tuple[str, str]]"
"""How often each kind of harm ended in each way."""


def run(name: str, about: str | None, attack: Callable[[int, int], Outcomes], count: int, arguments: list[str] | None) -> int:
    """Attacks as often as the command line says, by default `count` times, and prints a line for each kind."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.attack.{name}", description=about)
    parser.add_argument("--count", type=int, default=count, help=f"how often (default {count})")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    outcomes = attack(given.count, given.seed)
    for kind in sorted({kind for kind, _ in outcomes}):
        ends = sorted(end for each, end in outcomes if each == kind)
        print(f"{kind}: {', '.join(f'{outcomes[kind, end]} {end}' for end in ends)}")
    return 0
