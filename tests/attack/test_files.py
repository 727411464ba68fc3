"""A short run of the attack on checkpoint files."""

from __future__ import annotations

import pytest

from tests.attack.files import attack, main


@pytest.mark.parametrize("seed", range(3))
def test_mutations_load_or_are_refused_by_name(seed: int) -> None:
    outcomes = attack(150, seed)
    assert sum(outcomes.values()) == 3 * 150
    assert all(outcomes[kind, "refused by name"] for kind in ("flipped bytes", "rewritten metadata", "state_dict"))
    assert outcomes["state_dict", "loaded"]


def test_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "2", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
