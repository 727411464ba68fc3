"""`fastopt bench --in-loop`: its rows, its table, and the arguments that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastopt.cli import main
from fastopt.cli.bench import loop
from fastopt.cli.bench.loop.before import BEFORE
from fastopt.cli.bench.place import import_torch

pytest.importorskip("rich")


def rows_of(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, optax: bool = False) -> list[dict[str, Any]]:
    """The rows of a short run after nothing and after a product of NumPy."""
    monkeypatch.setattr(loop, "BEFORE", {name: BEFORE[name] for name in ("nothing", "NumPy product")})
    monkeypatch.setattr(loop, "BLOCK", 1)
    if not optax:
        monkeypatch.setattr(loop, "import_optax", lambda platform: None)
    path = folder / "report.json"
    assert main(["bench", "--in-loop", "--rounds", "1", "--json", str(path), *arguments]) == 0
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def test_a_row_for_each_size_rule_and_what_comes_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows come in the order of the table, and name what was measured."""
    rows = rows_of(monkeypatch, tmp_path, "--sizes", "100,1000", "--rules", "sgd momentum,adamw")
    found = [(row["tensors"], row["rule"], row["before"]) for row in rows]
    assert found == [
        (tensors, rule, before)
        for tensors in ("100 elements", "1e3 elements")
        for rule in ("SGD momentum", "AdamW")
        for before in ("nothing", "NumPy product")
    ]


def test_each_arm_has_its_seconds_and_its_ratio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ratio is a rival's seconds over those of fastopt with arrays of the same kind."""
    pytest.importorskip("torch")
    pytest.importorskip("optax")
    row = rows_of(monkeypatch, tmp_path, "--sizes", "1000", "--rules", "adamw", optax=True)[0]
    arms = {"fastopt", "fastopt.torch", "torch", "optax"}
    assert set(row["seconds"]) == arms | {f"{arm}, new lr" for arm in arms} | {"numpy"}
    assert row["torch"] == "fused"
    for column, (rival, own) in loop.RATIOS.items():
        assert row["ratios"][column]["median"] == pytest.approx(row["seconds"][rival] / row["seconds"][own])


def test_the_table_shows_every_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each rule and size heads its rows."""
    rows_of(monkeypatch, tmp_path, "--sizes", "1000", "--rules", "adamw")
    printed = capsys.readouterr().out
    for words in ("AdamW, 1e3 elements", "nothing", "NumPy product", "arrays", "tensors", "new lr"):
        assert words in printed


def test_without_torch_its_columns_are_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """fastopt's own step and NumPy's are measured all the same."""
    monkeypatch.setattr("fastopt.cli.bench.host.import_torch", lambda: None)
    row = rows_of(monkeypatch, tmp_path, "--sizes", "1000", "--rules", "adamw")[0]
    assert set(row["seconds"]) == {"fastopt", "fastopt, new lr", "numpy"}


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_what_comes_before_runs(name: str) -> None:
    """Each can be called again and again; one whose package is missing says None."""
    before = BEFORE[name]()
    if before is None:
        assert name in ("torch passes", "JAX gradient")
        assert name != "torch passes" or import_torch() is None
        return
    before()
    before()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "cuda"], "argument --device cuda: not allowed with --in-loop"),
        (["--plot", "loop.png"], "argument --plot: not allowed with --in-loop"),
        (["--formats"], "argument --formats: not allowed with argument --in-loop"),
        (["--dtype", "float64"], "argument --dtype: not allowed with argument --in-loop"),
    ],
)
def test_arguments_that_it_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """One line says which, before anything is measured."""
    assert main(["bench", "--in-loop", *arguments]) == 2
    assert words in capsys.readouterr().err
