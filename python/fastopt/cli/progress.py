"""How far a command is, on standard error: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

__all__ = ["Progress"]

EVERY = 5.0
"""Seconds between two lines."""

REFRESH = 0.1
"""Seconds between two drawings of the bar, at least."""


class Progress:
    """A context whose owner calls `advance`.  A thread that draws would compete with the threads that are timed, so none does."""

    def __init__(self, command: str, unit: str, total: int) -> None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left:"),
            progress.TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self.bar = progress.Progress(
            *columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal
        )
        self.task = self.bar.add_task("", total=total)
        self.command, self.unit, self.total, self.done = command, unit, total, 0.0
        self.begin = self.shown = monotonic()

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.stop()

    def advance(self, description: str, by: float = 1.0) -> None:
        """Adds `by` units to what is done, and shows that if the last showing is long enough ago."""
        self.to(self.done + by, description)

    def to(self, done: float, description: str) -> None:
        """Says how many units are done, and what comes next."""
        self.done, now = done, monotonic()
        self.bar.update(self.task, completed=done, description=description)
        if now - self.shown < (EVERY if self.bar.disable else REFRESH):
            return
        self.shown = now
        if self.bar.disable:
            # Rounds are parts of a row, whose sum is less than the row by rounding.
            line = f"fastopt {self.command}: {int(done + 1e-6):,} of {self.total:,} {self.unit}, {now - self.begin:.0f} s"
            print(line, file=sys.stderr, flush=True)
        else:
            self.bar.refresh()
