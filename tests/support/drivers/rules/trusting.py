"""The row of trusting.h."""

from rules.hyperparameters import Hyperparameter, lr
from rules.rule import Rule, Slot, Variant

RULE = Rule(
    name="Trusting",
    arithmetic="trusting",
    summary="A step by the norms of each tensor.",
    paper="",
    formula="m = beta*m + (1-beta)*g; p -= lr * trust*|p|/|m| * m",
    hyperparameters=(
        lr(0.1),
        Hyperparameter("beta", 0.75, "decay of the average gradient", "[0, 1)"),
        Hyperparameter("trust", 0.01, "length of a step as a share of the parameter's", "(0, inf)"),
    ),
    slots=(Slot("buffer", "signed", "average gradient"),),
    variants=(Variant("plain", ("buffer",)),),
    scalars={"gain": "1 - beta", "step_size": "lr"},
    factor="where(direction_norm == 0, 1, trust * param_norm / direction_norm)",
    forms=(),
)
