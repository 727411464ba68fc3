"""The figures of the page that `compare --html` writes: a chart, its title and what it shows."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

from . import charts
from .svg import chart

__all__ = ["figures"]

Report = dict[str, Any]

SWITCH = (
    '<div class="switch" role="radiogroup" aria-label="Training loss by">'
    '<input type="radio" name="by" id="by-steps" checked><label for="by-steps">steps</label>'
    '<input type="radio" name="by" id="by-seconds"><label for="by-seconds">seconds</label></div>'
)


def figures(report: Report) -> str:
    """All figures."""
    names = {str(i): row["rule"] for i, row in enumerate(report["rows"])}
    bands = "Lines: means; bands: all runs. " if len(report["seeds"]) > 1 else ""
    losses = [
        chart(
            f"loss-{label}",
            "Training loss",
            f"Mean training loss of each rule by {label}, on a logarithmic scale.",
            partial(charts.loss, report=report, by=by),
            names,
            unit="loss",
        )
        for by, label in (("step", "steps"), ("seconds", "seconds"))
    ]
    accuracies = chart(
        "accuracy",
        "Test accuracy",
        "Test accuracy of each rule by epochs.",
        partial(charts.accuracy, report=report),
        names,
        unit="accuracy",
    )
    search = chart(
        "search",
        "Search of the learning rate",
        "Validation loss after training at each learning rate that was tried, for each rule, both on logarithmic scales.",
        partial(charts.search, report=report),
        names,
        unit="validation loss",
    )
    dots = chart(
        "dots",
        "Test accuracy of each run",
        "A dot for each run of each rule, and a bar at their mean.",
        partial(charts.spread, report=report),
        names,
        rows=len(names),
    )
    return "\n".join(
        [
            figure(
                "Training loss",
                "".join(losses),
                f"Mean cross-entropy of training samples, nats. {bands}"
                "Seconds: steps times the median time of an iteration, which has the gradient and the step.",
                SWITCH,
            ),
            figure("Test accuracy", accuracies, f"Share of the test samples that are classified right. {bands}".strip()),
            figure(
                "How much the learning rate matters",
                search,
                f"Loss on held-out training samples after each of the {report['trials']} trials of a rule, the worst of "
                f"{report['runs_of_a_trial']} runs; a wide valley is easy to tune. What leaves the chart at the top learned nothing.",
            ),
            figure(
                "Spread of the test accuracy",
                dots,
                "A dot: one run at the end of its training; a bar: the mean of a rule's runs.",
            ),
        ]
    )


def figure(title: str, drawn: str, caption: str, switch: str = "") -> str:
    return f'<figure><div class="head"><h2>{escape(title)}</h2>{switch}</div>{drawn}<figcaption>{escape(caption)}</figcaption></figure>'
