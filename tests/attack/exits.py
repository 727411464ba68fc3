"""Threads, daemons and others, that use optimizers while the interpreter ends: the process ends as the program says, by no signal.

`python -m tests.attack.exits --count 200 --seed 1` prints how many programs of each kind ended so.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

from tests.attack.command import Outcomes, run

LIMIT = 120
"""Seconds after which a program hangs."""

PROGRAM = """
import atexit, os, sys, threading, time
import numpy as np
import fastopt
call, daemons, others, size, parallel, end, wait = {call!r}, {daemons}, {others}, {size}, {parallel}, {end!r}, {wait}
fastopt.set_num_threads(parallel)
p, g = np.ones(size, np.float32), np.ones(size, np.float32)
shared = fastopt.AdamW(p, state_dtype="8bit" if call == "values" else None)
def optimizer():
    return shared if call != "own" else fastopt.AdamW(np.ones(size, np.float32))
def work(opt, goes_on):
    own = np.ones(size, np.float32)
    calls = {{
        "step": lambda: opt.step(g),
        "own": lambda: opt.step(g),
        "clipped": lambda: opt.step(g, max_norm=1.0, skip_nonfinite=True),
        "part": lambda: opt.step_part(0, g),
        "norm": lambda: fastopt.global_norm(g),
        "values": lambda: opt.state[0]["exp_avg"][0],
        "bare": lambda: fastopt.functional.sgd(own, g, step=1),
        "built": lambda: fastopt.AdamW(np.ones(size, np.float32)).step(g),
    }}
    while goes_on():
        calls[call]()
    calls[call]()
for daemon in [True] * daemons + [False] * others:
    goes_on = (lambda: True) if daemon else threading.main_thread().is_alive
    threading.Thread(target=work, args=(optimizer(), goes_on), daemon=daemon).start()
if end == "atexit":
    atexit.register(work, optimizer(), lambda: False)
time.sleep(wait)
if end == "error":
    raise SystemExit(3)
"""
CALLS = ("step", "own", "clipped", "part", "norm", "values", "bare", "built")


def attack(count: int, seed: int) -> Outcomes:
    """How many of `count` programs of each kind ended; AssertionError at the first that ended otherwise than it says."""
    outcomes: Outcomes = Counter()
    dice = random.Random(seed)
    for i in range(count):
        call, end = dice.choice(CALLS), dice.choice(("over", "over", "atexit", "error"))
        daemons, others = dice.choice(((1, 0), (3, 0), (0, 2), (2, 1)))
        size, parallel, wait = dice.choice((1, 1000, 300_000, 3_000_000)), dice.choice((1, 3)), dice.random() * 0.2
        program = PROGRAM.format(
            call=call, daemons=daemons, others=others, size=size, parallel=parallel, end=end, wait=round(wait, 4)
        )
        try:
            done = subprocess.run(
                [sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"program {i} of seed {seed} hangs: {program}") from None
        assert done.returncode == (3 if end == "error" else 0), (
            f"program {i} of seed {seed}: exit code {done.returncode}: {done.stderr}{program}"
        )
        outcomes["with daemons" if daemons else "without daemons", "ended as they say"] += 1
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    return run("exits", __doc__, attack, 200, arguments)


if __name__ == "__main__":
    sys.exit(main())
