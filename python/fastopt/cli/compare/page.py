"""The page that `fastopt compare --html` writes: one file with table, curves, style and script, which asks for no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..palette import look
from ..words import duration, epochs, plural, seeds, threads
from .figures import figures
from .targets import CAP
from .terminal import often
from .training import WATCHED

__all__ = ["page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What the browser may load: nothing but what stands in the page."""

CLASSES = 20
"""Names of classes that are listed, at most."""


def page(report: dict[str, Any]) -> str:
    """The HTML document of a report of `fastopt compare`; whatever the user's data called anything is escaped."""
    folder = Path(__file__).parent
    title = f"{len(report['rows'])} rules on {report['data']['name']}" if len(report["rows"]) != 1 else title_of_one(report)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>fastopt compare: {escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{(folder / "page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead(report))}</p>
{tiles(report)}
<section aria-label="Curves">
{legend(report)}
<div class="charts">
{figures(report)}
</div>
</section>
<section aria-label="Table">
{table(report)}
</section>
<section class="method">
<h2>How it was done</h2>
{method(report)}
</section>
<section>
<h2>What was run</h2>
{facts(report)}
</section>
</main>
<script>
{(folder / "page.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def title_of_one(report: dict[str, Any]) -> str:
    return f"{report['rows'][0]['rule']} on {report['data']['name']}"


def lead(report: dict[str, Any]) -> str:
    data = report["data"]
    return (
        f"The same network with every rule, each at the learning rate that the same search chose: {epochs(report['epochs'])} of "
        f"{data['train']:,} samples in batches of {report['batch_size']:,}, tested on {plural(data['test'], 'other')}, "
        f"{seeds(report['seeds'])}. The most frequent class alone would score {majority(report)} in the test."
    )


def majority(report: dict[str, Any]) -> str:
    return f"{100 * report['data']['most_frequent']['test_share']:.1f}%"


def tiles(report: dict[str, Any]) -> str:
    """The first rule by accuracy, by steps and by the time to the target, each with those that are as good."""
    rows, target = report["rows"], f"{report['target_loss']['loss']:.3g}"
    best = [row for row in rows if math.isfinite(row["mean"]["test_accuracy"])]
    shown = []
    if best:
        row = max(best, key=lambda row: row["mean"]["test_accuracy"])
        accuracies = [(row["rule"], -row["mean"]["test_accuracy"], row["spread"]["test_accuracy"]) for row in best]
        shown.append(("Highest test accuracy", percent(row, "test_accuracy"), tied(accuracies)))
    there = [row for row in rows if row["to_target"]["reached"] == len(row["runs"])]
    if there:
        to_target = [(row["rule"], row["to_target"]) for row in there]
        steps = [(rule, float(round(timed["steps"])), 0.0) for rule, timed in to_target]
        seconds = [(rule, timed["seconds"], timed["spread"]["seconds"]) for rule, timed in to_target]
        fewest = min(timed["steps"] for _, timed in to_target)
        shown.append((f"Fewest steps to a training loss of {target}, at these rates", f"{fewest:,.0f}", tied(steps)))
        least = duration(min(value for _, value, _ in seconds))
        shown.append((f"Least training time to it, {len(there)} of {len(rows)} got there", least, tied(seconds)))
    items = (
        f'<div class="tile"><dt>{escape(what)}</dt><dd><strong>{escape(value)}</strong><small>{escape(rule)}</small></dd></div>'
        for what, value, rule in shown
    )
    return f'<dl class="tiles">{"".join(items)}</dl>'


def tied(values: Sequence[tuple[str, float, float | None]], most: int = 3) -> str:
    """The rule of the least value, and those that are as good by the larger standard deviation of the two."""
    first, best, spread = min(values, key=lambda each: each[1])
    near = [rule for rule, value, other in values if rule != first and value - best <= max(spread or 0.0, other or 0.0)]
    if not near:
        return first
    listed = ", ".join(near[:most]) + (f" and {len(near) - most} more" if len(near) > most else "")
    equal = all(value == best for rule, value, _ in values if rule in near)
    return f"{first}, {listed}" if equal else f"{first}; as good within the spread: {listed}"


def legend(report: dict[str, Any]) -> str:
    chips = (
        f'<button type="button" class="chip" data-s="{i}" aria-pressed="false">'
        f'<svg viewBox="0 0 26 10" aria-hidden="true" class="{look(i)}"><line x1="0" x2="26" y1="5" y2="5"/></svg>'
        f"{escape(row['rule'])}</button>"
        for i, row in enumerate(report["rows"])
    )
    return f'<div class="legend" role="group" aria-label="Rules to highlight">{"".join(chips)}</div>'


def percent(row: dict[str, Any], name: str) -> str:
    mean, spread = row["mean"][name], row["spread"][name]
    return f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}") + "%"


def table(report: dict[str, Any]) -> str:
    """The table, each of whose columns can be sorted by; `data-v` has what it is sorted by."""
    target = f"{report['target_loss']['loss']:.3g}"
    heads = (
        ("Rule", "ascending"),
        ("Learning\nrate", "ascending"),
        ("Training\naccuracy", "descending"),
        ("Test\naccuracy", "descending"),
        ("Test\nloss", "ascending"),
        (f"Steps to a\nloss of {target}", "ascending"),
        (f"Time to a\nloss of {target}", "ascending"),
        ("Runs that\nreached it", "descending"),
        ("Time of\na step", "ascending"),
    )
    head = "".join(
        f'<th scope="col" aria-sort="none" data-first="{first}"><button type="button" class="sort">{escape(text)}</button></th>'
        for text, first in heads
    )
    body = "".join(table_row(i, row) for i, row in enumerate(report["rows"]))
    means = "accuracies: mean ± sample standard deviation, steps and times: median; " if len(report["seeds"]) > 1 else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of the rules, which scrolls sideways">'
        f"<table><caption><span>Of {seeds(report['seeds'])}; {means}a click on a heading sorts.</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def table_row(i: int, row: dict[str, Any]) -> str:
    there, runs = row["to_target"], len(row["runs"])
    arguments = ", ".join(f"{name}={value!r}" for name, value in row["arguments"].items() if name != "lr")
    lr, loss = row["arguments"]["lr"], row["mean"]["test_loss"]
    mark = f'<svg class="swatch {look(i)}" viewBox="0 0 26 10" aria-hidden="true"><line x1="0" x2="26" y1="5" y2="5"/></svg>'
    spread = there["spread"]
    steps = "-" if there["steps"] is None else f"{there['steps']:,.0f}"
    seconds = "-" if there["seconds"] is None else duration(there["seconds"])
    cells = (
        (lr, f"{lr:.2g}", "end of the search" if row["lr_at_an_end"] else ""),
        (row["mean"]["train_accuracy"], percent(row, "train_accuracy"), ""),
        (row["mean"]["test_accuracy"], percent(row, "test_accuracy"), ""),
        (loss, f"{loss:.3g}", ""),
        (there["steps"], steps, "" if spread["steps"] is None else f"± {spread['steps']:,.0f}"),
        (there["seconds"], seconds, "" if spread["seconds"] is None else f"± {duration(spread['seconds'])}"),
        (there["reached"], f"{there['reached']} of {runs}", ""),
        (row["step_seconds"], duration(row["step_seconds"]), ""),
    )
    return (
        f'<tr data-s="{i}"><th scope="row" data-v="{escape(row["rule"])}">{mark}{escape(row["rule"])}'
        f"{f'<small>{escape(arguments)}</small>' if arguments else ''}</th>"
        + "".join(
            f'<td data-v="{sort_key(value)}">{escape(text)}{f"<small>{escape(more)}</small>" if more else ""}</td>'
            for value, text, more in cells
        )
        + "</tr>"
    )


def sort_key(value: float | None) -> str:
    """Nothing for what is missing or diverged, which is sorted last."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def method(report: dict[str, Any]) -> str:
    target = report["target_loss"]
    share = f"a twentieth of the loss of a guess by frequency, {target['guess']:.3g}"
    chosen = {
        "given": "named on the command line",
        "share": share,
        "reached": f"what three quarters of the rules, or all but one, reach in every run, as fewer reach {share}",
        "cap": f"{CAP:g} of the loss of a guess by frequency, {target['guess']:.3g}, since most rules do not learn more",
    }[target["chosen"]]
    paragraphs = (
        f"Learning rates: every rule gets the same search, {report['trials']} trials of {epochs(report['epochs'])} each: five powers of ten, then "
        f"a third and three times the best of them. A trial is {report['runs_of_a_trial']} runs with other seeds than the reported ones, and is "
        "judged by the worst of their losses at the end on a quarter of the training samples, held out; the test samples have no part in "
        "it. Other arguments are the defaults, or those that the table names. Where the end of the search is marked, a rate "
        "beyond it may be better.",
        "Runs: then the rule is trained on all training samples, once for each seed; all rules run with a seed before the next one. A "
        "seed gives all rules the same initial weights and the same batches. Features are standardised by the training samples.",
        f"Target: the training loss {target['loss']:.3g} ({chosen}), the same for all rules. The loss of up to {WATCHED:,} training samples is "
        f"looked at {often(report['looks'])} an epoch; a run is there when it is at most the target at two looks in succession, and the first of "
        "these counts. Medians are over the runs that got there.",
        "Steps and time to the target are those at the rates of the table, which were chosen for the validation loss at the end: another rate "
        "may get there sooner. The time is steps times the run's median time of an iteration, which has the gradient and the "
        "step, without the looks.",
        "Time of a step: the median of the optimizer's step() alone, without the gradient; the median of the runs' medians.",
    )
    return "".join(f"<p>{escape(text)}</p>" for text in paragraphs)


def facts(report: dict[str, Any]) -> str:
    data, config = report["data"], report["config"]
    classes = ", ".join(data["classes"][:CLASSES]) + (", ..." if len(data["classes"]) > CLASSES else "")
    items = (
        ("Command", report["command"]),
        (
            "Data",
            f"{data['name']}: {data['train']:,} training and {plural(data['test'], 'test sample')}, {plural(data['features'], 'feature')}",
        ),
        ("Classes", f"{len(data['classes'])}{'' if data['target'] is None else ' of ' + data['target']}: {classes}"),
        (
            "Network",
            f"{' - '.join(map(str, report['network']))}, ReLU and softmax, {report['parameters']:,} parameters in float32",
        ),
        (
            "Machine",
            f"{config['machine']['processor']}, {config['machine']['system']}, {threads(config['threads'])}, {config['isa']['active']}",
        ),
        ("Versions", f"fastopt {config['version']}, NumPy {config['numpy']}, Python {config['python']}"),
        ("Date", report["date"]),
    )
    shown = "".join(
        f"<dt>{escape(what)}</dt><dd>{f'<code>{escape(text)}</code>' if what == 'Command' else escape(text)}</dd>"
        for what, text in items
    )
    return f'<dl class="facts">{shown}</dl>'
