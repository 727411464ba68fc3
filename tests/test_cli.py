"""The command line, run in this process: what it prints, writes and returns.  Nothing here depends on how fast anything is."""

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
from fastopt.cli import arms, bench, changes, compare, digits, info, machine, main, plots, timing, words
from fastopt.cli.rows import ROWS, Row
from fastopt.rules import RULES

SMALL = ("--sizes", "100,1e3", "--rounds", "2", "--threads", "1")
TINY = ("--sizes", "100", "--rounds", "1", "--rules", "SGD momentum", "--threads", "1")
LABELS = [row.label for row in ROWS]


def is_png(path: Path) -> bool:
    """Whether it is a PNG of at least 400 x 300 pixels that is not of one colour."""
    from matplotlib.image import imread

    if path.read_bytes()[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    pixels = imread(path)
    return bool(pixels.shape[0] >= 300 and pixels.shape[1] >= 400 and pixels.std() > 0.01)


def status(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    result = main(argv)
    out, err = capsys.readouterr()
    return result, out, err


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


class TestInfo:
    def test_shows_the_configuration_and_the_extras(self, capsys: pytest.CaptureFixture[str]) -> None:
        fastopt.show_config()
        config = capsys.readouterr().out
        code, out, err = status(["info"], capsys)
        assert (code, err) == (0, "")
        assert out.startswith(config)
        assert f"torch: {torch.__version__}" in out
        for package in ("rich", "matplotlib", "scikit-learn"):
            assert f"{package}: {info.installed()[package]}" in out
            assert info.installed()[package] is not None

    def test_needs_numpy_alone(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("rich", "matplotlib", "sklearn", "torch"):
            monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
        code, out, _ = status(["info"], capsys)
        assert code == 0
        for package in ("rich", "matplotlib", "scikit-learn", "torch"):
            assert f"{package}: not installed" in out


class TestArguments:
    @pytest.mark.parametrize(
        ("argv", "words_in_error"),
        [
            ([], ["COMMAND"]),
            (["train"], ["'train'", "info", "bench", "compare"]),
            (["bench", "--rules", "sgd,adamx"], ["--rules", "'adamx'", *LABELS]),
            (["bench", "--sizes", "1e4,many"], ["--sizes", "'many'"]),
            (["bench", "--sizes", "0"], ["--sizes", "'0'"]),
            (["bench", "--sizes", "1.5"], ["--sizes", "'1.5'"]),
            (["bench", "--sizes", "inf"], ["--sizes", "'inf'"]),
            (["bench", "--sizes", "nan"], ["--sizes", "'nan'"]),
            (["bench", "--threads", "0"], ["--threads", "'0'"]),
            (["bench", "--dtype", "float16"], ["--dtype", "float32", "float64"]),
            (["bench", "--json", "no/such/place.json"], ["--json", "'no/such/place.json'"]),
            (["bench", "--plot", "picture.doc"], ["--plot", "'picture.doc'", ".png"]),
            (["bench", "--compare", "missing.json"], ["--compare", "'missing.json'"]),
            (["compare", "--epochs", "0"], ["--epochs", "'0'"]),
            (["compare", "--batch-size", "-3"], ["--batch-size", "-3"]),
            (["compare", "--seed", "-1"], ["--seed", "-1"]),
        ],
    )
    def test_a_bad_one_is_named_with_status_2(
        self, argv: list[str], words_in_error: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = status(argv, capsys)
        assert (code, out) == (2, "")
        for word in words_in_error:
            assert word in err

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"rule": "SGD"}]}', '{"rows": 3}'])
    def test_a_file_that_is_no_benchmark(self, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "other.json"
        path.write_text(content)
        code, _, err = status(["bench", "--compare", str(path)], capsys)
        assert code == 2
        assert "fastopt bench --json" in err

    @pytest.mark.parametrize(("module", "package"), [("rich", "rich"), ("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
    def test_a_missing_package_is_one_line_with_status_2(
        self, module: str, package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, module, None)
        code, out, err = status(["compare", "--epochs", "1", "--plot", str(tmp_path / "curves.png")], capsys)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert package in err
        assert 'pip install "fastopt[cli]"' in err

    def test_another_missing_module_is_not_blamed_on_the_extras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(args: Any) -> int:
            raise ModuleNotFoundError("No module named 'numpy.lost'", name="numpy.lost")

        monkeypatch.setattr(info, "run", broken)
        with pytest.raises(ModuleNotFoundError, match=r"numpy\.lost"):
            main(["info"])

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        for argv in (["--help"], ["bench", "--help"], ["compare", "--help"]):
            code, out, _ = status(argv, capsys)
            assert code == 0
            assert "usage: fastopt" in out


class TestArms:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
    def test_all_take_the_same_step(self, row: Row, dtype: str, rng: np.random.Generator) -> None:
        grad = arms.aligned(1000, dtype)
        rng.standard_normal(out=grad, dtype=grad.dtype.type)
        kept = grad.copy()
        built = {arm.name: arm for arm in arms.build(row, grad, torch, lr=0.01)}
        for arm in built.values():
            for _ in range(5):
                arm.step()
        assert np.array_equal(grad, kept)
        assert not np.array_equal(built["fastopt"].param, grad)
        assert ("numpy" in built) == (row.rule.name in arms.NUMPY)
        for name in {"numpy", "torch"} & set(built):
            np.testing.assert_allclose(built[name].param, built["fastopt"].param, rtol=1e-4, atol=1e-5)

    def test_each_has_arrays_of_its_own(self) -> None:
        grad = np.ones(64, np.float32)
        params = [arm.param for arm in arms.build(ROWS[0], grad, torch)]
        assert len(params) == 4
        assert all(not np.shares_memory(a, b) for i, a in enumerate(params) for b in [grad, *params[:i]])

    def test_torch_is_fused_where_it_can_be(self) -> None:
        for row in ROWS:
            if row.rule.name in ("SGD", "Adam", "AdamW", "Adagrad"):
                assert arms.torch_implementation(torch, row) == "fused"

    def test_a_rule_that_torch_lacks_has_no_arm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(torch.optim, "AdamW")
        monkeypatch.delitem(arms.NUMPY, "AdamW")
        row = next(row for row in ROWS if row.rule.name == "AdamW")
        assert [arm.name for arm in arms.build(row, np.ones(8, np.float32), torch)] == ["fastopt", "floor"]


class TestTiming:
    def test_every_arm_has_a_time_for_each_round(self) -> None:
        ticks: list[int] = []
        seconds = timing.measure(lambda: arms.build(ROWS[0], np.ones(8, np.float32), None), 2, 5, 1e99, lambda: ticks.append(1))
        assert {name: len(values) for name, values in seconds.items()} == {"fastopt": 5, "floor": 5, "numpy": 5}
        assert len(ticks) == 5
        assert all(value > 0 for values in seconds.values() for value in values)

    def test_past_the_deadline_three_rounds_are_left(self) -> None:
        seconds = timing.measure(lambda: arms.build(ROWS[0], np.ones(8, np.float32), None), 1, 25, 0.0, lambda: None)
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
        monkeypatch.setattr(arms, "import_torch", lambda: None)
        path = tmp_path / "bench.json"
        code, out, _ = status(["bench", *TINY, "--json", str(path)], capsys)
        assert code == 0
        (row,) = json.loads(path.read_text())["rows"]
        assert row["torch"] is None
        assert set(row["seconds"]) == {"fastopt", "floor", "numpy"}
        assert next(line for line in out.splitlines() if "SGD momentum" in line).rstrip().endswith("-")

    def test_skips_what_does_not_fit_in_memory(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bench, "memory_available", lambda: 10**5)
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


class TestCompare:
    def test_every_rule_learns(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "compare.json", tmp_path / "curves.png"
        argv = ["compare", "--epochs", "6", "--batch-size", "16", "--seed", "3", "--json", str(path), "--plot", str(picture)]
        code, out, _ = status(argv, capsys)
        assert code == 0
        report = json.loads(path.read_text())
        assert (report["epochs"], report["batch_size"], report["seed"]) == (6, 16, 3)
        assert report["images"] == {"train": 1347, "test": 450}
        assert [row["rule"] for row in report["rows"]] == LABELS
        for row in report["rows"]:
            assert row["test_accuracy"] > 0.9, row["rule"]
            assert row["train_accuracy"] > 0.95, row["rule"]
            loss = row["curves"]["train_loss"]
            assert len(loss) == 7
            assert loss[-1] == row["train_loss"] < 0.2 * loss[0]
            assert row["steps"] == 6 * 85
            assert 0 < row["seconds"]["step"] <= row["seconds"]["total"]
            assert f"{row['test_accuracy']:.1%}" in out
        assert is_png(picture)

    def test_the_same_seed_gives_the_same_numbers(self) -> None:
        data = digits.load(0)
        first, second, other = (compare.train(ROWS[0], data, 1, 64, seed, lambda: None)["curves"] for seed in (0, 0, 1))
        assert first == second
        assert first != other

    def test_a_rule_without_a_learning_rate_here_takes_its_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compare, "LEARNING_RATES", {})
        row = compare.train(ROWS[0], digits.load(0), 1, 256, 0, lambda: None)
        assert row["arguments"]["lr"] == ROWS[0].rule.defaults["lr"]

    def test_rules(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["compare", "--rules", "sgd", "--epochs", "1"], capsys)
        assert code == 0
        assert "SGD Nesterov" in out
        assert "Adam" not in out

    def test_gradients_against_finite_differences(self, rng: np.random.Generator) -> None:
        network = digits.Network(0)
        network.params = {name: value.astype(np.float64) for name, value in network.params.items()}
        images, answers = rng.standard_normal((8, 64)), rng.integers(0, 10, 8)
        grads = network.gradients(images, answers)
        assert set(grads) == set(network.params)
        for name, param in network.params.items():
            index = tuple(int(rng.integers(0, n)) for n in param.shape)
            middle = param[index]
            losses = []
            for value in (middle - 1e-5, middle + 1e-5):
                param[index] = value
                losses.append(network.evaluate(images, answers)[0])
            param[index] = middle
            assert grads[name][index] == pytest.approx((losses[1] - losses[0]) / 2e-5, rel=1e-4, abs=1e-7)


class TestPlots:
    def test_many_rules_and_one_size(self, report: dict[str, Any], tmp_path: Path) -> None:
        one = report | {"rows": [row for row in report["rows"] if row["size"] == 10**4]}
        for i, content in enumerate((report, one, one | {"rows": []})):
            plots.roofline(content, tmp_path / f"{i}.png")
        assert is_png(tmp_path / "0.png")
        assert is_png(tmp_path / "1.png")


class TestWords:
    def test_sizes(self) -> None:
        assert [words.short(n) for n in (1, 100, 1000, 10**8, 20_000, 12_345)] == ["1", "100", "1e3", "1e8", "2e4", "12,345"]

    def test_durations(self) -> None:
        shown = [words.duration(s) for s in (2.5e-8, 7.81e-7, 1.5e-6, 0.0123, 0.456, 12.3)]
        assert shown == ["25.0 ns", "781 ns", "1.50 µs", "12.3 ms", "456 ms", "12.3 s"]

    def test_threads(self) -> None:
        assert [words.threads(n) for n in (1, 2)] == ["1 thread", "2 threads"]

    def test_factors(self) -> None:
        assert [words.times(r) for r in (0.98, 12.34, 123.4)] == ["1.0x", "12.3x", "123x"]
