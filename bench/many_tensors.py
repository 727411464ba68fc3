"""What an optimizer of many small tensors costs around its steps: seconds for 1,000, 10,000 and 100,000 of them, a Markdown table.

Every row grows with the number of tensors and no faster.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import fastopt

COUNTS = (1_000, 10_000, 100_000)
ELEMENTS = 10
RUNS = 3


def calls(count: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    params = {f"layers.{i}.weight": np.ones(ELEMENTS, np.float32) for i in range(count)}
    grads = {name: np.full(ELEMENTS, 0.5, np.float32) for name in params}
    arrays, given = list(params.values()), list(grads.values())
    optimizer = fastopt.AdamW(params)
    optimizer.step(grads)
    snapshot, file = optimizer.state_dict(), folder / "many.safetensors"
    reversed_snapshot = {**snapshot, "state": snapshot["state"][::-1]}
    return {
        "bind a list": lambda: fastopt.AdamW(arrays),
        "bind a dict": lambda: fastopt.AdamW(params),
        "bind groups of one": lambda: fastopt.AdamW([{"params": [array]} for array in arrays]),
        "step, a list": lambda: optimizer.step(given),
        "step, a dict": lambda: optimizer.step(grads),
        "`global_norm`": lambda: fastopt.global_norm(grads),
        "`state_dict`": optimizer.state_dict,
        "`load_state_dict`, by name": lambda: optimizer.load_state_dict(reversed_snapshot),
        "`save`": lambda: optimizer.save(file),
        "`load`": lambda: optimizer.load(file),
        "`flatten`": lambda: fastopt.flatten(params),
    }


def seconds(call: Callable[[], Any]) -> float:
    """The least of a few runs."""
    found = []
    for _ in range(RUNS):
        gc.collect()
        start = perf_counter()
        call()
        found.append(perf_counter() - start)
    return min(found)


def table(counts: tuple[int, ...] = COUNTS) -> list[str]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        columns = [{name: seconds(call) for name, call in calls(count, Path(folder)).items()} for count in counts]
    rows = [f"| {' | '.join([f'seconds, tensors of {ELEMENTS} elements', *(f'{count:,}' for count in counts)])} |"]
    rows.append("|---" * (len(counts) + 1) + "|")
    return rows + [f"| {name} | {' | '.join(f'{column[name]:.3g}' for column in columns)} |" for name in columns[0]]


def main() -> int:
    print("\n".join(table(COUNTS[:1] if "--quick" in sys.argv[1:] else COUNTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
