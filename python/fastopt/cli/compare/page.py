"""The page that `fastopt compare --html` writes: page.html, filled in; one file with style and script, which asks for no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .. import words
from ..palette import look
from ..words import duration, epochs, plural, sentence
from . import charts
from .charts import task_of
from .svg import Chart
from .targets import CAP
from .tasks import REGRESSION, Task
from .terminal import often
from .training import WATCHED

__all__ = ["page"]

Report = dict[str, Any]

CLASSES = 20
"""Names of classes that are listed, at most."""


def charts_of(report: Report) -> tuple[Chart, ...]:
    """The page's charts, in the words of the report's task."""
    title = task_of(report).title
    loss = "Mean loss of each rule, on a logarithmic scale."
    tried = "Validation loss after training at each learning rate that was tried, for each rule, both on logarithmic scales."
    dots = "A dot for each run of each rule, and a bar at their mean."
    return (
        Chart("loss-steps", "Training loss by steps", loss, charts.loss, "loss"),
        Chart("loss-seconds", "Training loss by seconds", loss, partial(charts.loss, by="seconds"), "loss"),
        Chart("score", f"Test {title}", f"Test {title} of each rule by epochs.", charts.score, title),
        Chart("search", "Search of the learning rate", tried, charts.search, "validation loss"),
        Chart("dots", f"Test {title} of each run", dots, charts.spread, rows=True),
    )


def page(report: Report) -> str:
    """The HTML document of a report of `fastopt compare`; whatever the user's data called anything is escaped."""
    markup = {each.name.replace("-", "_"): each.svg(report) for each in charts_of(report)}
    markup |= {"tiles": tiles(report), "chips": chips(report), "heads": heads(report), "rows": table_rows(report)}
    markup |= {"style": read("page.css"), "script": read("page.js")}
    return Template(read("page.html")).substitute({name: escape(text) for name, text in texts(report).items()} | markup)


def read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def texts(report: Report) -> dict[str, str]:
    """What page.html has as text, by its names."""
    data, config, rows, target = report["data"], report["config"], report["rows"], report["target_loss"]
    task = task_of(report)
    several = len(report["seeds"]) > 1
    rules = rows[0]["rule"] if len(rows) == 1 else f"{len(rows)} rules"
    of = "" if data["target"] is None else f" of {data['target']}"
    listed = data.get("classes", [])
    classes = f": {', '.join(listed[:CLASSES])}{', ...' if len(listed) > CLASSES else ''}" if listed else ""
    share = f"a twentieth of the loss of {task.guess}, {target['guess']:.3g}"
    chosen = {
        "given": "named on the command line",
        "share": share,
        "reached": f"what three quarters of the rules, or all but one, reach in every run, as fewer reach {share}",
        "cap": f"{CAP:g} of the loss of {task.guess}, {target['guess']:.3g}, since most rules do not learn more",
    }[target["chosen"]]
    return {
        "title": f"{rules} on {data['name']}",
        "epochs": epochs(report["epochs"]),
        "batch_size": f"{report['batch_size']:,}",
        "seeds": words.seeds(report["seeds"]),
        "guessed": sentence(f"{task.guessed(data)} in the test"),
        "score_name": task.title,
        "score_words": task.about,
        "loss_words": sentence(task.loss),
        "layers": task.layers,
        "predicted": task.predicted,
        "bands": "Lines: means; bands: all runs. " if several else "",
        "means": "scores: mean ± sample standard deviation, steps and times: median; " if several else "",
        "trials": str(report["trials"]),
        "runs_of_a_trial": str(report["runs_of_a_trial"]),
        "target": f"{target['loss']:.3g} ({chosen})",
        "target_loss": f"{target['loss']:.3g}",
        "guess": task.guess,
        "guess_loss": f"{target['guess']:.3g}",
        "watched": f"{WATCHED:,}",
        "looks": often(report["looks"]),
        "command": report["command"],
        "data": data["name"],
        "train": f"{data['train']:,}",
        "others": plural(data["test"], "other"),
        "test": plural(data["test"], "test sample"),
        "features": plural(data["features"], "feature"),
        "classes": f"{task.predicts(data)}{of}{classes}",
        "network": " - ".join(map(str, report["network"])),
        "parameters": f"{report['parameters']:,}",
        "machine": f"{config['machine']['processor']}, {config['machine']['system']}",
        "threads": words.threads(config["threads"]),
        "isa": config["isa"]["active"],
        "version": config["version"],
        "numpy": config["numpy"],
        "python": config["python"],
        "date": report["date"],
    }


