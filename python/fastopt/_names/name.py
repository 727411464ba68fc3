"""`Name`: a row of the table of names."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Name", "Table"]


@dataclass(frozen=True)
class Name:
    """Arguments of other frameworks, and what to write instead."""

    names: tuple[str, ...]
    where: str
    """The frameworks that have the names."""
    write: str = ""
    """An argument ("lr"), an argument with its value ("betas=(b1, b2)") or code; `{name}` stands for the name that came.  "" if
    nothing is to be written."""
    note: str = ""
    """A sentence for the reader without its full stop, or the condition "if ..." if the name has several meanings."""
    rules: tuple[str, ...] = ()
    """The rules that the row is for; () for all."""

    @property
    def is_condition(self) -> bool:
        return self.note.startswith("if ")

    def target(self) -> str | None:
        """The argument of fastopt that the row leads to; None if it leads to something else."""
        found = re.match(r"(\w+)(=|$)", self.write)
        return found.group(1) if found else None

    def serves(self, possible: Collection[str], rule: str) -> bool:
        """Whether the row helps a call of these arguments, of a rule or of none ("")."""
        target = self.target()
        return (not self.rules or rule in self.rules) and (target is None or target in possible)

    def code(self, name: str) -> str:
        return self.write.replace("{name}", name)


Table = tuple[Name, ...]
