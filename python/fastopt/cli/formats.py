"""`fastopt bench --formats`: a rule with its arrays in each combination of storage formats, against its own float32 step and torch's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._storage import formats as storage
from .._storage.stored import Stored
from . import words
from .arrays import Array, aligned
from .machine import is_busy

if TYPE_CHECKING:
    from rich.console import Console

    import fastopt

    from .rows import Row

__all__ = ["Formats", "bytes_held", "choose", "has_bfloat16", "show"]


@dataclass(frozen=True)
class Formats:
    """How the arrays of one row lie in memory."""

    label: str
    param: str = "float32"
    grad: str = ""
    """As the parameter's, if not another."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Of the optimizer: `state_dtype`, `master`."""

    @property
    def dtypes(self) -> tuple[str, str]:
        """Of the parameter and the gradient."""
        return self.param, self.grad or self.param

    def arrays(self, values: Array) -> tuple[Array, Array]:
        """A new parameter and gradient with these values."""
        param, grad = (aligned(values.size, dtype_named(name)) for name in self.dtypes)
        for array in (param, grad):
            np.copyto(array, values, casting="same_kind")
        return param, grad


COMBINATIONS = (
    Formats("float32"),
    Formats("bfloat16 states", arguments={"state_dtype": "bfloat16"}),
    Formats("8-bit states", arguments={"state_dtype": "8bit"}),
    Formats("bfloat16 gradients, 8-bit states", grad="bfloat16", arguments={"state_dtype": "8bit"}),
    Formats("bfloat16, 24-bit masters, float32 states", "bfloat16", arguments={"master": "24bit"}),
    Formats("bfloat16, 24-bit masters, bfloat16 states", "bfloat16", arguments={"master": "24bit", "state_dtype": "bfloat16"}),
    Formats("bfloat16, 24-bit masters, 8-bit states", "bfloat16", arguments={"master": "24bit", "state_dtype": "8bit"}),
    Formats("bfloat16, 32-bit masters, 8-bit states", "bfloat16", arguments={"master": "32bit", "state_dtype": "8bit"}),
    Formats("bfloat16, float32 masters, float32 states", "bfloat16", arguments={"master": "float32"}),
    Formats("bfloat16, stochastic, 8-bit states", "bfloat16", arguments={"master": "stochastic", "state_dtype": "8bit"}),
    Formats("float16, 24-bit masters, 8-bit states", "float16", arguments={"master": "24bit", "state_dtype": "8bit"}),
)
"""A label begins with the dtype of parameters and gradients where that is not float32."""


def dtype_named(name: str) -> np.dtype[Any]:
    """NumPy's type, or ml_dtypes'."""
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def has_bfloat16() -> bool:
    """Whether NumPy can have bfloat16 arrays here."""
    try:
        dtype_named("bfloat16")
    except ModuleNotFoundError:
        return False
    return True


def compressible(row: Row) -> bool:
    """Whether the row has a state array that can be in another format."""
    return any(storage.state_format("8bit", row.rule.slot(name)) for name in row.slots)


def choose(wanted: Sequence[Row], console: Console, missing: str | None = None) -> list[Row]:
    """A row for each of the wanted ones and each combination; says what it leaves out.

    `missing`: the package without which there are no bfloat16 arrays, where it is not installed.
    """
    combinations = [each for each in COMBINATIONS if "bfloat16" not in each.dtypes or missing is None]
    for each in COMBINATIONS:
        if each not in combinations:
            console.print(f"Left out {each.label}: needs {missing}, which is not installed", highlight=False)
    rows = []
    for row in wanted:
        if compressible(row):
            rows += [replace(row, label=f"{row.label}, {each.label}", formats=each) for each in combinations]
        else:
            console.print(f"Left out {row.label}: keeps no state", highlight=False)
    return rows


def bytes_held(optimizer: fastopt.Optimizer, param: Array, grad: Array) -> int:
    """Of its one parameter, gradient, state and master."""
    kept = [array for array in optimizer.state[0].values() if isinstance(array, (np.ndarray, Stored))]
    return sum(int(array.nbytes) for array in [param, grad, *kept])


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as a table, 80 columns wide at most, with what its columns mean."""
    from rich.box import HORIZONTALS
    from rich.table import Table

    config, versions, rows = report["config"], report["versions"], report["rows"]
    if not rows:
        return
    title = f"fastopt {config['version']}, {config['isa']['active']}, {words.threads(rows[0]['threads'])}"
    table = Table(title=title, box=HORIZONTALS, pad_edge=False, collapse_padding=True)
    for name in ("formats", "held", "moved", "floor", "torch", "float32", "cycles"):
        table.add_column(name, justify="left" if name == "formats" else "right", no_wrap=True)
    implementations: dict[str, str] = {}
    section = None
    for row in rows:
        rule = row["rule"].removesuffix(f", {row['formats']}")
        if (rule, row["size"]) != section:
            section = (rule, row["size"])
            table.add_section()
            table.add_row(f"[bold]{rule}, {words.short(row['size'])} elements[/]")
        ratios, cycles = row["ratios"], row["cycles"]
        table.add_row(
            row["formats"].replace(" masters", ""),  # 80 columns
            f"{row['bytes_held']:.1f}",
            f"{row['bytes_per_parameter']:.1f}",
            words.share(ratios["floor"]["median"]) + ("*" if is_busy(row) else ""),
            words.times(ratios["torch"]["median"]) if "torch" in ratios else "-",
            words.times(ratios["float32"]["median"]),
            "-" if cycles is None else f"{cycles:.2f}" if cycles < 100 else f"{cycles:.0f}",
        )
        if row["torch"] is not None:
            implementations[rule] = f"{row['torch']} {rule}"
    console.print(table)
    compared = f" ({', '.join(implementations.values())})" if implementations else ""
    lines = [
        f"{config['machine']['processor']}; NumPy {config['numpy']}, torch {versions['torch'] or 'not installed'}.",
        "formats: of parameters and gradients, of masters, of state.",
        "held: bytes a parameter, with gradient, state and master; moved: that a step reads and writes.",
        "floor: seconds of the same reads and writes without arithmetic, over the row's.",
        f"torch{compared}, float32: seconds of their all-float32 steps, over the row's.",
        "cycles: of each thread, for an element of its share.",
    ]
    for line in lines:
        console.print(line, style="dim", highlight=False, soft_wrap=True)
    words.warn_of_busy(console, rows)
