"""The page of `fastopt compare --html`: one file that asks for no other, with every rule, and with what users named escaped."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastopt.cli import compare, palette, words
from fastopt.cli.compare import charts, svg, targets
from fastopt.cli.compare import page as pages
from fastopt.cli.compare.tasks import CLASSIFICATION
from tests.support.cli import status

EMPTY = {"meta", "link", "input", "br", "img", "hr"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "formaction", "poster", "background", "cite", "ping"}
EVIL = "<script>alert('&\"')</script>"


class Page(HTMLParser):
    """A page's elements, with a check that each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.text[tag] = self.text.get(tag, "") + data + "\n"

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A page and its report, of data whose names would all be markup."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    codes = np.arange(80) % 2
    table = pd.DataFrame(rng.standard_normal((80, 2)) + codes[:, None], columns=["a", "b"])
    table[EVIL] = np.array([EVIL, "</style><b>"])[codes]
    source = folder / "<img src=x>&.csv"
    table.to_csv(source, index=False)
    output = folder / "page.html"
    argv = [str(source), "--epochs", "3", "--seeds", "2", "--hidden", "4", "--rules", "sgd,adam,lion", "--batch-size", "16"]
    with pytest.MonkeyPatch.context() as patch:
        reports: list[dict[str, Any]] = []
        page = pages.page
        patch.setattr(pages, "page", lambda report: reports.append(report) or page(report))
        assert compare_main(["compare", *argv, "--html", str(output)]) == 0
    return output.read_text(encoding="utf-8"), reports[0]


def compare_main(argv: list[str]) -> int:
    from fastopt.cli import main

    return main(argv)


