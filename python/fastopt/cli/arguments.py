"""Text of the command line -> checked values.  argparse prints what the errors say and exits with status 2."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from .._cuda.compiler import check_arch
from .rows import ROWS, Row
from .words import short

NAMED = ("digits", "mnist")
"""Data sets that need no file."""

TABLES = (".csv", ".tsv")

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
"""What may follow the ending of a table."""


def whole(text: str, low: int, high: int, what: str = "a whole number") -> int:
    """A whole number from `low` to `high`, which may be written as 1e6 or 1_000_000; `what` names it in the error."""
    try:
        value = float(text)
        if value == int(value) and low <= value <= high:
            return int(value)
    except (ValueError, OverflowError):  # not a number; inf
        pass
    raise ArgumentTypeError(f"got {text!r}, expected {what} from {low} to {short(high)}")


def at_least_one(text: str) -> int:
    return whole(text, 1, 10**9)


def natural(text: str) -> int:
    return whole(text, 0, 2**32 - 1)


def threads(text: str) -> int:
    return whole(text, 1, 4096, "a number of threads")


def sizes(text: str) -> list[int]:
    """Numbers of elements, ascending, without repeats."""
    return sorted({whole(part, 1, 10**12, "numbers of elements, such as 1e4,1e6,") for part in text.split(",")})


def loss(text: str) -> float:
    """A positive finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"got {text!r}, expected a loss above 0")
    return value


def hidden_layers(text: str) -> tuple[int, ...]:
    """Units of each hidden layer; "0" for none."""
    if text.strip() == "0":
        return ()
    return tuple(whole(part, 1, 10**6, "0 for no hidden layer, or units of each, such as 128,64,") for part in text.split(","))


def data_source(text: str) -> str:
    """The name of a data set, or of a file that exists and whose ending says what it is."""
    if text in NAMED:
        return text
    if not (text.lower().endswith(".npz") or is_table(text)):
        endings = f"{', '.join(TABLES)} (which may be followed by {', '.join(COMPRESSED)})"
        raise ArgumentTypeError(f"got {text!r}, expected {', '.join(NAMED)}, or a file whose name ends in .npz, {endings}")
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ArgumentTypeError(f"cannot read {text!r}: {error.strerror}") from None


def is_table(text: str) -> bool:
    """Whether a file's name says that it is a table, compressed or not."""
    return text.lower().endswith((*TABLES, *(table + packed for table in TABLES for packed in COMPRESSED)))


def rule_rows(text: str) -> list[Row]:
    """Rows by label, or all rows of a rule by its name, in either case."""
    wanted = [part.strip().lower() for part in text.split(",")]
    for name in wanted:
        if not any(name in row.names for row in ROWS):
            known = dict.fromkeys(name for row in ROWS for name in (row.rule.name, row.label))
            raise ArgumentTypeError(f"got {name!r}, expected some of {', '.join(known)}")
    return [row for row in ROWS if any(name in row.names for name in wanted)]


def archs(text: str) -> list[str]:
    """Architectures of GPUs, without repeats."""
    try:
        return list(dict.fromkeys(check_arch(part.strip()) for part in text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"got {text!r}, expected architectures such as sm_80,sm_90") from None


def json_file(text: str) -> Path:
    """A path that can probably be written: its directory exists."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise ArgumentTypeError(f"got {text!r}, expected a file in a directory that exists")
    return path


def check_outputs(args: Namespace) -> None:
    """Raises ArgumentTypeError if an output is the file that is read, or another output."""
    given = vars(args)
    data = given.get("data")
    files = {} if data is None or data in NAMED else {"DATA": Path(data)}
    for name in ("json", "plot", "html"):
        path = given.get(name)
        if path is not None and not (path.exists() and not path.is_file()):  # a terminal or /dev/null may take all of them
            for other, taken in files.items():
                if is_same(path, taken):
                    raise ArgumentTypeError(f"argument --{name}: got {str(path)!r}, which is the file of {other}")
            files[f"--{name}"] = path


def is_same(one: Path, other: Path) -> bool:
    """Whether both name one file, links included.  Neither needs to exist."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def picture(text: str) -> Path:
    """A path whose ending names a format that matplotlib can write."""
    from matplotlib.figure import Figure

    path = json_file(text)
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise ArgumentTypeError(f"got {text!r}, expected a name that ends in one of {', '.join('.' + name for name in formats)}")
    return path


def baseline(text: str) -> dict[str, Any]:
    """What an earlier `fastopt bench --json` wrote."""
    try:
        report = json.loads(Path(text).read_text())
        for row in report["rows"]:
            row["rule"], row["size"], row["dtype"], row["threads"]
            float(row["ratios"]["floor"]["median"]), float(row["ratios"]["floor"]["spread"])
        report["date"], report["config"]["machine"]["processor"], report["config"]["isa"]["active"]
    except OSError as error:
        raise ArgumentTypeError(f"cannot read {text!r}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ArgumentTypeError(f"got {text!r}, expected a file that `fastopt bench --json` wrote") from None
    return dict(report)
