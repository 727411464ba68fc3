"""The end of an error about a name that a call does not take: what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..rules import OPTIONS, RULES
from .name import Name, Table
from .optimizers import OPTIMIZERS

__all__ = ["similar", "suggestion", "translation"]


def suggestion(name: object, possible: Iterable[str], *tables: Table, rule: str = "", arguments: bool = True) -> str:
    """The words "; did you mean lr?" for a name that a call of `possible` does not take; "" if nothing comes near.

    `tables`: where to look, the first first; by default the names of optimizers.  `rule`: the rule that the call is for.
    `arguments`: whether the names are those of arguments.
    """
    if not isinstance(name, str):
        return ""
    possible = list(possible)
    rows = [row for table in tables or (OPTIMIZERS,) for row in table if not arguments or row.serves(possible, rule)]
    words = meant(name, rows) or (elsewhere(name) if arguments else "") or nearest(name, possible, rows)
    return f"; {words}" if words else ""


def translation(name: str, possible: Iterable[str], *, rule: str) -> str:
    """The suggestion for a name that is just another framework's for one of the `possible`; "" for all others, also of other rules."""
    possible = list(possible)
    if elsewhere(name):
        return ""
    rows = [row for row in OPTIMIZERS if name in row.names and row.write == row.target() and row.serves(possible, rule)]
    return f"; {meant(name, rows)}" if rows else ""


def meant(name: str, rows: list[Name]) -> str:
    """What the table says of a name."""
    found = [row for row in rows if name in row.names]
    if not found:
        return ""
    if len(found) == 1 or not all(row.write and row.is_condition for row in found):
        return sentences(found[0], name)
    return f"did you mean {' or '.join(f'{row.code(name)} ({row.note})' for row in found)}?"


def sentences(row: Name, name: str) -> str:
    note = row.note.replace("{name}", name)
    if not row.write:
        return note[:1].lower() + note[1:]
    question = f"did you mean {row.code(name)}?"
    return f"{question} {note}" if note and not row.is_condition else question


def nearest(name: str, possible: list[str], rows: list[Name]) -> str:
    """The name that is spelled most alike, of fastopt's or of another framework's."""
    known = {each.lower(): each for each in [*(each for row in rows for each in row.names), *possible]}
    for close in difflib.get_close_matches(name.lower(), known, 1):
        return f"did you mean {known[close]}?" if known[close] in possible else meant(known[close], rows)
    return ""


def similar(name: object, possible: Iterable[str]) -> str:
    """The words "; did you mean AdamW?" for a name that is spelled like one of the `possible`, else ""."""
    words = nearest(name, list(possible), []) if isinstance(name, str) and not name.startswith("_") else ""
    return f"; {words}" if words else ""


def elsewhere(name: str) -> str:
    """The rules that have an argument of that name, if others do not."""
    having = [rule.name for rule in RULES.values() if any(name == h.name for h in rule.arguments)]
    if not having or len(having) == len(RULES) or name in {option.name for option in OPTIONS}:
        return ""
    if len(having) == 1:
        return f"only {having[0]} has it"
    return f"only {', '.join(having[:-1])} and {having[-1]} have it"
