"""Changes that an interrupt does not leave half made."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["finish"]

TRIES = 100
"""After so many failures in a row the cause is no interrupt."""


def finish(change: Callable[[], None]) -> None:
    """Makes a change to its end: interrupted (Ctrl-C, a signal's handler, an exception from another thread), it is made anew and the
    exception raised afterwards.

    `change`: may be made several times over with the same result, and fails of itself only if it cannot be made at all.
    """
    first: BaseException | None = None
    for _ in range(TRIES):
        try:
            change()
            break
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first
