"""A short run of the attack on memory that moves."""

from __future__ import annotations

import pytest

from tests.attack import moved, moves
from tests.attack.moved import attack, main


def test_steps_refuse_by_name_or_follow() -> None:
    outcomes = attack(200, 0)
    assert sum(outcomes.values()) == 200
    assert {end for _, end in outcomes} == {"refused by name", "followed", "stepped"}


def test_a_move_that_crashes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "PROGRAM", ("-c", 'import os; print(0); print(\'["a", "b"]\'); print(1, flush=True); os.abort()'))
    with pytest.raises(AssertionError, match=r"^move 1 of `python -m tests.attack.moves 2 \d+`: exit code -6: "):
        attack(2, 0)


def test_the_script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "PROGRAM", ("-c", 'print(0); print(\'["arrays", "refused by name"]\')'))
    assert main(["--count", "1"]) == 0
    assert capsys.readouterr().out == "arrays: 1 refused by name\n"


def test_a_move_that_does_harm_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(moves.ARRAYS, moves.LOCK, lambda array: None)  # as if a step did not see it
    monkeypatch.setattr(moves, "KINDS", (moves.move_of_arrays,))
    with pytest.raises(AssertionError, match="that moved"):
        moves.main(200, 0)
