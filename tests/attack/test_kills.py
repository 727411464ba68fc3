"""A short run of the attack on processes that save."""

from __future__ import annotations

import pytest

from tests.attack import kills
from tests.attack.kills import attack, main


def test_a_killed_save_leaves_the_old_file_or_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "SIZES", (10, 300_000))
    outcomes = attack(6, 0)
    files = ("the old file", "the new file")
    assert [sum(outcomes[f"{size} elements", file] for file in files) for size in kills.SIZES] == [3, 3]


def test_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "1"]) == 0
    assert capsys.readouterr().out.startswith("10 elements: ")
