"""Checks of `minimize`'s simpler arguments, and of the packages that it needs."""

from __future__ import annotations

import importlib.util
from typing import Any

from ..rules.words import describe

__all__ = ["check_callable", "check_progress", "optimize_result"]


def optimize_result() -> type[Any]:
    """SciPy's class of results.  Raises ImportError that says what to install."""
    try:
        from scipy.optimize import OptimizeResult
    except ImportError as error:
        from .._extras import install

        raise ImportError(f"minimize needs SciPy, for its OptimizeResult: {install('scipy')} ({error})") from error
    result: type[Any] = OptimizeResult
    return result


def check_callable(value: Any, name: str, *, optional: bool = False) -> None:
    if not (callable(value) or (optional and value is None)):
        raise TypeError(f"{name}: got {describe(value)}, expected a callable{' or None' if optional else ''}")


def check_progress(value: Any) -> None:
    """Takes True, False or a callable.  Raises TypeError for anything else, ImportError for True without rich."""
    if callable(value):
        return
    if not isinstance(value, bool):
        raise TypeError(f"progress: got {describe(value)}, expected True, False or a callable of step, steps and value")
    if value and importlib.util.find_spec("rich") is None:
        from .._extras import install

        raise ImportError(f"progress: got True, which needs rich: {install('cli')}")
