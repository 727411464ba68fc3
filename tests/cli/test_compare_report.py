"""What `fastopt compare` makes of its runs: the loss they are timed by, means and spreads, the table, the picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fastopt.cli import compare
from fastopt.cli.compare import picture, targets, tasks, terminal
from fastopt.cli.compare.tasks import CLASSIFICATION
from tests.support.cli import is_png
from tests.support.compare_runs import a_report, a_run

LOSSES = st.lists(st.one_of(st.floats(1e-6, 10), st.sampled_from([math.nan, math.inf])), min_size=2, max_size=12)


class TestTarget:
    @pytest.mark.parametrize(
        ("losses", "target", "look"),
        [
            ([2.0, 1.0, 0.5, 0.4], 0.5, 2),
            ([2.0, 1.0, 0.5, 0.4], 1.0, 1),
            ([2.0, 0.4, 1.0, 0.4, 0.3], 0.5, 3),  # one low look is not enough
            ([2.0, 0.4, 0.5, 1.0, 0.6], 0.5, 1),  # two are, whatever comes then
            ([2.0, 1.0, 0.6, 0.4], 0.5, None),  # the last look is not confirmed
            ([0.1, 0.1, 0.1], 0.5, 1),  # never before the first step
            ([0.1, 0.1], 0.5, None),
            ([2.0, math.nan, 0.1, 0.1], 0.5, 2),
            ([2.0, 0.1, math.nan, 0.1], 0.5, None),
            ([math.nan] * 3, 0.5, None),
            ([2.0, math.inf, math.inf], 0.5, None),
        ],
    )
    def test_reached_at_the_first_of_two_looks(self, losses: list[float], target: float, look: int | None) -> None:
        assert targets.reached(losses, target) == look

    @given(losses=LOSSES)
    def test_the_lowest_is_reached_and_nothing_below(self, losses: list[float]) -> None:
        lowest = targets.lowest(losses)
        if math.isfinite(lowest):
            assert targets.reached(losses, lowest) is not None
            assert targets.reached(losses, 0.999 * lowest) is None
        else:
            assert targets.reached(losses, 1e9) is None

    def test_easy_data_are_timed_by_the_share_alone(self) -> None:
        assert targets.choose_target([[[2.0, 0.01, 0.01]]] * 3, 2.0) == (2.0 * targets.SHARE, "share")

    def test_hard_data_are_timed_by_what_three_quarters_reach(self) -> None:
        rules = [[[2.0, low, low], [2.0, low / 2, low / 2]] for low in (0.512, 0.61, 0.345, 1.9)]
        assert targets.choose_target(rules, 2.0) == (pytest.approx(0.61), "reached")
        assert targets.choose_target([rules[2]], 2.0) == (pytest.approx(0.35), "reached")  # rounded up

    @pytest.mark.parametrize("good", [1, 2, 3, 4])
    @pytest.mark.parametrize("bad", [1.7, 50.0, math.nan])
    def test_one_bad_rule_does_not_set_it(self, good: int, bad: float) -> None:
        rules = [[[2.0, 0.5, 0.5]]] * good + [[[2.0, bad, bad]]]
        assert targets.choose_target(rules, 2.0) == (pytest.approx(0.5), "reached")

    @pytest.mark.parametrize("losses", [[2.0, 1.9, 1.9], [1.0, 40.0, 40.0], [2.5, 2.2, 2.1]])
    def test_a_guess_is_no_target(self, losses: list[float]) -> None:
        assert targets.choose_target([[losses]] * 4, 2.0) == (0.9 * 2.0, "cap")

    def test_where_all_diverge_it_is_the_share(self) -> None:
        assert targets.choose_target([[[2.0, math.nan, math.inf]]] * 3, 2.0) == (2.0 * targets.SHARE, "share")

    @given(rules=st.lists(st.lists(LOSSES, min_size=1, max_size=3), min_size=1, max_size=6))
    def test_three_quarters_or_all_but_one_reach_it_unless_it_is_capped(self, rules: list[list[list[float]]]) -> None:
        target, chosen = targets.choose_target(rules, 2.0)
        there = [all(targets.reached(run, target) is not None for run in rule) for rule in rules]
        finite = [all(math.isfinite(targets.lowest(run)) for run in rule) for rule in rules]
        assert 2.0 * targets.SHARE <= target <= 2.0 * targets.CAP
        if chosen != "cap":
            assert sum(there) >= min(0.75 * len(rules), max(1, len(rules) - 1), sum(finite))

    def test_entropy(self) -> None:
        assert tasks.entropy(np.array([0, 1, 2, 3] * 5)) == pytest.approx(math.log(4))
        assert tasks.entropy(np.array([0, 0, 0, 2])) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))

    def test_a_row_has_the_medians_of_the_runs_that_got_there(self) -> None:
        fast, slow = a_run(0.5, [2.0, 0.4, 0.3, 0.2]), a_run(0.5, [2.0, 1.0, 0.4, 0.3])
        never = a_run(0.5, [2.0, 1.0, 0.9, 0.8])
        report = a_report([fast, slow, never], [never])
        targets.time_to_target(report, 0.5, 2.0)
        assert report["target_loss"] == {"loss": 0.5, "chosen": "given", "guess": 2.0}
        assert report["rows"][0]["to_target"] == {
            "reached": 2,
            "steps": 6.0,
            "seconds": 0.75,
            "spread": {"steps": pytest.approx(math.sqrt(8)), "seconds": pytest.approx(math.sqrt(0.125))},
        }
        assert report["rows"][1]["to_target"] == {
            "reached": 0,
            "steps": None,
            "seconds": None,
            "spread": {"steps": None, "seconds": None},
        }
        assert [run["steps_to_target"] for run in report["rows"][0]["runs"]] == [4, 8, None]
        assert [run["seconds_to_target"] for run in report["rows"][0]["runs"]] == [0.5, 1.0, None]


class TestTable:
    def shown(self, report: dict[str, Any]) -> str:
        console = Console(width=80, no_color=True)
        with console.capture() as capture:
            console.print(terminal.table(report))
        return capture.get()

    def test_runs_that_did_not_get_there_show(self) -> None:
        there, never = a_run(0.5, [2.0, 0.4, 0.3]), a_run(0.5, [2.0, 1.0, 0.9])
        report = a_report([there, there, never], [there] * 3, [never] * 3)
        targets.time_to_target(report, 0.5, 2.0)
        first, second, third = (line for line in self.shown(report).splitlines() if "Rule" in line)
        assert "4 2/3" in first
        assert "/" not in second
        assert third.split().count("-") == 2
        captions = "\n".join(terminal.captions(report))
        assert "--target-loss" in captions
        assert "1/3" in captions
        targets.time_to_target(report, 1.5, 2.0)
        captions = "\n".join(terminal.captions(report))
        assert "--target-loss" not in captions
        assert "1/3" not in captions

    def test_the_widest_numbers_fit(self) -> None:
        run = a_run(0.123456789, [2.0] + [0.4] * 3)
        report = a_report([run, run | {"train_accuracy": 1.0, "test_accuracy": 1.0}, a_run(0.5)])
        targets.time_to_target(report, 0.0123, 2.0)
        row = report["rows"][0]
        row |= {"rule": "RMSprop centered", "arguments": {"lr": 0.00033}}
        row["to_target"] = {"reached": 2, "steps": 37500.0, "seconds": 1234.5}
        row["step_seconds"] = 1.234e-4
        text = self.shown(report)
        assert max(map(len, text.splitlines())) <= 80
        for part in ("RMSprop centered", "3.3e-4", "37500 2/3", "1234 s", "123 µs", "to 0.0123", "±44.0"):
            assert part in text

    def test_learning_rates_and_counts(self) -> None:
        shown = [terminal.rate(lr) for lr in (0.1, 1 / 3, 3.0, 1 / 300, 1 / 3000, 1e-4, 1e-4 / 3)]
        assert shown == ["0.1", "0.33", "3", "0.0033", "3.3e-4", "0.0001", "3.3e-5"]
        assert [terminal.count(steps) for steps in (0, 12.4, 99999, 123456)] == ["0", "12", "99999", "123k"]

    def test_names_are_no_markup(self) -> None:
        report = a_report([a_run(0.5)])
        report["data"]["name"] = "[red]x[/red].csv"
        targets.time_to_target(report, None, 2.0)
        assert "[red]x[/red].csv" in self.shown(report)

    def test_where_no_rule_got_there_a_caption_says_so(self) -> None:
        report = a_report([a_run(2.0)] * 2, [a_run(3.0)] * 2)
        targets.time_to_target(report, None, 2.0)
        captions = "\n".join(terminal.captions(report))
        assert "no rule reached that loss" in captions
        assert "nine tenths" in captions
        assert report["target_loss"] == {"loss": 1.8, "chosen": "cap", "guess": 2.0}
        assert "0.00 ns" not in self.shown(report)

    def test_captions_name_the_budget_and_rates_at_an_end(self) -> None:
        report = a_report(*[[a_run(0.5)]] * 20)
        report["rows"][1]["lr_at_an_end"] = True
        targets.time_to_target(report, None, 2.0)
        captions = terminal.captions(report)
        assert "worst of 5 runs" in captions[0]
        assert "alone would score 50.0%" in captions[3]
        assert captions[-1] == "lr at the end of its search, one beyond may be better: Rule 1."
        for row in report["rows"]:
            row["lr_at_an_end"] = True
        captions = terminal.captions(report)
        assert captions[-1].endswith("20 rules.")
        assert max(map(len, captions)) <= 80

    @pytest.mark.parametrize(("looks", "said"), [(1, "once an epoch"), (2, "twice an epoch"), (7, "7 times an epoch")])
    def test_looks_are_those_there_were(self, looks: int, said: str) -> None:
        report = a_report([a_run(0.5)]) | {"looks": looks}
        targets.time_to_target(report, None, 2.0)
        assert said in "\n".join(terminal.captions(report))

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_captions_are_of_80_columns(self, seeds: int) -> None:
        report = a_report([a_run(0.5)] * seeds)
        targets.time_to_target(report, 0.000123, 2.0)
        assert max(map(len, terminal.captions(report))) <= 80


class TestSummary:
    def test_mean_and_sample_deviation(self) -> None:
        result = compare.summary(CLASSIFICATION, [a_run(1.0), a_run(2.0), a_run(6.0)])
        assert result["mean"] == dict.fromkeys(CLASSIFICATION.measured, 3.0)
        assert result["spread"] == dict.fromkeys(CLASSIFICATION.measured, pytest.approx(math.sqrt(7)))  # (4 + 1 + 9) / (3 - 1)

    def test_one_run_has_no_deviation(self) -> None:
        result = compare.summary(CLASSIFICATION, [a_run(2.5)])
        assert result["mean"] == dict.fromkeys(CLASSIFICATION.measured, 2.5)
        assert result["spread"] == dict.fromkeys(CLASSIFICATION.measured)

    @pytest.mark.parametrize("diverged", [math.nan, math.inf])
    def test_a_run_that_diverged_shows(self, diverged: float) -> None:
        result = compare.summary(CLASSIFICATION, [a_run(1.0), a_run(diverged)])
        assert all(not math.isfinite(value) for value in result["mean"].values() if value is not None)
        assert all(math.isnan(value) for value in result["spread"].values() if value is not None)


class TestCurves:
    def test_many_rules_each_in_a_look_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib.axes import Axes

        looks = []
        plot = Axes.plot

        def watched(self: Axes, *args: Any, **look: Any) -> Any:
            looks.append((look["label"], look["color"], look["linestyle"]))
            return plot(self, *args, **look)

        monkeypatch.setattr(Axes, "plot", watched)
        runs = [a_run(0.5, [2.0, math.inf, math.nan]), a_run(0.25, [2.0, 0.1, 0.1])]  # the first diverged
        report = a_report(*[runs] * 16)
        report["data"]["name"] = "cost_in_$_and_^{.csv"  # no formula
        targets.time_to_target(report, 0.5, 2.0)
        picture.curves(report, tmp_path / "many.png")
        assert is_png(tmp_path / "many.png")
        assert len(looks) == 32
        assert len({look[1:] for look in looks}) == len(set(looks)) == 16
        picture.curves(report | {"rows": []}, tmp_path / "none.png")

    def test_dots_and_lines_are_explained_above_and_no_words_hide_curves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from matplotlib.figure import Figure

        figures: list[Figure] = []
        monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
        report = a_report([a_run(0.5, [2.0, 0.4, 0.3])] * 2)
        targets.time_to_target(report, 0.5, 2.0)
        picture.curves(report, tmp_path / "a.png")
        (figure,) = figures
        words = figure.get_suptitle()
        for said in ("mean cross-entropy, nats", "Dotted line: 0.5, by which rules are timed", "dots: where a rule reaches it"):
            assert said in words
        assert all(not axes.texts for axes in figure.axes)
        figure.draw_without_rendering()
        assert figure.bbox.x0 <= figure._suptitle.get_window_extent().x0  # type: ignore[attr-defined]  # it fits the width
