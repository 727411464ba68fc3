"""How far a command is: a line every few seconds where output is piped, on standard error alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastopt.cli import progress
from fastopt.cli.progress import Progress
from tests.support.cli import status
from tests.support.compare_runs import TINY


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


class TestLines:
    def test_a_line_every_five_seconds(self, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
        with Progress("bench", "rows", 1200) as shown:
            for _ in range(10):
                clock[0] += 2.0
                shown.advance("SGD, 1e4")
        out, err = capsys.readouterr()
        assert out == ""
        lines = ["3 of 1,200 rows, 6 s", "6 of 1,200 rows, 12 s", "9 of 1,200 rows, 18 s"]
        assert err.splitlines() == [f"fastopt bench: {line}" for line in lines]

    def test_rounds_are_parts_of_a_row(self, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
        with Progress("bench", "rows", 2) as shown:
            for _ in range(7):
                shown.advance("", 1 / 7)
            clock[0] += 5.0
            shown.advance("", 1 / 7)
        assert capsys.readouterr().err == "fastopt bench: 1 of 2 rows, 5 s\n"

    def test_a_short_run_says_nothing(self, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
        with Progress("compare", "epochs", 3) as shown:
            for _ in range(3):
                shown.advance("")
                clock[0] += 1.0
        assert capsys.readouterr() == ("", "")


class TestCommands:
    @pytest.mark.parametrize(
        ("argv", "unit", "total"),
        [
            (["bench", "--sizes", "100", "--rounds", "2", "--rules", "sgd,adam", "--threads", "1"], "rows", 4),
            (["compare", *TINY], "epochs", 15),
        ],
    )
    def test_lines_and_tables_are_apart(
        self, argv: list[str], unit: str, total: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "EVERY", 0.0)
        code, out, err = status(argv, capsys)
        assert code == 0
        assert "fastopt bench:" not in out
        assert "fastopt compare:" not in out
        found = [re.fullmatch(rf"fastopt {argv[0]}: (\d+) of {total} {unit}, \d+ s", line) for line in err.splitlines()]
        done = [int(line[1]) for line in found if line is not None]
        assert len(done) == len(found) > 0
        assert done == sorted(done)
        assert done[-1] == total

    def test_piped_json_stays_clean(self, tmp_path: Path) -> None:
        code = "import sys; from fastopt.cli import main, progress; progress.EVERY = 0.0; sys.exit(main(sys.argv[1:]))"
        argv = ["bench", "--sizes", "100", "--rounds", "1", "--rules", "adam", "--json", "/dev/stdout"]
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stderr.startswith("fastopt bench: 0 of 1 rows, 0 s\n")
        begin, end = done.stdout.index('{\n "'), done.stdout.rindex("}\n") + 2
        assert json.loads(done.stdout[begin:end])["rows"][0]["rule"] == "Adam"
