"""Adamax."""

from .hyperparameters import betas, eps, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

ADAMAX = Rule(
    name="Adamax",
    arithmetic="adamax",
    summary="Adamax: steps by the average gradient over a decaying maximum of the gradient's size.",
    paper="Kingma & Ba, arXiv:1412.6980, section 7.1",
    formula="m += (1-b1)*(g-m); u = max(b2*u, abs(g) + eps); p -= lr/(1-b1^t) * m/u",
    hyperparameters=(
        lr(2e-3),
        betas(0.999, "decay of the average gradient and of the maximum"),
        eps(1e-8),
        weight_decay(0.0),
    ),
    keyword_only=(
        flag("eps_in_max", True, "u = max(b2*u, abs(g) + eps) (torch); False: eps is added to u where it divides (Keras)"),
    ),
    slots=(
        Slot("exp_avg", "signed", "average gradient m"),
        Slot("exp_inf", "non-negative", "decaying maximum u"),
    ),
    variants=(Variant("plain", ("exp_avg", "exp_inf")),),
    scalars={
        "gain1": "1 - beta1",
        "decay2": "beta2",
        "step_size": "lr / (1 - power(beta1, t))",
        "inside_max": "where(eps_in_max, eps, 0)",
        "outside_max": "where(eps_in_max, 0, eps)",
    },
    forms=(
        Form("torch, optax", "u = max(b2*u, abs(g) + eps); p -= lr/bc1 * m/u", {"lr": 2e-3}),
        Form(
            "Keras, TensorFlow",
            "u = max(b2*u, abs(g)); p -= lr/bc1 * m/(u + eps)",
            {"lr": 1e-3, "eps": 1e-7, "eps_in_max": False},
        ),
        Form("textbook", "u = max(b2*u, abs(g)); p -= lr/bc1 * m/(u + eps)", {"lr": 2e-3, "eps_in_max": False}),
    ),
)
