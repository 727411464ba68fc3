"""`fastopt bench`, run in this process: what it prints, writes and returns.  Nothing here depends on how fast anything is."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastopt
from fastopt.cli import bench, info, main, numpy_steps
from fastopt.cli.bench import arms, changes, host, machine, roofline, timing
from fastopt.cli.bench.host import Host
from fastopt.cli.bench.place import Arm
from fastopt.cli.rows import ROWS, Row
from fastopt.rules import RULES
from tests.support.cli import is_png, status

SMALL = ("--sizes", "100,1e3", "--rounds", "2", "--threads", "1")
TINY = ("--sizes", "100", "--rounds", "1", "--rules", "SGD momentum", "--threads", "1")


def doctored(path: Path, factor: float) -> Path:
    """The run as if fastopt had come `factor` times as close to the floor in it."""
    report = json.loads(path.read_text())
    for row in report["rows"]:
        row["ratios"]["floor"]["median"] *= factor
        row["ratios"]["floor"]["spread"] = 0.0
    new = path.with_name(f"doctored-{factor}.json")
    new.write_text(json.dumps(report))
    return new


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The JSON of a small benchmark."""
    path = tmp_path / "tiny.json"
    assert main(["bench", *TINY, "--json", str(path)]) == 0
    return path


@pytest.fixture
def report() -> dict[str, Any]:
    """A benchmark's report that was not measured: every rule at 90% of its floor."""
    rows = [
        {
            "rule": row.label,
            "formats": None,
            "size": size,
            "dtype": "float32",
            "threads": 2,
            "bytes_per_parameter": 12 + 8 * len(row.slots),
            "other_processors": 0.0,
            "rounds": 5,
            "seconds": {"fastopt": size * 1e-9, "floor": size * 0.9e-9, "torch": size * 2e-9},
            "ratios": {"floor": {"median": 0.9, "spread": 0.05}, "torch": {"median": 2.0, "spread": 0.1}},
            "torch": "fused",
        }
        for row in ROWS
        for size in (10**4, 10**6)
    ]
    return info.describe() | {"rows": rows}


def built_on(place: Host, row: Row, grad: Any, lr: float = 1e-6) -> list[Arm]:
    """All arms that the row has at the place."""
    built, failed = arms.build(place, row, [grad], place.names(row), 28 * grad.size, lr)
    assert failed == {}
    return built


def three_arms() -> list[Arm]:
    return built_on(Host(), ROWS[0], np.ones(8, np.float32))[:3]


class TestArms:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
    def test_all_take_the_same_step(self, row: Row, dtype: str, rng: np.random.Generator) -> None:
        place = Host()
        grad = place.cast(rng.standard_normal(1000, dtype), dtype)
        kept = grad.copy()
        built = {arm.name: arm for arm in built_on(place, row, grad, lr=0.01)}
        assert list(built) == place.names(row)
        for arm in built.values():
            for _ in range(5):
                arm.steps[0]()
        assert np.array_equal(grad, kept)
        assert not np.array_equal(built["fastopt"].params[0], grad)
        assert ("numpy" in built) == (row.rule.name in numpy_steps.STEPS)
        for name in {"numpy", "torch"} & set(built):
            np.testing.assert_allclose(built[name].params[0], built["fastopt"].params[0], rtol=1e-4, atol=1e-5)

    def test_each_has_arrays_of_its_own(self) -> None:
        grad = np.ones(64, np.float32)
        params = [arm.params[0] for arm in built_on(Host(), ROWS[0], grad)]
        assert len(params) == 4
        assert all(not np.shares_memory(a, b) for i, a in enumerate(params) for b in [grad, *params[:i]])

    def test_every_rule_has_a_numpy_arm(self) -> None:
        assert set(numpy_steps.STEPS) >= set(RULES)

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
    def test_torch_is_fused_where_it_can_be(self, row: Row) -> None:
        expected = "fused" if row.rule.name in ("SGD", "Adam", "AdamW", "Adagrad") else "foreach"
        assert Host().implementations(row) == ({"torch": expected} if hasattr(torch.optim, row.rule.name) else {})

    def test_a_rule_that_torch_does_not_fuse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class NotFused(torch.optim.AdamW):
            def __init__(self, params: Any, *, lr: float, foreach: bool) -> None:
                super().__init__(params, lr=lr, foreach=foreach)

        monkeypatch.setattr(torch.optim, "AdamW", NotFused)
        row = next(row for row in ROWS if row.rule.name == "AdamW")
        assert Host().implementations(row) == {"torch": "foreach"}
        assert [arm.name for arm in built_on(Host(), row, np.ones(8, np.float32))] == ["fastopt", "floor", "numpy", "torch"]

    def test_a_rule_that_torch_lacks_has_no_arm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(torch.optim, "AdamW")
        monkeypatch.delitem(numpy_steps.STEPS, "AdamW")
        row = next(row for row in ROWS if row.rule.name == "AdamW")
        assert [arm.name for arm in built_on(Host(), row, np.ones(8, np.float32))] == ["fastopt", "floor"]


