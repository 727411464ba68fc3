"""`fastopt compare`, run in this process: the choice of learning rates, the runs, and what the command writes."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastopt.cli import compare, main
from fastopt.cli.compare import terminal, training, tuning
from fastopt.cli.compare.data import Data, hold_out, load
from fastopt.cli.compare.tasks import CLASSIFICATION
from fastopt.cli.compare.training import Settings
from fastopt.cli.compare.tuning import Trial
from fastopt.cli.rows import ROWS
from tests.support.cli import LABELS, is_png, status

QUICK = ("--epochs", "1", "--batch-size", "256", "--rules", "adamw")


@pytest.fixture(scope="module")
def data() -> Data:
    return load()


def brief(epochs: int = 1, batch_size: int = 512, hidden: tuple[int, ...] = (8,)) -> Settings:
    return Settings(epochs, batch_size, hidden)


class TestSearch:
    @pytest.mark.parametrize("optimum", [1e-6, 3e-5, 1e-4, 3e-3, 0.05, 1.0, 3.0, 1e3])
    def test_comes_within_a_factor_of_two_of_the_optimum_or_past_the_end_next_to_it(self, optimum: float) -> None:
        trials = tuning.search(lambda lr: [math.log(lr / optimum) ** 2])
        assert len(trials) == tuning.TRIALS
        assert [trial.lr for trial in trials] == sorted({trial.lr for trial in trials})
        nearest = min(max(optimum, min(tuning.DECADES) / 3), 3 * max(tuning.DECADES))
        assert 1 / 2 <= tuning.best(trials).lr / nearest <= 2

    @pytest.mark.parametrize("diverged", [math.nan, math.inf])
    def test_one_that_diverged_loses(self, diverged: float) -> None:
        trials = tuning.search(lambda lr: [diverged if lr > 0.015 else 10.0 - lr])
        assert tuning.best(trials).lr == 0.01
        assert tuning.best([Trial(1.0, (diverged, 0.1)), Trial(2.0, (1e30,))]).lr == 2.0

    def test_where_all_diverge_there_is_a_best_all_the_same(self) -> None:
        assert len(tuning.search(lambda lr: [math.nan])) == tuning.TRIALS

    def test_one_lucky_run_does_not_choose(self) -> None:
        losses = {1e-4: [1.0, 1.1], 1e-3: [0.5, 0.6], 1e-2: [0.3, 0.4], 0.1: [0.35, 0.39], 1.0: [988.0, 0.163]}
        trials = tuning.search(lambda lr: losses.get(lr, [2.0, 2.0]))
        assert tuning.best(trials) == Trial(0.1, (0.35, 0.39))
        assert [trial.loss for trial in trials if trial.lr == 1.0] == [988.0]

    @pytest.mark.parametrize(("optimum", "end"), [(1e-6, True), (1e-4, False), (0.01, False), (1.0, False), (100.0, True)])
    def test_the_end_of_the_search_is_known(self, optimum: float, end: bool) -> None:
        assert tuning.at_an_end(tuning.search(lambda lr: [math.log(lr / optimum) ** 2])) == end


class TestTune:
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
    def test_every_row_has_the_same_budget(self, row: Any, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
        runs: list[tuple[Any, ...]] = []
        ticks: list[int] = []

        def train(row: Any, lr: float, data: Data, *rest: Any, **more: Any) -> dict[str, Any]:
            runs.append((lr, id(data), *rest[:2]))
            return training.train(row, lr, data, *rest, **more)

        monkeypatch.setattr(tuning, "train", train)
        held_out = hold_out(data, 7)
        trials = tuning.tune(row, held_out, brief(), 7, 2, lambda: ticks.append(1))
        assert len(ticks) == len(runs) == 2 * tuning.TRIALS
        assert {run[1:] for run in runs} == {(id(held_out), brief(), (7, i)) for i in (1, 2)}
        assert sorted({run[0] for run in runs}) == [trial.lr for trial in trials]
        assert all(len(set(trial.losses)) == 2 for trial in trials)
        assert trials == tuning.tune(row, held_out, brief(), 7, 2, lambda: None)

    @pytest.mark.parametrize(("samples", "runs"), [(499, 5), (500, 2)])
    def test_small_data_have_more_runs_of_a_trial(self, samples: int, runs: int, data: Data) -> None:
        part = dataclasses.replace(data, train_inputs=data.train_inputs[:samples], train_labels=data.train_labels[:samples])
        assert tuning.runs_of_a_trial(part) == runs

    def test_never_sees_the_test_samples(self, data: Data) -> None:
        blind = dataclasses.replace(data, test_inputs=np.full_like(data.test_inputs, np.nan), test_labels=data.test_labels[::-1])
        first, second = (tuning.tune(ROWS[0], hold_out(part, 0), brief(), 0, 1, lambda: None) for part in (data, blind))
        assert first == second

    def test_its_runs_are_none_of_those_reported(self, data: Data) -> None:
        tried, reported = (training.train(ROWS[0], 0.1, data, brief(), seed, lambda: None)["curves"] for seed in ((0, 1), 0))
        assert tried["loss"]["train_loss"][0] != reported["loss"]["train_loss"][0]


class TestTrain:
    def test_the_same_seed_gives_the_same_numbers(self, data: Data) -> None:
        seeds: tuple[training.Seed, ...] = (0, 0, 1, (0, 1))
        runs = [training.train(ROWS[0], 0.1, data, brief(), seed, lambda: None) for seed in seeds]
        first, again, *others = ([run["curves"]["loss"]["train_loss"], run["curves"]["test"]] for run in runs)
        assert first == again
        assert all(first != other for other in others)

    def test_rules_begin_alike(self, data: Data) -> None:
        runs = [training.train(row, 1e-3, data, brief(), 5, lambda: None)["curves"] for row in ROWS]
        assert len({run["loss"]["train_loss"][0] for run in runs}) == 1

    def test_looks_change_nothing(self, data: Data) -> None:
        seen, unseen = (training.train(ROWS[0], 0.1, data, brief(2, 64), 0, lambda: None, looks=n) for n in (10, 0))
        for name in ("steps", "train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            assert seen[name] == unseen[name]
        assert unseen["curves"]["loss"]["step"] == unseen["curves"]["test"]["step"] == []

    def test_diverging_is_told_by_the_losses_alone(self, data: Data) -> None:
        run = training.train(ROWS[0], 1e30, data, brief(1, 64), 0, lambda: None)  # a warning would be an error here
        assert not math.isfinite(run["train_loss"])

    def test_batches_are_near_even(self, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        gradients = training.Network.gradients

        def counted(network: Any, X: Any, target: Any) -> Any:
            sizes.append(len(X))
            return gradients(network, X, target)

        monkeypatch.setattr(training.Network, "gradients", counted)
        training.train(ROWS[0], 0.1, data, brief(2, 200), 0, lambda: None, looks=0)
        assert sizes == 2 * [len(part) for part in np.array_split(np.arange(len(data.train_labels)), 7)]

    @pytest.mark.parametrize(("batch_size", "batches"), [(32, 43), (100, 14), (200, 7), (1347, 1), (5000, 1)])
    def test_looks_are_spread_over_the_epoch(self, batch_size: int, batches: int, data: Data) -> None:
        run = training.train(ROWS[0], 0.1, data, brief(2, batch_size), 0, lambda: None)
        steps = run["curves"]["loss"]["step"]
        assert run["steps"] == steps[-1] == 2 * batches
        assert len(steps) == 1 + 2 * min(batches, training.LOOKS)
        apart = np.diff(steps)
        assert apart.min() >= 1
        assert apart.max() - apart.min() <= 1
        assert run["curves"]["test"]["step"] == [0, batches, 2 * batches]
        seconds = run["curves"]["loss"]["seconds"]
        assert seconds == sorted(seconds)
        assert seconds == [step * run["iteration_seconds"] for step in steps]
        assert 0 < run["step_seconds"] < run["iteration_seconds"] <= run["seconds"]

    @pytest.mark.parametrize("hidden", [(), (5,), (9, 7, 5)])
    def test_the_network_is_the_one_that_is_asked_for(
        self, hidden: tuple[int, ...], data: Data, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []
        network = training.Network
        monkeypatch.setattr(training, "Network", lambda sizes, **more: made.append(sizes) or network(sizes, **more))
        training.train(ROWS[0], 0.1, data, brief(hidden=hidden), 0, lambda: None)
        assert made == [(64, *hidden, 10)]

    def test_what_is_watched_is_of_every_class_where_the_samples_are_in_order(self, data: Data) -> None:
        order = np.argsort(data.train_labels, kind="stable")
        ordered = dataclasses.replace(data, train_inputs=data.train_inputs[order], train_labels=data.train_labels[order])
        _, labels = training.Curves(training.Network((64, 10), seed=0), ordered).watched
        assert len(labels) == training.WATCHED
        shares = [np.bincount(part) / len(part) for part in (labels, data.train_labels)]
        assert np.abs(shares[0] - shares[1]).max() < 0.002


class TestCompare:
    def test_every_rule_learns(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "compare.json", tmp_path / "curves.png"
        argv = ["compare", "--epochs", "4", "--seed", "3", "--seeds", "2", "--json", str(path), "--plot", str(picture)]
        code, out, _ = status(argv, capsys)
        assert code == 0
        report = json.loads(path.read_text())
        assert (report["epochs"], report["batch_size"], report["seeds"]) == (4, 32, [3, 4])
        assert (report["network"], report["parameters"]) == ([64, 128, 64, 10], 17226)
        digits = {
            "name": "digits",
            "task": "classification",
            "target": None,
            "features": 64,
            "classes": list("0123456789"),
            "train": 1347,
            "test": 450,
        }
        digits |= {"most_frequent": report["data"]["most_frequent"]}
        assert report["data"] == digits
        assert report["data"]["most_frequent"]["test_share"] == pytest.approx(0.1, abs=0.01)
        assert (report["trials"], report["runs_of_a_trial"], report["looks"]) == (tuning.TRIALS, 2, 10)
        assert [row["rule"] for row in report["rows"]] == LABELS
        target = report["target_loss"]["loss"]
        assert report["target_loss"]["guess"] == pytest.approx(math.log(10), abs=0.01)
        for row in report["rows"]:
            losses = {trial["lr"]: trial["validation_loss"] for trial in row["trials"]}
            assert len(losses) == tuning.TRIALS
            assert losses[row["arguments"]["lr"]] == min(loss for loss in losses.values() if loss is not None)
            assert all(
                trial["validation_loss"] == max(trial["validation_losses"])
                for trial in row["trials"]
                if None not in trial["validation_losses"]
            )
            assert [run["seed"] for run in row["runs"]] == [3, 4]
            for run in row["runs"]:
                curve = run["curves"]["loss"]
                assert len(curve["train_loss"]) == len(curve["step"]) == len(curve["seconds"]) == 1 + 4 * training.LOOKS
                assert run["train_loss"] < 0.2 * curve["train_loss"][0]
                assert run["steps"] == curve["step"][-1] == 4 * 43
                assert run["step_seconds"] > 0
                assert len(run["curves"]["test"]["test_accuracy"]) == 5
                assert run["curves"]["test"]["test_accuracy"][-1] == run["test_accuracy"]
                if run["steps_to_target"] is not None:
                    assert curve["train_loss"][curve["step"].index(run["steps_to_target"])] <= target
            for name in CLASSIFICATION.measured:
                first, second = (run[name] for run in row["runs"])
                assert row["mean"][name] == pytest.approx((first + second) / 2)
                assert row["spread"][name] == pytest.approx(abs(first - second) / math.sqrt(2))
            for name in compare.TIMED:
                assert row[name] == pytest.approx(sum(run[name] for run in row["runs"]) / 2)
            assert row["mean"]["test_accuracy"] > 0.85, row["rule"]
            line = next(line for line in out.splitlines() if line.startswith(f" {row['rule']}  "))
            assert f"{100 * row['mean']['test_accuracy']:.1f} ±" in line
            assert terminal.rate(row["arguments"]["lr"]) in line
        assert sum(row["to_target"]["reached"] == 2 for row in report["rows"]) >= 0.75 * len(LABELS)
        assert f"of {tuning.TRIALS}, the one whose worst of 2 runs" in out
        assert out.startswith("digits: 1,797 samples, 64 features, 10 classes\n")
        assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
        assert is_png(picture)

    def test_one_seed_has_no_spread(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, picture = tmp_path / "compare.json", tmp_path / "curves.png"
        code, out, _ = status(["compare", *QUICK, "--seeds", "1", "--json", str(path), "--plot", str(picture)], capsys)
        assert code == 0
        (row,) = json.loads(path.read_text())["rows"]
        assert set(row["spread"].values()) == {None}
        assert "±" not in out
        assert is_png(picture)

    def test_more_seeds_leave_the_choice_and_the_first_runs_as_they_are(self, tmp_path: Path) -> None:
        rows = []
        for count in ("1", "2"):
            path = tmp_path / f"{count}.json"
            assert main(["compare", *QUICK, "--seeds", count, "--json", str(path)]) == 0
            rows += json.loads(path.read_text())["rows"]
        assert rows[0]["trials"] == rows[1]["trials"]
        first, again = (row["runs"][0]["curves"] for row in rows)
        assert first["test"] == again["test"]
        assert first["loss"]["train_loss"] == again["loss"]["train_loss"]

    def test_rules(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = status(["compare", "--rules", "sgd", "--epochs", "1", "--batch-size", "256", "--seeds", "1"], capsys)
        assert code == 0
        assert "SGD Nesterov" in out
        assert "Adam" not in out

    def test_the_command_that_is_reported_gives_the_same_numbers(self, tmp_path: Path) -> None:
        paths = [tmp_path / "first.json", tmp_path / "second.json"]
        argv = ["compare", *QUICK, "--seed", "2", "--seeds", "2", "--hidden", "7,6", "--target-loss", "2.25"]
        assert main([*argv, "--json", str(paths[0])]) == 0
        first = json.loads(paths[0].read_text())
        assert first["target_loss"]["loss"] == 2.25
        assert first["network"] == [64, 7, 6, 10]
        program, *words = shlex.split(first["command"])
        assert program == "fastopt"
        assert main([*words, "--json", str(paths[1])]) == 0
        second = json.loads(paths[1].read_text())
        assert first["command"] == second["command"]
        for one, other in zip(first["rows"], second["rows"], strict=True):
            assert one["trials"] == other["trials"]
            assert one["to_target"]["steps"] == other["to_target"]["steps"]
            assert [run["test_loss"] for run in one["runs"]] == [run["test_loss"] for run in other["runs"]]

    @pytest.mark.parametrize(
        ("argv", "words_in_error"),
        [
            (["--hidden", "many"], ["--hidden", "'many'", "128,64"]),
            (["--hidden", "-1"], ["--hidden"]),
            (["--hidden", ""], ["--hidden", "''"]),
            (["--hidden", "8,0"], ["--hidden", "'0'"]),
            (["--target-loss", "0"], ["--target-loss", "'0'"]),
            (["--target-loss", "nan"], ["--target-loss", "'nan'"]),
            (["--target-loss", "low"], ["--target-loss", "'low'"]),
            (["--html", "no/such/place.html"], ["--html", "'no/such/place.html'"]),
        ],
    )
    def test_a_bad_argument_is_named_with_status_2(
        self, argv: list[str], words_in_error: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = status(["compare", *argv], capsys)
        assert (code, out) == (2, "")
        assert all(word in err for word in words_in_error)

    @pytest.mark.parametrize(("batch_size", "threads"), [(32, 1), (128, None)])
    def test_small_products_are_left_to_one_thread(self, batch_size: int, threads: int | None, data: Data) -> None:
        assert compare.blas_threads(Settings(1, batch_size, (128, 64)), data) == threads
