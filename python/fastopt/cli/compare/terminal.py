"""What `fastopt compare` prints: a line on the data, the table, and what its columns mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import words
from ..words import duration, plural, printable
from .tasks import TASKS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["captions", "count", "data_line", "often", "rate", "table"]


def data_line(data: dict[str, Any]) -> str:
    """A line on what was read, so that a wrong column, task or number of classes shows."""
    of = "" if data["target"] is None else f" of {data['target']!r}"
    samples = f"{data['train'] + data['test']:,} samples"
    predicted = TASKS[data["task"]].predicts(data)
    return printable(f"{data['name']}: {samples}, {plural(data['features'], 'feature')}, {predicted}{of}")


def table(report: dict[str, Any]) -> Table:
    """The report as a table for the terminal, 80 columns wide at most."""
    from rich.box import HORIZONTALS
    from rich.table import Table
    from rich.text import Text

    data, task = report["data"], TASKS[report["data"]["task"]]
    epochs, tested = words.epochs(report["epochs"]), plural(data["test"], "other")
    title = f"{data['name']}: {epochs} of {data['train']:,} samples, tested on {tested}"
    shown = Table(title=Text(title), min_width=min(80, len(title)), box=HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
    target = f"{report['target_loss']['loss']:.3g}"
    for name in ("rule", "lr", *task.columns(), f"steps\nto {target}", f"time\nto {target}", "time of\na step"):
        shown.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    for row in report["rows"]:
        there, runs = row["to_target"], len(row["runs"])
        some = "" if there["reached"] in (0, runs) else f" {there['reached']}/{runs}"
        shown.add_row(
            row["rule"],
            rate(row["arguments"]["lr"]),
            *task.cells(row),
            "-" if there["steps"] is None else f"{count(there['steps'])}{some}",
            "-" if there["seconds"] is None else duration(there["seconds"]),
            duration(row["step_seconds"]),
        )
    return shown


def rate(lr: float) -> str:
    """Two digits: 0.0033, 3.3e-4."""
    text = f"{lr:.2g}"
    return (
        text if "e" not in text and len(text) <= 6 else f"{lr:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e+")
    )


def count(steps: float) -> str:
    """Steps in five characters: 523, 37500, 123k."""
    return f"{steps:.0f}" if steps < 99999.5 else f"{steps / 1e3:.0f}k"


def often(looks: int) -> str:
    """A number of times in words: once, 10 times."""
    return "once" if looks == 1 else "twice" if looks == 2 else f"{looks} times"


def captions(report: dict[str, Any]) -> list[str]:
    """What the columns mean, in lines of 80 columns at most."""
    several, seeds, data = len(report["seeds"]) > 1, len(report["seeds"]), report["data"]
    target, task = report["target_loss"], TASKS[data["task"]]
    lines = [
        f"lr: of {report['trials']}, the one whose worst of {report['runs_of_a_trial']} runs has the least loss at its end",
        "  on a held-out quarter of the training samples; the same search for each rule.",
        f"{task.caption(', mean ± sample standard deviation' if several else '')}, {words.seeds(report['seeds'])};",
        f"  {task.guessed(data)} in the test.",
        f"to {target['loss']:.3g}: until the training loss, seen {often(report['looks'])} an epoch, is that or less;",
        "  at these rates, which were not chosen for speed" + ("; medians." if several else "."),
        "time: steps times the median iteration; of a step: of opt.step() alone, median.",
    ]
    reached = [row["to_target"]["reached"] for row in report["rows"]]
    if max(reached, default=0) == 0:
        lines.append("-: no rule reached that loss; --target-loss names another loss.")
    elif min(reached) == 0:
        lines.append("-: not reached; --target-loss names another loss.")
    if target["chosen"] == "cap":
        lines.append(f"It is nine tenths of the loss of {task.guess}: most rules learned little.")
    if any(0 < each < seeds for each in reached):
        lines.append(f"1/{seeds}: of so many runs one reached it; the medians are of those that did.")
    ends = [row["rule"] for row in report["rows"] if row["lr_at_an_end"]]
    if ends:
        line = f"lr at the end of its search, one beyond may be better: {', '.join(ends)}."
        lines.append(line if len(line) <= 80 else f"lr at the end of its search, one beyond may be better: {len(ends)} rules.")
    return lines
