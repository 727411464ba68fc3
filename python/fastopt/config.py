"""How fastopt runs here: instruction set, threads, versions, and the environment variables that choose them."""

from __future__ import annotations

import os
import platform
from typing import Any, Literal, overload

import numpy as np

from . import _core

__all__ = ["get_num_threads", "set_num_threads", "show_config"]


def set_num_threads(count: int) -> None:
    """Sets how many threads a step may use, the caller's included.

    The default is `FASTOPT_NUM_THREADS`, or else the processors of the affinity mask within the container's quota.  A step's
    result has the same bits for every count.

    Raises TypeError or ValueError if `count` is not a whole number from 1 to 4096.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"count: got {type(count).__name__} {count!r}, expected a whole number of threads")
    if not 1 <= count <= 4096:
        raise ValueError(f"count: got {count}, expected a number of threads from 1 to 4096")
    _core.set_num_threads(int(count))


def get_num_threads() -> int:
    """How many threads a step may use, the caller's included."""
    return _core.num_threads()


def available() -> list[str]:
    """The compiled instruction sets that this machine can run, best first."""
    return [name for name in _core.isa_compiled() if _core.isa_available(name)]


def read_environment() -> None:
    """Applies `FASTOPT_ISA` and `FASTOPT_NUM_THREADS`.  Raises ValueError if one is not possible here."""
    isa = os.environ.get("FASTOPT_ISA")
    if isa and not _core.set_isa(isa):
        raise ValueError(f"FASTOPT_ISA: got {isa!r}, expected one that this machine can run: {', '.join(available())}")
    threads = os.environ.get("FASTOPT_NUM_THREADS")
    if threads:
        try:
            set_num_threads(int(threads))
        except ValueError:
            raise ValueError(f"FASTOPT_NUM_THREADS: got {threads!r}, expected a number of threads from 1 to 4096") from None


def config() -> dict[str, Any]:
    return {
        "version": _core.__version__,
        "isa": {"compiled": _core.isa_compiled(), "available": available(), "active": _core.isa_active()},
        "threads": get_num_threads(),
        "build": {"compiler": _core.compiler},
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": {"processor": processor(), "system": f"{platform.system()} {platform.machine()}"},
    }


def processor() -> str:
    """The processor's name, from the system."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Shows how fastopt was built and what it uses on this machine.

    `mode="stdout"` prints; `mode="dicts"` returns the same as a dictionary, as NumPy's `show_config` does: `version`, `isa`
    (`compiled`, `available`, `active`), `threads`, `build`, `python`, `numpy`, `machine`.
    """
    if mode == "dicts":
        return config()
    if mode != "stdout":
        raise ValueError(f"mode: got {mode!r}, expected 'stdout' or 'dicts'")
    for key, value in config().items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, detail in value.items():
                print(f"  {name}: {', '.join(detail) if isinstance(detail, list) else detail}")
        else:
            print(f"{key}: {value}")
    return None