def tiles(report: Report) -> str:
    """The first rule by accuracy, by steps and by the time to the target, each with those that are as good."""
    rows, target, task = report["rows"], f"{report['target_loss']['loss']:.3g}", task_of(report)
    name = f"test_{task.score}"
    best = [row for row in rows if math.isfinite(row["mean"][name])]
    shown = []
    if best:
        row = max(best, key=lambda row: row["mean"][name])
        scores = [(row["rule"], -row["mean"][name], row["spread"][name]) for row in best]
        shown.append((f"Highest test {task.title}", task.shown(row, name), tied(scores)))
    there = [(row["rule"], row["to_target"]) for row in rows if row["to_target"]["reached"] == len(row["runs"])]
    if there:
        steps = [(rule, float(round(timed["steps"])), 0.0) for rule, timed in there]
        seconds = [(rule, timed["seconds"], timed["spread"]["seconds"]) for rule, timed in there]
        fewest = min(timed["steps"] for _, timed in there)
        shown.append((f"Fewest steps to a training loss of {target}, at these rates", f"{fewest:,.0f}", tied(steps)))
        least = duration(min(value for _, value, _ in seconds))
        shown.append((f"Least training time to it, {len(there)} of {len(rows)} got there", least, tied(seconds)))
    return "".join(
        f'<div class="tile"><dt>{escape(what)}</dt><dd><strong>{escape(value)}</strong><small>{escape(rule)}</small></dd></div>'
        for what, value, rule in shown
    )


def tied(values: Sequence[tuple[str, float, float | None]], most: int = 3) -> str:
    """The rule of the least value, and those that are as good by the larger standard deviation of the two."""
    first, best, spread = min(values, key=lambda each: each[1])
    near = [rule for rule, value, other in values if rule != first and value - best <= max(spread or 0.0, other or 0.0)]
    if not near:
        return first
    listed = ", ".join(near[:most]) + (f" and {len(near) - most} more" if len(near) > most else "")
    equal = all(value == best for rule, value, _ in values if rule in near)
    return f"{first}, {listed}" if equal else f"{first}; as good within the spread: {listed}"


def swatch(number: int) -> str:
    """A piece of the rule's line."""
    return f'<svg class="swatch {look(number)}" viewBox="0 0 26 10" aria-hidden="true"><line x1="0" x2="26" y1="5" y2="5"/></svg>'


def chips(report: Report) -> str:
    return "".join(
        f'<button type="button" class="chip" data-s="{i}" aria-pressed="false">{swatch(i)}{escape(row["rule"])}</button>'
        for i, row in enumerate(report["rows"])
    )


def heads(report: Report) -> str:
    """The headings of the table, each with the direction in which a first click sorts."""
    target, task = f"{report['target_loss']['loss']:.3g}", task_of(report)
    title = task.title
    names = (
        ("Rule", "ascending"),
        ("Learning\nrate", "ascending"),
        (f"Training\n{title}", "descending"),
        (f"Test\n{title}", "descending"),
        ("Test\nRMSE" if task is REGRESSION else "Test\nloss", "ascending"),
        (f"Steps to a\nloss of {target}", "ascending"),
        (f"Time to a\nloss of {target}", "ascending"),
        ("Runs that\nreached it", "descending"),
        ("Time of\na step", "ascending"),
    )
    return "".join(
        f'<th scope="col" aria-sort="none" data-first="{first}"><button type="button" class="sort">{escape(text)}</button></th>'
        for text, first in names
    )


def table_rows(report: Report) -> str:
    return "".join(table_row(i, row, task_of(report)) for i, row in enumerate(report["rows"]))


def table_row(i: int, row: dict[str, Any], task: Task) -> str:
    """A rule's row; `data-v` has what a click on a heading sorts by."""
    there, runs, spread = row["to_target"], len(row["runs"]), row["to_target"]["spread"]
    arguments = ", ".join(f"{name}={value!r}" for name, value in row["arguments"].items() if name != "lr")
    lr, loss = row["arguments"]["lr"], row["mean"]["test_rmse" if task is REGRESSION else "test_loss"]
    steps = "-" if there["steps"] is None else f"{there['steps']:,.0f}"
    seconds = "-" if there["seconds"] is None else duration(there["seconds"])
    cells = (
        (lr, f"{lr:.2g}", "end of the search" if row["lr_at_an_end"] else ""),
        *((row["mean"][name], task.shown(row, name), "") for name in (f"train_{task.score}", f"test_{task.score}")),
        (loss, f"{loss:.3g}", ""),
        (there["steps"], steps, "" if spread["steps"] is None else f"± {spread['steps']:,.0f}"),
        (there["seconds"], seconds, "" if spread["seconds"] is None else f"± {duration(spread['seconds'])}"),
        (there["reached"], f"{there['reached']} of {runs}", ""),
        (row["step_seconds"], duration(row["step_seconds"]), ""),
    )
    head = f'<th scope="row" data-v="{escape(row["rule"])}">{swatch(i)}{escape(row["rule"])}{small(arguments)}</th>'
    return (
        f'<tr data-s="{i}">{head}'
        + "".join(f'<td data-v="{sort_key(value)}">{escape(text)}{small(more)}</td>' for value, text, more in cells)
        + "</tr>"
    )


def small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def sort_key(value: float | None) -> str:
    """Nothing for what is missing or diverged, which is sorted last."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))
