"""The row of crowded.h."""

from rules.hyperparameters import Hyperparameter, lr
from rules.rule import Rule, Running, Slot, Variant

SLOTS = ("average", "square", "half", "size", "total", "largest")

RULE = Rule(
    name="Crowded",
    arithmetic="crowded",
    summary="As many slots and running scalars as there is room for.",
    paper="",
    formula="p -= step_size * (average + half + total)/(sqrt(square) + size + largest + 1)",
    hyperparameters=(lr(0.1), Hyperparameter("beta", 0.75, "decay of the averages", "[0, 1)")),
    slots=tuple(Slot(name, "non-negative" if i % 2 else "signed", name) for i, name in enumerate(SLOTS)),
    running=tuple(Running(name, name, "[0, inf)", 1.0) for name in ("product", "count", "sum", "last")),
    variants=(Variant("plain", SLOTS),),
    scalars={
        "gain": "1 - beta",
        "decay": "beta",
        "product": "where(t == 1, 1, product) * beta",
        "count": "where(t == 1, 0, count) + 1",
        "sum": "where(t == 1, 0, sum) + product",
        "last": "where(t == 1, 0, last) * 0.5 + count",
        "step_size": "lr * sum / (count * last)",
    },
    forms=(),
)
