"""`kill -9` while an optimizer is saved: the old file or the new one loads whole, and the next save removes what was left.

`python -m tests.attack.kills --count 1000 --seed 1` prints how often which was found.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import fastopt
from tests.attack.command import Outcomes, run

SAVER = """
import sys
import numpy as np
import fastopt
path, begun, size = sys.argv[1], open(sys.argv[2], "r+b", buffering=0), int(sys.argv[3])
made = fastopt.Adagrad(np.zeros(size, np.float32), lr=0.0, grads=np.ones(size, np.float32))
made.load(path)
while True:
    made.step()
    begun.seek(0)
    begun.write(made.steps.to_bytes(8, "little"))  # of the save that begins
    made.save(path)
    print(flush=True)
"""
SIZES = (10, 100_000, 1_000_000)


def optimizer(size: int) -> Any:
    """One whose state says after how many steps it was saved: each adds 1 to each element."""
    return fastopt.Adagrad(np.zeros(size, np.float32), lr=0.0, grads=np.ones(size, np.float32))


def kill(folder: Path, size: int, delay: float) -> tuple[str, bool]:
    """Kills a process `delay` seconds after the first of its saves; which save's file is there then, and whether a temporary one is."""
    path, begun = folder / "state", folder / "begun"
    command = [sys.executable, "-c", SAVER, str(path), str(begun), str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saver:
        assert saver.stdout is not None
        saver.stdout.readline()
        after_the_first = hidden(folder)
        time.sleep(delay)
        saver.kill()
        _, words = saver.communicate()
    assert saver.returncode == -signal.SIGKILL, words.decode()
    assert after_the_first <= 1, "a save left an older temporary file"
    left = hidden(folder)
    assert left <= 1, f"{left} temporary files"
    found, last = optimizer(size), int.from_bytes(begun.read_bytes(), "little")
    found.load(path)
    assert found.steps in (last - 1, last), f"the save of {found.steps} steps, expected one of {last - 1} or {last}"
    assert (found.state[0]["sum"] == found.steps).all(), "parts of two saves"
    return "the new file" if found.steps == last else "the old file", left == 1


def hidden(folder: Path) -> int:
    return sum(name.name.startswith(".") for name in folder.iterdir())


def attack(count: int, seed: int) -> Outcomes:
    """What `count` kills left; AssertionError at the first that did harm."""
    outcomes: Outcomes = Counter()
    dice = random.Random(seed)
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "begun").write_bytes(bytes(8))
            made = optimizer(size)
            begin = time.perf_counter()
            made.save(folder / "state")
            seconds = time.perf_counter() - begin
            for i in range(count // len(SIZES) + (SIZES.index(size) < count % len(SIZES))):
                try:
                    file, left = kill(folder, size, dice.uniform(0, 20 * seconds))
                except AssertionError as error:
                    raise AssertionError(f"kill {i} of seed {seed}, {size} elements: {error}") from error
                outcomes[f"{size} elements", file] += 1
                outcomes[f"{size} elements", "with a temporary file"] += left
            made.save(folder / "state")
            assert sorted(path.name for path in folder.iterdir()) == ["begun", "state"], "a save left a temporary file"
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    return run("kills", __doc__, attack, 100, arguments)


if __name__ == "__main__":
    sys.exit(main())
