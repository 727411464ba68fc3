"""`fastopt compare` on a target of amounts: which targets are amounts, R2 and RMSE as scikit-learn's, and every output."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_squared_error, r2_score

from fastopt.cli import main
from fastopt.cli.compare import training
from fastopt.cli.compare.data import hold_out, load, prepare
from fastopt.cli.compare.labels import FEWEST_AMOUNTS
from fastopt.cli.compare.samples import DataError, Samples
from fastopt.cli.compare.tasks import CLASSIFICATION, REGRESSION
from fastopt.cli.compare.training import Settings
from fastopt.cli.rows import ROWS
from fastopt.sklearn.network import Network
from tests.support.cli import is_png, status
from tests.support.compare_runs import npz

ADAM = next(row for row in ROWS if row.label == "Adam")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's diabetes as a CSV file."""
    path = tmp_path_factory.mktemp("regression") / "diabetes.csv"
    load_diabetes(as_frame=True).frame.to_csv(path, index=False)
    return path


def of(labels: Any, **more: Any) -> Samples:
    labels = np.asarray(labels)
    return Samples("a", np.arange(2.0 * len(labels)).reshape(-1, 2), labels, **more)


class TestTask:
    @pytest.mark.parametrize(
        ("labels", "task"),
        [
            (np.linspace(0, 1, 60), REGRESSION),
            (np.arange(60) % 2 + 0.5, REGRESSION),
            (np.arange(60), REGRESSION),  # many, all of them rare
            (np.repeat(np.arange(101), 8), REGRESSION),  # too many for classes
            (np.repeat(np.arange(100), 8), CLASSIFICATION),
            (np.arange(60.0) % 3, CLASSIFICATION),
            (np.array(["1.5", "2.5"])[np.arange(60) % 2], CLASSIFICATION),
            (np.arange(60) % 2 == 0, CLASSIFICATION),
        ],
    )
    def test_follows_from_the_target(self, labels: Any, task: Any) -> None:
        assert prepare(of(labels), 0).task is task

    def test_may_be_named(self) -> None:
        grades = np.r_[np.arange(60) % 4, 9]
        with pytest.raises(DataError, match=r"the class '9' has 1 sample.*--task regression"):
            prepare(of(grades), 0)
        assert prepare(of(grades), 0, "regression").task is REGRESSION
        halves = np.arange(60) % 2 + 0.5
        assert prepare(of(halves), 0, "classification").classes == ("0.5", "1.5")

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (np.full(60, 0.5), "all training samples have the amount 0.5"),
            (np.linspace(0, 1, FEWEST_AMOUNTS - 1), "got 19 amounts, expected 20 or more"),
            (np.linspace(-1, 1, 60) * 1e300, "write them in another unit"),
            (np.linspace(0, 1, 60) * 1e-300, "write them in another unit"),
            (np.r_[np.linspace(0, 1, 59), np.inf], "NaN or infinite"),
        ],
    )
    def test_amounts_that_are_refused(self, labels: Any, said: str) -> None:
        with pytest.raises(DataError, match=said):
            prepare(of(labels), 0)

    def test_texts_are_no_amounts(self) -> None:
        with pytest.raises(DataError, match="got texts such as 'x', expected the numbers of a regression"):
            prepare(of(np.full(60, "x")), 0, "regression")


class TestData:
    def test_is_standardised_by_the_training_part(self, source: Path) -> None:
        data = load(str(source))
        assert (data.train_labels.shape, data.test_labels.shape, data.train_labels.dtype) == ((331, 1), (111, 1), np.float32)
        assert (data.outputs, data.classes, data.span) == (1, (), (25.0, 346.0))
        assert float(data.train_labels.mean()) == pytest.approx(0, abs=1e-6)
        assert float(data.train_labels.std()) == pytest.approx(1, abs=1e-6)
        both = np.concatenate((data.train_labels, data.test_labels)).ravel() * data.unit
        target = load_diabetes().target
        np.testing.assert_allclose(np.sort(both - both.mean()), np.sort(target - target.mean()), atol=1e-3)

    def test_a_quarter_of_the_training_samples_is_held_out(self, source: Path) -> None:
        data = load(str(source))
        part = hold_out(data, 0)
        assert (len(part.train_labels), len(part.test_labels), part.task) == (248, 83, REGRESSION)

    def test_a_test_part_of_its_own(self, tmp_path: Path, rng: np.random.Generator) -> None:
        inputs, target = rng.standard_normal((30, 3)), rng.standard_normal(30)
        parts = {"x_train": inputs[:20], "y_train": target[:20], "x_test": inputs[20:], "y_test": np.arange(10)}
        data = load(str(npz(tmp_path / "a.npz", **parts)))
        assert data.task is REGRESSION
        np.testing.assert_allclose(data.test_labels[:, 0], (np.arange(10) - target[:20].mean()) / target[:20].std(), rtol=1e-5)


