"""Adadelta."""

from .hyperparameters import Hyperparameter, eps, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

ADADELTA = Rule(
    name="Adadelta",
    arithmetic="adadelta",
    summary="Adadelta: steps by the gradient times the ratio of the roots of the average squared step and gradient.",
    paper="Zeiler, arXiv:1212.5701",
    formula="v = rho*v + (1-rho)*g*g; d = g * sqrt(a + eps)/sqrt(v + eps); a = rho*a + (1-rho)*d*d; p -= lr*d",
    hyperparameters=(
        lr(1.0),
        Hyperparameter("rho", 0.9, "decay of the averages", "[0, 1)"),
        eps(1e-6, "added inside both roots: it also sets how large the first steps are"),
        weight_decay(0.0),
    ),
    slots=(
        Slot("square_avg", "non-negative", "average squared gradient v"),
        Slot("acc_delta", "non-negative", "average squared step a"),
    ),
    variants=(Variant("plain", ("square_avg", "acc_delta")),),
    scalars={"decay": "rho", "gain": "1 - rho", "inside_root": "eps", "step_size": "lr"},
    example="lr=1.0, eps=1e-2",
    forms=(
        Form("torch", "p -= lr*d", {"lr": 1.0}),
        Form("Keras, TensorFlow", "the same", {"lr": 1e-3, "rho": 0.95, "eps": 1e-7}),
        Form("optax adadelta", "p -= lr*d (without an lr optax adds d)", {"lr": 1.0}),
        Form("textbook, without lr", "p -= d", {"rho": 0.95}),
    ),
)
