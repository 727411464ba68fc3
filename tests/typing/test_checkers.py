"""Type checkers accept right programs and refuse wrong ones: mypy and pyright read calls.py, in which comments name each error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "mypy": ("mypy", "tests/typing/calls.py"),
    "pyright": ("pyright", "--pythonpath", sys.executable),  # [tool.pyright] names the folder
}


@pytest.mark.parametrize("checker", COMMANDS)
def test_every_error_is_expected_and_every_expected_error_occurs(checker: str) -> None:
    done = subprocess.run([sys.executable, "-m", *COMMANDS[checker]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_are_told_of_the_same_errors() -> None:
    lines = (ROOT / "tests" / "typing" / "calls.py").read_text().splitlines()
    wrong = [line for line in lines if "type: ignore" in line]
    assert len(wrong) > 10
    assert wrong == [line for line in lines if "pyright: ignore" in line]
