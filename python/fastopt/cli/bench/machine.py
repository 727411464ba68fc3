"""What the machine has left for a benchmark: memory, and processors that no other program is using."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import Any

__all__ = ["Neighbours", "is_busy", "memory_available"]

BUSY = 0.1
"""Processors in others' use, on average, from which on a row cannot be trusted: waiting for a thread that has lost its processor
takes milliseconds."""


def memory_available() -> int | None:
    """Bytes that can be allocated without swapping; None if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def seconds_elsewhere() -> float | None:
    """Processor seconds that other programs have used since the machine started; None if the system does not say."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _iowait, *rest = (int(word) for word in file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    own = os.times()
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - own.user - own.system


class Neighbours:
    """The processors that other programs use, on average, from its making on."""

    def __init__(self) -> None:
        self.begin, self.before = perf_counter(), seconds_elsewhere()

    def processors(self) -> float | None:
        """None if the system does not say."""
        now = seconds_elsewhere()
        if now is None or self.before is None:
            return None
        return max(0.0, (now - self.before) / max(perf_counter() - self.begin, 0.01))


def is_busy(row: dict[str, Any]) -> bool:
    """Whether others were in the way when this row of a report was measured."""
    others = row.get("other_processors")
    return others is not None and bool(others > BUSY)
