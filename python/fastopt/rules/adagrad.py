"""Adagrad."""

from .hyperparameters import Hyperparameter, eps, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

ADAGRAD = Rule(
    name="Adagrad",
    arithmetic="adagrad",
    summary="Adagrad: divides by the root of the sum of all squared gradients.",
    paper="Duchi, Hazan & Singer, Journal of Machine Learning Research 12 (2011) 2121-2159",
    formula="s += g*g; p -= lr/(1 + (t-1)*lr_decay) * g/(sqrt(s) + eps)",
    hyperparameters=(
        lr(1e-2),
        Hyperparameter("lr_decay", 0.0, "lr falls as 1 / (1 + (t-1)*lr_decay)", "[0, inf)"),
        weight_decay(0.0),
        Hyperparameter("initial_accumulator_value", 0.0, "the accumulator's first value (Keras, optax: 0.1)", "[0, inf)"),
        eps(1e-10),
    ),
    keyword_only=(
        flag("eps_in_root", False, "sqrt(sum + eps) instead of sqrt(sum) + eps (Keras, optax); no update where the sum is 0"),
    ),
    slots=(Slot("sum", "non-negative", "sum of squared gradients", "initial_accumulator_value"),),
    variants=(Variant("plain", ("sum",)),),
    scalars={
        "step_size": "lr / (1 + (t - 1) * lr_decay)",
        "inside_root": "where(eps_in_root, eps, 0)",
        "outside_root": "where(eps_in_root, 0, eps)",
        "no_update_at": "where(eps_in_root, 0, -1)",
    },
    example="lr=1.0",
    forms=(
        Form("torch, textbook", "s += g*g; p -= lr/(1 + (t-1)*lr_decay) * g/(sqrt(s) + eps)", {"lr": 1e-2}),
        Form(
            "Keras, TensorFlow",
            "s from 0.1; p -= lr*g/sqrt(s + eps)",
            {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_root": True},
        ),
        Form(
            "optax",
            "the same; no update where s = 0",
            {"lr": 1e-2, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_root": True},
        ),
    ),
)