class TestScores:
    def test_are_scikit_learns(self, source: Path) -> None:
        data = load(str(source))
        network = Network((10, 5, 1), output="identity", seed=0)
        found = data.evaluate(network, data.test_inputs, data.test_labels)
        predicted = network.forward(data.test_inputs).astype(np.float64)
        error = mean_squared_error(data.test_labels, predicted)
        assert found["loss"] == pytest.approx(error / 2, rel=1e-6)
        assert found["r2"] == pytest.approx(r2_score(data.test_labels, predicted), rel=1e-6)
        assert found["rmse"] == pytest.approx(data.unit * error**0.5, rel=1e-6)

    def test_a_run_learns(self, source: Path) -> None:
        run = training.train(ADAM, 1e-2, load(str(source)), Settings(10, 32, (16,)), 0, lambda: None)
        assert run["curves"]["loss"]["train_loss"][0] > 0.4
        assert run["train_loss"] < 0.3
        assert run["test_r2"] > 0.3
        assert run["curves"]["test"]["test_r2"][-1] == run["test_r2"]
        assert {"train_accuracy", "test_accuracy"}.isdisjoint(run)

    def test_diverging_is_told_by_the_numbers_alone(self, source: Path) -> None:
        run = training.train(ROWS[0], 1e30, load(str(source)), Settings(1, 64, (4,)), 0, lambda: None)
        assert not np.isfinite(run["test_r2"])


class TestCommand:
    def test_every_output_has_r2_and_rmse(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        paths = {ending: tmp_path / f"out.{ending}" for ending in ("json", "png", "html")}
        argv = ["compare", str(source), "--epochs", "3", "--seeds", "2", "--hidden", "8", "--rules", "adam,lion"]
        outputs = ["--json", str(paths["json"]), "--plot", str(paths["png"]), "--html", str(paths["html"])]
        code, out, _ = status([*argv, *outputs], capsys)
        assert code == 0
        assert out.startswith("diabetes.csv: 442 samples, 10 features, amounts from 25 to 346 of 'target'\n")
        for words in ("train R2", "test R2", "RMSE", "the mean alone would have R2 0.00 and RMSE 70.5 in the test"):
            assert words in out
        assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
        report = json.loads(paths["json"].read_text())
        assert report["data"]["amounts"] == {"least": 25.0, "most": 346.0}
        assert report["target_loss"]["guess"] == pytest.approx(0.5)
        for row in report["rows"]:
            assert row["mean"]["test_r2"] > 0
            assert 30 < row["mean"]["test_rmse"] < 80
            assert f"{row['mean']['test_r2']:.3f} ±" in out
        assert is_png(paths["png"])
        page = paths["html"].read_text()
        for words in ("Highest test R2", "Test\nRMSE", "one linear output", "a guess of the mean", "R2 0.00 and RMSE 70.5"):
            assert words in page
        assert "accuracy" not in page.partition("<body>")[2].partition("<script>")[0]

    def test_rules_that_diverge_leave_the_charts(self, source: Path, tmp_path: Path) -> None:
        from fastopt.cli.compare import page as pages
        from fastopt.cli.compare import picture, targets

        with pytest.MonkeyPatch.context() as patch:
            reports: list[Any] = []
            patch.setattr(pages, "page", lambda report: reports.append(report) or "")
            argv = ["compare", str(source), "--epochs", "1", "--seeds", "1", "--hidden", "0", "--rules", "adam,lion"]
            assert main([*argv, "--html", str(tmp_path / "x.html")]) == 0
        (report,) = reports
        for value in (float("nan"), -float("inf"), -1e9):
            row = report["rows"][1]
            row["mean"] |= {"test_r2": value, "test_rmse": value}
            for run in row["runs"]:
                run["test_r2"] = value
                run["curves"]["test"]["test_r2"] = [value] * 2
            targets.time_to_target(report, None, 0.5)
            picture.curves(report, tmp_path / "a.png")
            text = pages.page(report)
            assert "Lion" in text
            assert "nan" not in " ".join(part.split('"')[0] for part in text.split(' d="')[1:])

    def test_the_command_that_is_reported_names_the_task(self, tmp_path: Path, rng: np.random.Generator) -> None:
        path = npz(tmp_path / "a.npz", X=rng.standard_normal((60, 2)), y=np.arange(60) % 3)
        argv = ["compare", str(path), "--epochs", "1", "--seeds", "1", "--rules", "adam", "--task", "regression"]
        assert main([*argv, "--json", str(tmp_path / "first")]) == 0
        first = json.loads((tmp_path / "first").read_text())
        assert first["data"]["task"] == "regression"
        assert main([*shlex.split(first["command"])[1:], "--json", str(tmp_path / "second")]) == 0
        assert json.loads((tmp_path / "second").read_text())["rows"][0]["trials"] == first["rows"][0]["trials"]
