"""Memory that moves under an optimizer: the next step refuses by name with nothing written, or follows, as `fastopt.torch` does.

`python -m tests.attack.moved --count 10000 --seed 1` prints how often which.  The moves are made in other processes, so that one which
crashes is noticed and named.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.attack.command import Outcomes, run

ROOT = Path(__file__).resolve().parents[2]
BATCH = 250
"""Moves of a process."""
PROGRAM = ("-m", "tests.attack.moves")


def attack(count: int, seed: int) -> Outcomes:
    """How `count` moves of each kind ended; AssertionError at the first that did harm."""
    outcomes: Outcomes = Counter()
    dice = random.Random(seed)
    for begin in range(0, count, BATCH):
        own = dice.randrange(2**32)
        moves = min(BATCH, count - begin)
        command = [sys.executable, "-X", "faulthandler", *PROGRAM, str(moves), str(own)]
        # Freed memory is overwritten at once, so that what is read or written there shows.
        environment = {**os.environ, "MALLOC_PERTURB_": "165"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        if done.returncode != 0:
            at = len(lines[::2]) - 1
            raise AssertionError(
                f"move {at} of `python -m tests.attack.moves {moves} {own}`: exit code {done.returncode}: {done.stderr}"
            )
        for kind, end in map(json.loads, lines[1::2]):
            outcomes[kind, end] += 1
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    return run("moved", __doc__, attack, 1000, arguments)


if __name__ == "__main__":
    sys.exit(main())
