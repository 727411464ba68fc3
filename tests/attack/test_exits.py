"""A short run of the attack on the interpreter's end."""

from __future__ import annotations

import pytest

from tests.attack import exits
from tests.attack.exits import attack, main


def test_threads_that_step_while_the_interpreter_ends() -> None:
    outcomes = attack(12, 0)
    assert sum(outcomes.values()) == 12
    assert all(outcomes.values())


def test_an_exit_by_a_signal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "PROGRAM", "import os; os.abort()")
    with pytest.raises(AssertionError, match=r"^program 0 of seed 0: exit code -6: "):
        attack(1, 0)


def test_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "1"]) == 0
    assert capsys.readouterr().out == "with daemons: 1 ended as they say\n"