class TestTiming:
    def test_every_arm_has_a_time_for_each_round(self) -> None:
        ticks: list[int] = []
        seconds = timing.measure(three_arms, 2, 5, 1e99, lambda: ticks.append(1))
        assert {name: len(values) for name, values in seconds.items()} == {"fastopt": 5, "floor": 5, "numpy": 5}
        assert len(ticks) == 5
        assert all(value > 0 for values in seconds.values() for value in values)

    def test_past_the_deadline_three_rounds_are_left(self) -> None:
        seconds = timing.measure(three_arms, 1, 25, 0.0, lambda: None)
        assert len(seconds["fastopt"]) == 3

    def test_ratios_are_those_of_the_rounds(self) -> None:
        result = timing.compare({"fastopt": [1.0, 2.0, 4.0], "floor": [1.0, 1.0, 2.0], "torch": [3.0, 6.0, 12.0]})
        assert result["seconds"] == {"fastopt": 2.0, "floor": 1.0, "torch": 6.0}
        assert result["ratios"]["floor"] == {"median": 0.5, "spread": 0.5}  # of 1, 1/2, 1/2
        assert result["ratios"]["torch"] == {"median": 3.0, "spread": 0.0}


class TestBench:
    def test_json_and_table_have_every_rule_and_size(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "bench.json"
        threads = fastopt.get_num_threads()
        torch_threads = torch.get_num_threads()
        code, out, _ = status(["bench", *SMALL, "--json", str(path)], capsys)
        assert code == 0
        assert (fastopt.get_num_threads(), torch.get_num_threads()) == (threads, torch_threads)
        report = json.loads(path.read_text())
        assert report["config"]["isa"] == fastopt.show_config(mode="dicts")["isa"]
        assert report["versions"]["torch"] == torch.__version__
        assert report["date"][:2] == "20"
        labels = [row.label for row in bench.choose(None)]
        assert {"SGD", "SGD momentum"} <= set(labels)
        assert {row.rule.name for row in bench.choose(None)} == set(RULES)
        assert [(row["size"], row["rule"]) for row in report["rows"]] == [(s, label) for s in (100, 1000) for label in labels]
        for row in report["rows"]:
            assert (row["dtype"], row["threads"], row["rounds"]) == ("float32", 1, 2)
            assert set(row["seconds"]) == {"fastopt", *row["ratios"]} >= {"fastopt", "floor"}
            assert all(value > 0 for value in row["seconds"].values())
            assert all(ratio["median"] > 0 and ratio["spread"] >= 0 for ratio in row["ratios"].values())
            assert row["rule"] in out
        traffic = {row["rule"]: row["bytes_per_parameter"] for row in report["rows"]}
        assert (traffic["SGD"], traffic["SGD momentum"], traffic["AdamW"]) == (12, 20, 28)
        assert max(map(len, out.splitlines()[: 3 + len(labels)])) <= 80

    def test_rules_dtype_and_plot(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "bench.json", tmp_path / "roofline.png"
        argv = [
            "bench",
            *SMALL,
            "--rules",
            "ADAMW,sgd nesterov",
            "--dtype",
            "float64",
            "--json",
            str(path),
            "--plot",
            str(picture),
        ]
        code, out, _ = status(argv, capsys)
        assert code == 0
        assert str(picture) in out.replace("\n", "")
        rows = json.loads(path.read_text())["rows"]
        assert {(row["rule"], row["dtype"], row["bytes_per_parameter"]) for row in rows} == {
            ("SGD Nesterov", "float64", 40),
            ("AdamW", "float64", 56),
        }
        assert is_png(picture)

    def test_quick_and_default_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[int, ...]] = []
        monkeypatch.setattr(bench, "measure_all", lambda rows, sizes, *rest: asked.append(tuple(sizes)) or [])
        assert main(["bench", "--quick"]) == main(["bench"]) == 0
        assert asked == [(10**4, 10**5, 10**6), (10**4, 10**5, 10**6, 10**7, 10**8)]

    def test_without_torch_its_column_is_dashes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host, "import_torch", lambda: None)
        path = tmp_path / "bench.json"
        code, out, _ = status(["bench", *TINY, "--json", str(path)], capsys)
        assert code == 0
        (row,) = json.loads(path.read_text())["rows"]
        assert row["torch"] is None
        assert set(row["seconds"]) == {"fastopt", "floor", "numpy"}
        assert next(line for line in out.splitlines() if "SGD momentum" in line).rstrip().endswith("-")

    def test_skips_what_does_not_fit_in_memory(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host, "memory_available", lambda: 10**5)
        code, out, _ = status(["bench", "--sizes", "100,1e7", "--rules", "adam", "--rounds", "1"], capsys)
        assert code == 0
        assert "Skipped Adam at 1e7" in out
        assert any("Adam" in line and " 100 " in line for line in out.splitlines())

    def test_warns_of_a_busy_machine(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        for others, warns in ((1.5, True), (0.0, False), (None, False)):
            monkeypatch.setattr(machine.Neighbours, "processors", lambda self, others=others: others)
            out = status(["bench", *TINY], capsys)[1]
            assert ("do not trust" in out) is warns
            assert ("%*" in next(line for line in out.splitlines() if "SGD momentum" in line)) is warns

    def test_machine(self) -> None:
        available, others = machine.memory_available(), machine.Neighbours().processors()
        if sys.platform == "linux":
            assert available is not None
            assert available > 10**6
            assert others is not None
            assert others >= 0


class TestChanges:
    def test_a_faster_baseline_is_flagged(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["bench", *TINY, "--compare", str(doctored(tiny, 1000.0))], capsys)
        assert code == 1
        assert "slower" in out
        assert "1 of 1 rows" in out

    def test_a_slower_baseline_passes(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["bench", *TINY, "--compare", str(doctored(tiny, 0.001))], capsys)
        assert code == 0
        assert "0 of 1 rows" in out

    def test_nothing_in_common(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["bench", "--sizes", "200", "--rounds", "1", "--rules", "adam", "--compare", str(tiny)]
        code, out, _ = status(argv, capsys)
        assert code == 2
        assert "Nothing to compare" in out

    def test_a_run_passes_against_itself(self, report: dict[str, Any]) -> None:
        pairs = changes.pair(report, report)
        assert len(pairs) == len(report["rows"])
        assert not any(worse for *_, worse in pairs)

    @pytest.mark.parametrize(("change", "flagged"), [(-0.12, True), (-0.08, False), (0.5, False)])
    def test_only_what_the_noise_of_both_runs_does_not_explain(
        self, change: float, flagged: bool, report: dict[str, Any]
    ) -> None:
        new = copy.deepcopy(report)  # the spreads are 5% in each run
        new["rows"][3]["ratios"]["floor"]["median"] *= 1 + change
        assert [worse for *_, worse in changes.pair(report, new)] == [flagged and i == 3 for i in range(len(report["rows"]))]

    def test_seconds_do_not_count_but_the_ratio_to_the_floor(self, report: dict[str, Any]) -> None:
        new = copy.deepcopy(report)
        for row in new["rows"]:
            row["seconds"] = {name: 3 * value for name, value in row["seconds"].items()}
        assert not any(worse for *_, worse in changes.pair(report, new))


class TestRoofline:
    def test_many_rules_and_one_size(self, report: dict[str, Any], tmp_path: Path) -> None:
        one = report | {"rows": [row for row in report["rows"] if row["size"] == 10**4]}
        for i, content in enumerate((report, one, one | {"rows": []})):
            roofline.roofline(content, tmp_path / f"{i}.png")
        assert is_png(tmp_path / "0.png")
        assert is_png(tmp_path / "1.png")
