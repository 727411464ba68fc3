"""`fastopt bench --formats`, run in this process: its rows, what it leaves out, refuses and draws."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fastopt import _core
from fastopt.cli import main
from fastopt.cli.bench import arms, choice, host, timing
from fastopt.cli.bench.host import Host
from fastopt.cli.formats import COMBINATIONS
from fastopt.cli.rows import Row
from tests.support.cli import is_png, status

TINY = ("bench", "--formats", "--sizes", "100,1e3", "--rounds", "1", "--threads", "1")
BYTES = {
    "float32": (16, 28),
    "bfloat16 states": (12, 20),
    "8-bit states": (10, 16),
    "bfloat16 gradients, 8-bit states": (8, 14),
    "bfloat16, 24-bit masters, float32 states": (13, 24),
    "bfloat16, 24-bit masters, bfloat16 states": (9, 16),
    "bfloat16, 24-bit masters, 8-bit states": (7, 12),
    "bfloat16, 32-bit masters, 8-bit states": (8, 14),
    "bfloat16, float32 masters, float32 states": (16, 28),
    "bfloat16, stochastic, 8-bit states": (6, 10),
    "float16, 24-bit masters, 8-bit states": (7, 12),
}
"""AdamW's bytes, held and moved, but for the words of blocks; a float32 master leaves the parameter to be written alone."""
WORDS = np.array((2 * 4 / 256, 4 * 4 / 256))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens what is timed: these tests look at rows and words, not at times."""
    monkeypatch.setattr(timing, "TURN", 1e-5)


ROWS = choice.choose_formats([choice.ADAMW], Console(quiet=True))


class TestArms:
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.formats.label)
    def test_all_take_the_same_step(self, row: Row, rng: np.random.Generator) -> None:
        place = Host()
        grad = place.cast(rng.standard_normal(1000, np.float32), "float32")
        kept = grad.copy()
        made, _ = arms.build(place, row, [grad], place.names(row), 28_000, lr=0.01)
        built = {arm.name: arm for arm in made}
        assert list(built) == ["fastopt", "floor", "float32", "torch"]
        for arm in built.values():
            for _ in range(5):
                arm.steps[0]()
        assert np.array_equal(grad, kept)
        params = {name: arm.params[0] for name, arm in built.items()}
        np.testing.assert_allclose(params["torch"], params["float32"], rtol=1e-4, atol=1e-5)
        assert params["fastopt"].dtype.name == row.formats.param
        moved = params["float32"] - kept
        error = params["fastopt"].astype(np.float32) - params["float32"]
        assert np.linalg.norm(moved) > 0.5  # about 5 * lr * sqrt(1000)
        assert np.median(np.abs(error)) < 0.01  # bfloat16's own last place, or a fifth of the way


class TestTable:
    def test_every_combination_and_size(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "formats.json", tmp_path / "formats.png"
        code, out, _ = status([*TINY, "--json", str(path), "--plot", str(picture)], capsys)
        assert code == 0
        rows = json.loads(path.read_text())["rows"]
        labels = [each.label for each in COMBINATIONS]
        assert labels == list(BYTES)
        assert [(row["size"], row["formats"]) for row in rows] == [(size, label) for size in (100, 1000) for label in labels]
        for row in rows:
            assert row["rule"] == f"AdamW, {row['formats']}"
            words = WORDS * ("8-bit" in row["formats"])
            assert np.array_equal((row["bytes_held"], row["bytes_per_parameter"]), BYTES[row["formats"]] + words)
            assert set(row["seconds"]) == {"fastopt", "floor", "float32", "torch"}
            assert all(ratio["median"] > 0 for ratio in row["ratios"].values())
            assert row["cycles"] > 0
            assert row["formats"].replace(" masters", "") in out
        assert "AdamW, 1e3 elements" in out
        assert "fused AdamW" in out
        assert "…" not in out
        assert max(map(len, out.splitlines()[: 8 + 2 * len(labels)])) <= 80
        assert is_png(picture)
        code, out, _ = status([*TINY, "--compare", str(path)], capsys)
        assert code in (0, 1)
        assert f"of {2 * len(labels)} rows" in out

    def test_rules_that_keep_state(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "formats.json"
        code, out, _ = status([*TINY, "--rules", "sgd,lion", "--json", str(path)], capsys)
        assert code == 0
        assert "Left out SGD: keeps no state" in out
        rules = {row["rule"].partition(",")[0]: row["torch"] for row in json.loads(path.read_text())["rows"]}
        assert rules == {"SGD momentum": "fused", "SGD Nesterov": "fused", "Lion": None}

    def test_without_ml_dtypes_torch_and_cycles(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        monkeypatch.setattr(host, "import_torch", lambda: None)
        monkeypatch.setattr(_core, "cycle_seconds", lambda: 0.0)
        code, out, _ = status([*TINY, "--sizes", "100"], capsys)
        assert code == 0
        assert "Left out bfloat16 gradients, 8-bit states: ml_dtypes is not installed" in out
        assert out.count("Left out") == 7
        shown = [line.split() for line in out.splitlines() if line.rstrip().endswith("-")]
        assert [line[0] for line in shown] == ["float32", "bfloat16", "8-bit", "float16,"]
        assert all(line[-3] == "-" for line in shown)  # torch's

    def test_its_rows_have_dtypes_of_their_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = status([*TINY, "--dtype", "float64"], capsys)
        assert code == 2
        assert "argument --dtype: not allowed with argument --formats" in err

    def test_help_says_what_it_shows(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench", "--help"]) == 0
        assert "combination of storage formats" in " ".join(capsys.readouterr().out.split())
