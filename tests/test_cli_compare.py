"""`fastopt compare`, run in this process: the choice of learning rates, the runs and what is reported of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_helpers import LABELS, is_png, status
from fastopt.cli import compare, digits, main, plots, training, tuning
from fastopt.cli.rows import ROWS
from fastopt.cli.tuning import Trial

QUICK = ("--epochs", "1", "--batch-size", "256", "--rules", "adamw")


@pytest.fixture(scope="module")
def data() -> digits.Data:
    return digits.load(0)


def a_run(value: float, points: int = 3) -> dict[str, Any]:
    """A run that was not trained, of which every number is `value`."""
    return dict.fromkeys(compare.MEASURED, value) | {"curves": {name: [value] * points for name in compare.MEASURED}}


class TestData:
    def test_the_held_out_images_are_some_of_the_training_images(self, data: digits.Data) -> None:
        split = digits.hold_out(data, 0)
        assert (len(split.train_digits), len(split.test_digits)) == (1010, 337)
        images = np.concatenate((split.train_images, split.test_images))
        answers = np.concatenate((split.train_digits, split.test_digits))
        for array, whole in ((images, data.train_images), (answers[:, None], data.train_digits[:, None])):
            assert np.array_equal(array[np.lexsort(images.T)], whole[np.lexsort(data.train_images.T)])

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


class TestSearch:
    @pytest.mark.parametrize("optimum", [1e-6, 3e-5, 1e-4, 3e-3, 0.05, 1.0, 3.0, 1e3])
    def test_comes_within_a_factor_of_two_of_the_optimum_or_past_the_end_next_to_it(self, optimum: float) -> None:
        trials = tuning.search(lambda lr: math.log(lr / optimum) ** 2)
        assert len(trials) == tuning.TRIALS
        assert [trial.lr for trial in trials] == sorted({trial.lr for trial in trials})
        nearest = min(max(optimum, min(tuning.DECADES) / 3), 3 * max(tuning.DECADES))
        assert 1 / 2 <= tuning.best(trials).lr / nearest <= 2

    @pytest.mark.parametrize("diverged", [math.nan, math.inf])
    def test_one_that_diverged_loses(self, diverged: float) -> None:
        trials = tuning.search(lambda lr: diverged if lr > 0.015 else 10.0 - lr)
        assert tuning.best(trials).lr == 0.01
        assert tuning.best([Trial(1.0, diverged), Trial(2.0, 1e30)]).lr == 2.0

    def test_where_all_diverge_there_is_a_best_all_the_same(self) -> None:
        assert len(tuning.search(lambda lr: math.nan)) == tuning.TRIALS


class TestTune:
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
    def test_every_row_has_the_same_budget(self, row: Any, data: digits.Data, monkeypatch: pytest.MonkeyPatch) -> None:
        runs: list[tuple[Any, ...]] = []
        ticks: list[int] = []

        def train(row: Any, lr: float, data: digits.Data, *rest: Any) -> dict[str, Any]:
            runs.append((lr, *rest[:3]))
            return training.train(row, lr, data, *rest)

        monkeypatch.setattr(tuning, "train", train)
        trials = tuning.tune(row, data, 1, 512, 7, lambda: ticks.append(1))
        assert len(ticks) == len(runs) == tuning.TRIALS
        assert {run[1:] for run in runs} == {(1, 512, (7, 1))}
        assert sorted({run[0] for run in runs}) == [trial.lr for trial in trials]
        assert trials == tuning.tune(row, data, 1, 512, 7, lambda: None)

    def test_never_sees_the_test_images(self, data: digits.Data) -> None:
        blind = dataclasses.replace(data, test_images=np.full_like(data.test_images, np.nan), test_digits=data.test_digits[::-1])
        first, second = (tuning.tune(ROWS[0], images, 1, 256, 0, lambda: None) for images in (data, blind))
        assert first == second


class TestTrain:
    def test_the_same_seed_gives_the_same_numbers(self, data: digits.Data) -> None:
        seeds: tuple[digits.Seed, ...] = (0, 0, 1, (0, 1))
        first, again, *others = (training.train(ROWS[0], 0.1, data, 1, 64, seed, lambda: None)["curves"] for seed in seeds)
        assert first == again
        assert all(first != other for other in others)

    def test_diverging_is_told_by_the_losses_alone(self, data: digits.Data) -> None:
        run = training.train(ROWS[0], 1e30, data, 1, 64, 0, lambda: None)  # a warning would be an error here
        assert not math.isfinite(run["train_loss"])


class TestSummary:
    def test_mean_and_sample_deviation(self) -> None:
        result = compare.summary([a_run(1.0), a_run(2.0), a_run(6.0)])
        assert result["mean"] == dict.fromkeys(compare.MEASURED, 3.0)
        assert result["spread"] == dict.fromkeys(compare.MEASURED, pytest.approx(math.sqrt(7)))  # (4 + 1 + 9) / (3 - 1)

    def test_one_run_has_no_deviation(self) -> None:
        result = compare.summary([a_run(2.5)])
        assert result["mean"] == dict.fromkeys(compare.MEASURED, 2.5)
        assert result["spread"] == dict.fromkeys(compare.MEASURED)

    @pytest.mark.parametrize("diverged", [math.nan, math.inf])
    def test_a_run_that_diverged_shows(self, diverged: float) -> None:
        result = compare.summary([a_run(1.0), a_run(diverged)])
        assert all(not math.isfinite(value) for value in result["mean"].values() if value is not None)
        assert all(math.isnan(value) for value in result["spread"].values() if value is not None)


class TestCompare:
    def test_every_rule_learns(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "compare.json", tmp_path / "curves.png"
        argv = ["compare", "--epochs", "4", "--seed", "3", "--seeds", "2", "--json", str(path), "--plot", str(picture)]
        code, out, _ = status(argv, capsys)
        assert code == 0
        report = json.loads(path.read_text())
        assert (report["epochs"], report["batch_size"], report["seeds"]) == (4, 32, [3, 4])
        assert report["images"] == {"train": 1347, "test": 450}
        assert report["trials"] == tuning.TRIALS
        assert [row["rule"] for row in report["rows"]] == LABELS
        for row in report["rows"]:
            losses = {trial["lr"]: trial["validation_loss"] for trial in row["trials"]}
            assert len(losses) == tuning.TRIALS
            assert losses[row["arguments"]["lr"]] == min(loss for loss in losses.values() if loss is not None)
            assert [run["seed"] for run in row["runs"]] == [3, 4]
            for run in row["runs"]:
                loss = run["curves"]["train_loss"]
                assert len(loss) == 5
                assert loss[-1] == run["train_loss"] < 0.2 * loss[0]
                assert run["steps"] == 4 * 43
                assert 0 < run["steps"] * run["step_seconds"] <= run["seconds"]
            for name in compare.MEASURED:
                first, second = (run[name] for run in row["runs"])
                assert row["mean"][name] == pytest.approx((first + second) / 2)
                assert row["spread"][name] == pytest.approx(abs(first - second) / math.sqrt(2))
            assert row["mean"]["test_accuracy"] > 0.85, row["rule"]
            line = next(line for line in out.splitlines() if line.startswith(f"  {row['rule']}  "))
            assert f"{row['mean']['test_accuracy']:.1%}" in line
            assert f"{row['arguments']['lr']:.1g}" in line
        assert f"best of {tuning.TRIALS}" in out
        assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
        assert is_png(picture)

    def test_one_seed_has_no_spread(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "compare.json", tmp_path / "curves.png"
        code, out, _ = status(["compare", *QUICK, "--seeds", "1", "--json", str(path), "--plot", str(picture)], capsys)
        assert code == 0
        (row,) = json.loads(path.read_text())["rows"]
        assert set(row["spread"].values()) == {None}
        assert next(line for line in out.splitlines() if "AdamW" in line).split().count("-") == 2
        assert is_png(picture)

    def test_more_seeds_leave_the_choice_and_the_first_runs_as_they_are(self, tmp_path: Path) -> None:
        rows = []
        for count in ("1", "2"):
            path = tmp_path / f"{count}.json"
            assert main(["compare", *QUICK, "--seeds", count, "--json", str(path)]) == 0
            rows += json.loads(path.read_text())["rows"]
        assert rows[0]["trials"] == rows[1]["trials"]
        assert rows[0]["runs"][0]["curves"] == rows[1]["runs"][0]["curves"]

    def test_rules(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["compare", "--rules", "sgd", "--epochs", "1", "--batch-size", "256", "--seeds", "1"], capsys)
        assert code == 0
        assert "SGD Nesterov" in out
        assert "Adam" not in out


class TestCurves:
    def test_many_rules_each_in_a_look_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib.axes import Axes

        looks = []
        plot = Axes.plot

        def watched(self: Axes, *args: Any, **look: Any) -> Any:
            looks.append((look["label"], look["color"], look["linestyle"]))
            return plot(self, *args, **look)

        monkeypatch.setattr(Axes, "plot", watched)
        runs = [a_run(0.5), a_run(0.25)]
        rows = [{"rule": f"Rule {i}", **compare.summary(runs), "runs": runs} for i in range(16)]
        runs[0]["curves"]["train_loss"] = [0.5, math.inf, math.nan]  # diverged
        report = {"epochs": 2, "batch_size": 32, "seeds": [0, 1], "rows": rows}
        plots.curves(report, tmp_path / "many.png")
        plots.curves(report | {"rows": []}, tmp_path / "none.png")
        assert is_png(tmp_path / "many.png")
        assert len(looks) == 32
        assert len({look[1:] for look in looks}) == len(set(looks)) == 16
