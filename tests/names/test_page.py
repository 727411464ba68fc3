"""The page of other frameworks' names: its program prints what it says, and every table is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastopt._names import modules, optimizers, others

TABLES = {name: getattr(module, name) for module in (modules, optimizers, others) for name in module.__all__ if name.isupper()}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "names.md").read_text()


def test_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program
    exec(program[1], {})
    begin, end = program[1].rpartition("# ")[2].strip().split("...; ")
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(begin.rstrip("; "))
    assert printed.endswith(end)


@pytest.mark.parametrize("table", TABLES)
def test_every_name_is_on_it(table: str) -> None:
    for row in TABLES[table]:
        names = ", ".join(f"`{name}`" for name in row.names)
        assert f"\n| {names} | {row.where} |" in PAGE


@pytest.mark.parametrize("table", TABLES)
def test_no_name_means_the_same_thing_twice(table: str) -> None:
    keys = [(name, row.write, row.rules) for row in TABLES[table] for name in row.names]
    assert len(keys) == len(set(keys))