def rewritten(report: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(report) | changes


class TestPage:
    def test_is_well_formed_and_names_every_rule(self, made: tuple[str, dict[str, Any]]) -> None:
        text, report = made
        page = Page(text)
        rules = [row["rule"] for row in report["rows"]]
        assert rules == ["SGD", "SGD momentum", "SGD Nesterov", "Adam", "Lion"]
        for tag in ("th", "button"):
            assert all(f"{rule}\n" in page.text[tag] for rule in rules)
        for chart in ("loss-steps", "loss-seconds", "score", "search"):
            part = text[text.index(f'<svg id="{chart}"') :].split("</svg>")[0]
            assert sorted(re.findall(r'data-name="([^"]*)"', part)) == sorted(rules)
        assert len([one for one in page.all("g") if "dots" in one.get("class", "")]) == len(rules)
        identifiers = [attributes["id"] for _, attributes in page.found if "id" in attributes]
        assert len(identifiers) == len(set(identifiers))

    def test_asks_for_nothing_else(self, made: tuple[str, dict[str, Any]]) -> None:
        text, _ = made
        page = Page(text)
        for tag, attributes in page.found:
            assert not any(name.startswith("on") for name in attributes)
            for name in LOADING & set(attributes):
                if tag == "use":
                    assert attributes[name].startswith("#")  # a marker in the page
                else:
                    assert (tag, attributes[name]) == ("link", "data:,"), (
                        tag,
                        name,
                    )  # an icon of nothing, or browsers ask for one
        assert not re.search(r"https?:|@import|\bfetch\b|XMLHttpRequest|WebSocket|\bimport\b", text)
        assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))
        policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none';")
        assert not {"iframe", "object", "embed", "img", "base", "form"} & {tag for tag, _ in page.found}

    def test_names_of_the_users_are_escaped(self, made: tuple[str, dict[str, Any]]) -> None:
        text, report = made
        assert (report["data"]["target"], set(report["data"]["classes"])) == (EVIL, {EVIL, "</style><b>"})
        page = Page(text)
        assert text.count("<script>") == text.count("</script>") == 1
        assert text.count("</style>") == 1
        assert {"img", "b"}.isdisjoint(tag for tag, _ in page.found)
        assert EVIL in page.text["dd"]
        assert "<img src=x>&.csv" in page.text["h1"]
        assert "<img src=x>&.csv" in page.text["code"]

    def test_can_be_read_without_seeing_and_on_a_phone(self, made: tuple[str, dict[str, Any]]) -> None:
        page = Page(made[0])
        assert page.all("html") == [{"lang": "en"}]
        assert page.all("meta")[1] == {"name": "viewport", "content": "width=device-width, initial-scale=1"}
        identifiers = {attributes["id"] for _, attributes in page.found if "id" in attributes}
        charts_shown = [one for one in page.all("svg") if one.get("role") == "img"]
        assert len(charts_shown) == 5
        for one in charts_shown:
            assert set(one["aria-labelledby"].split()) <= identifiers
        assert all("aria-hidden" in one or one["role"] == "img" for one in page.all("svg"))
        assert {one["scope"] for one in page.all("th")} == {"col", "row"}
        assert all(one.get("aria-sort") == "none" for one in page.all("th") if one["scope"] == "col")
        assert all(one["for"] in identifiers for one in page.all("label"))
        assert page.all("caption")

    def test_numbers_are_the_reports(self, made: tuple[str, dict[str, Any]]) -> None:
        text, report = made
        for row, line in zip(report["rows"], re.findall(r"<tr data-s=.*?</tr>", text), strict=True):
            values = re.findall(r'data-v="([^"]*)"', line)
            there = row["to_target"]
            expected = [
                row["arguments"]["lr"],
                *(row["mean"][name] for name in ("train_accuracy", "test_accuracy", "test_loss")),
                *(there[name] for name in ("steps", "seconds", "reached")),
                row["step_seconds"],
            ]
            assert values[0] == row["rule"]
            assert [float(value) if value else None for value in values[1:]] == expected
            assert words.duration(row["step_seconds"]) in line
        assert report["config"]["machine"]["processor"] in text
        assert report["date"] in text

    def test_what_diverged_is_left_out_of_the_curves(self, made: tuple[str, dict[str, Any]]) -> None:
        report = rewritten(made[1])
        worst = report["rows"][1]
        for run in worst["runs"]:
            run["curves"]["loss"]["train_loss"][1:] = [math.inf, *[math.nan] * (len(run["curves"]["loss"]["train_loss"]) - 2)]
            run |= {"test_loss": math.nan, "test_accuracy": 0.5}
        worst["mean"] |= {"test_loss": math.nan, "train_loss": math.nan}
        for trial in worst["trials"]:
            trial["validation_loss"] = math.nan
        targets.time_to_target(report, None, 0.69)
        text = pages.page(report)
        Page(text)
        coordinates = " ".join(re.findall(r'\b(?:d|x|y|transform)="([^"]*)"', text))
        assert "nan" not in coordinates
        assert "inf" not in coordinates

    def test_one_run_of_one_rule_for_one_epoch(self, made: tuple[str, dict[str, Any]]) -> None:
        report = rewritten(made[1], epochs=1, seeds=[0])
        report["rows"] = report["rows"][:1]
        row = report["rows"][0]
        row["runs"] = row["runs"][:1]
        row |= compare.summary(CLASSIFICATION, row["runs"])
        targets.time_to_target(report, 1e-9, 0.69)
        text = pages.page(report)
        Page(text)
        assert "<h1>SGD on" in text
        assert 'class="band"' not in text
        assert "±" not in text.split("<script>")[0].split("</style>")[1].replace("± sample", "")
        assert "0 of 1" in text
        assert "Fewest steps" not in text

    def test_accuracies_that_are_all_alike(self, made: tuple[str, dict[str, Any]]) -> None:
        for value in (0.0, 0.5, 1.0):
            report = rewritten(made[1])
            for row in report["rows"]:
                for run in row["runs"]:
                    run["test_accuracy"] = value
                    run["curves"]["test"]["test_accuracy"] = [value] * 4
                row.update(compare.summary(CLASSIFICATION, row["runs"]))
            Page(pages.page(report))

    def test_rules_that_are_as_good_are_named(self, made: tuple[str, dict[str, Any]]) -> None:
        report = rewritten(made[1])
        figures = [(40.2, 1.0, 0.2), (39.9, 1.1, 0.05), (39.6, 1.3, 0.05), (44.0, 1.15, None), (60.0, 9.0, 0.1)]
        for row, (steps, seconds, spread) in zip(report["rows"], figures, strict=True):
            row["to_target"] = {"reached": 2, "steps": steps, "seconds": seconds, "spread": {"steps": 1.0, "seconds": spread}}
        text = pages.tiles(report)
        assert "<strong>40</strong><small>SGD, SGD momentum, SGD Nesterov</small>" in text
        assert "<strong>1.00 s</strong><small>SGD; as good within the spread: SGD momentum, Adam</small>" in text
        assert pages.tied([("a", 1.0, None), ("b", 1.1, None)]) == "a"
        assert pages.tied([(name, 1.0, None) for name in "abcdef"]) == "a, b, c, d and 2 more"

    def test_says_by_what_the_rates_and_the_target_were_chosen(self, made: tuple[str, dict[str, Any]]) -> None:
        text, report = made
        assert "each at the learning rate that the same search chose" in text
        assert f"A trial is {report['runs_of_a_trial']} runs" in text
        assert f"{100 * report['data']['most_frequent']['test_share']:.1f}%" in text
        assert "another rate may get there sooner" in text
        report = rewritten(report)
        for row in report["rows"]:
            row["lr_at_an_end"] = row["rule"] == "Lion"
        for chosen, said in (
            ("given", "named on the command line"),
            ("share", "a twentieth"),
            ("reached", "all but one"),
            ("cap", "0.9 of the loss of a guess"),
        ):
            report["target_loss"]["chosen"] = chosen
            text = pages.page(report)
            assert said in text
        assert text.count("<small>end of the search</small>") == 1

    def test_the_search_shows_what_matters(self, made: tuple[str, dict[str, Any]]) -> None:
        report = rewritten(made[1])
        guess = report["target_loss"]["guess"]
        for i, row in enumerate(report["rows"]):
            for trial, loss in zip(row["trials"], (0.5, 0.3, 0.4, 5.0, 80.0, 900.0, math.nan), strict=True):
                trial["validation_loss"] = loss * (1 + i)
        high = charts.highest(report)
        assert high >= 400.0  # one of the rules' 80s, not all 900s
        assert high < 900.0 * 5
        for row in report["rows"]:
            for trial in row["trials"]:
                trial["validation_loss"] = math.inf
        assert charts.highest(report) == guess
        Page(pages.page(report))

    def test_many_classes_are_not_all_listed(self, made: tuple[str, dict[str, Any]]) -> None:
        report = rewritten(made[1])
        report["data"]["classes"] = [f"class {i}" for i in range(500)]
        text = pages.page(report)
        assert "class 19, ..." in text
        assert "class 20" not in text

    def test_is_utf_8_whatever_the_locale(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "Grüße.csv"
        path.write_text("größe,art\n" + "\n".join(f"{i},{'äöü'[i % 3]}" for i in range(60)), encoding="utf-8")
        argv = ["compare", str(path), "--epochs", "1", "--seeds", "1", "--rules", "adam", "--hidden", "0"]
        code, out, _ = status([*argv, "--html", str(tmp_path / "p.html"), "--json", str(tmp_path / "p.json")], capsys)
        assert code == 0
        assert f"Wrote {tmp_path / 'p.html'}" in out
        assert "Grüße.csv" in (tmp_path / "p.html").read_bytes().decode("utf-8")
        assert json.loads((tmp_path / "p.json").read_text())["data"]["classes"] == ["ä", "ö", "ü"]


def axes() -> Axes:
    return Figure().add_subplot()


def drawn(axes_of: Callable[[Axes], None]) -> str:
    """A chart of one rule, whose number is 0."""
    return svg.Chart("n", "t", "a", lambda axes, report: axes_of(axes)).svg({"rows": [{"rule": "a"}]})


def lines(x: Any, runs: Any, limits: tuple[float, float], log: bool = False) -> str:
    """A chart of these runs of one rule."""

    def draw(axes: Axes) -> None:
        charts.draw(axes, {"rows": [{"rule": "a"}]}, [np.asarray(x, float)], [np.asarray(runs, float)])
        axes.set(xlim=(x[0], x[-1]), ylim=limits)
        if log:
            charts.logarithmic(axes.yaxis)

    return drawn(draw)


def paths(text: str, kind: str) -> list[list[list[float]]]:
    """The pieces of the lines of a kind (series, band), each with its coordinates."""
    found = re.findall(rf'<g class="{kind}"[^>]*>\s*(?:<defs>)?\s*<path [^>]*?d="([^"]*)"', text)
    return [[[float(n) for n in re.findall(r"-?[\d.]+", piece)] for piece in path.split("M")[1:]] for path in found]


class TestCharts:
    @pytest.mark.parametrize("low", [1e-7, 3e-4, 0.02, 0.3, 1.0, 7.0])
    @pytest.mark.parametrize("factor", [1.5, 4, 30, 1e3, 1e6])
    @pytest.mark.parametrize("log", [False, True])
    def test_ticks_are_few_round_and_within(self, low: float, factor: float, log: bool) -> None:
        chart = axes()
        chart.set_ylim(low, low * factor)
        (charts.logarithmic if log else charts.linear)(chart.yaxis)
        assert chart.get_ylim() == (low, low * factor)
        ticks = [tick for tick in chart.get_yticks() if low * (1 - 1e-9) <= tick <= low * factor * (1 + 1e-9)]
        assert 1 <= len(ticks) <= 10
        assert ticks == sorted(ticks)
        for tick in ticks:
            assert float(f"{tick:.2g}") == pytest.approx(tick)

    def test_a_line_has_a_gap_where_a_run_diverged(self) -> None:
        nan, inf = math.nan, math.inf
        runs = [[nan, 1, 2, inf, 3, 4, 5, 6], [0, 0, 0, 0, nan, 0, 1, 1]]
        text = lines(range(8), runs, (0, 6))
        assert [len(piece) // 2 for (path,) in [paths(text, "series")] for piece in path] == [2, 3]
        assert "nan" not in text
        assert 'class="band"' in text
        assert 'class="band"' not in lines(range(8), runs[:1], (0, 6))
        assert paths(lines(range(3), [[nan] * 3], (0, 1)), "series") in ([], [[]])

    def test_32_rules_each_in_a_look_of_its_own(self) -> None:
        assert len({palette.look(i) for i in range(32)}) == 32

    def test_long_lines_are_thinned_and_keep_their_ends(self) -> None:
        ((points,),) = paths(lines(np.arange(5001), np.linspace(1, 0, 5001)[None], (0, 1)), "series")
        assert len(points) == 2 * charts.POINTS
        assert points[:2] == [svg.LEFT, svg.TOP]
        assert points[-2:] == [svg.WIDTH - svg.RIGHT, svg.HEIGHT - svg.BOTTOM]

    def test_values_far_outside_stay_near_the_chart(self) -> None:
        (line,) = paths(lines(range(3), [[1, 1e300, 1.5]], (1, 2), log=True), "series")
        assert all(abs(number) < 3 * svg.WIDTH for piece in line for number in piece)

    def test_colours_and_fonts_are_the_style_sheets(self) -> None:
        text = lines(range(3), [[0, 1, 2]], (0, 2))
        assert set(re.findall(r"var\(--(\w+)\)", text)) == {"c0", "muted", "grid"}
        assert not re.search(r"#[0-9a-f]{6}|font:|font-family|<style|xmlns", text)


class TestColours:
    """Contrast as WCAG 2 defines it: 4.5 for text, 3 for lines."""

    def themes(self) -> list[dict[str, str]]:
        style = (Path(pages.__file__).parent / "page.css").read_text()
        return [
            dict(re.findall(r"--([\w]+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\n\s*\}", style, re.DOTALL)
        ]

    def luminance(self, colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(self, one: str, other: str) -> float:
        bright, dim = sorted((self.luminance(one), self.luminance(other)), reverse=True)
        return (bright + 0.05) / (dim + 0.05)

    def test_pictures_and_light_pages_have_one_palette(self) -> None:
        light = self.themes()[0]
        assert tuple(light[f"c{i}"] for i in range(len(palette.COLOURS))) == palette.COLOURS

    @pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
    def test_contrast(self, theme: int) -> None:
        colours = self.themes()[theme]
        assert len([name for name in colours if re.fullmatch(r"c\d", name)]) == len(palette.COLOURS)
        for ground in ("ground", "paper", "mark"):
            for text in ("ink", "muted"):
                assert self.contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for i in range(len(palette.COLOURS)):
            assert self.contrast(colours[f"c{i}"], colours["paper"]) >= 3, i
        assert self.contrast(colours["accent"], colours["paper"]) >= 3
