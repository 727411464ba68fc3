"""NAdam."""

import sys

from .hyperparameters import Constant, Hyperparameter, betas, decoupled, eps, lr, weight_decay
from .rule import Form, Rule, Running, Slot, Variant


def schedule_decay(momentum_decay: float | None) -> float:
    """The decay as expressions know it: 0 stands for None alone, so a power that underflows becomes float64's least normal
    number.
    """
    return 0.0 if momentum_decay is None else max(0.96**momentum_decay, sys.float_info.min)


NADAM = Rule(
    name="NAdam",
    arithmetic="nadam",
    summary="NAdam: Adam with Nesterov's momentum, whose weight mu grows with the steps.",
    paper="Dozat, Incorporating Nesterov momentum into Adam, ICLR 2016 workshop",
    formula=(
        "mu_t = b1*(1 - 0.5*0.96^(t*momentum_decay)), P_t = mu_1*...*mu_t; m += (1-b1)*(g-m); v = b2*v + (1-b2)*g*g; "
        "p -= lr * (mu_{t+1}*m/(1 - P_{t+1}) + (1 - mu_t)*g/(1 - P_t))/(sqrt(v/(1-b2^t)) + eps)"
    ),
    hyperparameters=(
        lr(2e-3),
        betas(0.999, "decay of the averages of gradient and squared gradient"),
        eps(1e-8),
        weight_decay(0.0),
        Hyperparameter(
            "momentum_decay",
            4e-3,
            "how fast mu grows to b1 (Keras, TensorFlow: 1); None: no schedule, mu = b1",
            "[0, inf)",
            constant=Constant("schedule_decay", "0.96^momentum_decay, 0 for None", schedule_decay),
            optional=True,
        ),
        decoupled(False),
    ),
    keyword_only=(
        Hyperparameter("eps_root", 0.0, "added inside the root, to the bias-corrected v (optax)", "[0, inf)"),
        Hyperparameter(
            "lookahead_correction",
            "next",
            'without a schedule, what undoes the start from 0: "next" divides m by 1 - b1^(t+1) and g by 1 - b1^t (Dozat, optax), '
            '"same" both by 1 - b1^t (Ruder), "momentum only" m by 1 - b1^t and g not at all (many texts)',
            choices=("next", "same", "momentum only"),
        ),
    ),
    slots=(
        Slot("exp_avg", "signed", "average gradient m"),
        Slot("exp_avg_sq", "non-negative", "average squared gradient v"),
    ),
    running=(Running("mu_product", "product of mu over the steps so far", "[0, 1]", 1.0),),
    variants=(Variant("plain", ("exp_avg", "exp_avg_sq")),),
    scalars={
        "gain1": "1 - beta1",
        "decay2": "beta2",
        "gain2": "1 - beta2",
        "correction2": "1 / (1 - power(beta2, t))",
        "mu": "beta1 * (1 - 0.5 * power(schedule_decay, t))",
        "mu_next": "beta1 * (1 - 0.5 * power(schedule_decay, t + 1))",
        "mu_product": "where(t == 1, 1, mu_product) * mu",
        # Without a schedule a power takes the product's place, so that betas may change between steps.
        "product": "where(schedule_decay == 0, power(beta1, t), mu_product)",
        "next_product": 'where(lookahead_correction == "next", product * mu_next, product)',
        "momentum_step": "lr * mu_next / (1 - next_product)",
        "gradient_step": 'lr * (1 - mu) / where(lookahead_correction == "momentum only", 1, 1 - product)',
        "inside_root": "eps_root",
        "outside_root": "eps",
    },
    requires=(
        (
            'where(lookahead_correction == "next", 1, schedule_decay == 0)',
            'lookahead_correction other than "next" needs momentum_decay=None',
        ),
    ),
    forms=(
        Form("torch", "mu_t = b1*(1 - 0.5*0.96^(0.004*t)) and its running product", {"lr": 2e-3}),
        Form("Keras, TensorFlow", "mu_t = b1*(1 - 0.5*0.96^t)", {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0}),
        Form(
            "optax nadam",
            "p -= lr * (b1*m/(1-b1^(t+1)) + (1-b1)*g/bc1)/(sqrt(v^ + eps_root) + eps)",
            {"lr": 1e-3, "momentum_decay": None},
        ),
        Form(
            "optax nadamw",
            "p -= lr*(u + wd*p), u as optax's nadam",
            {"lr": 1e-3, "momentum_decay": None, "weight_decay": 1e-4, "decoupled_weight_decay": True},
        ),
        Form(
            "textbook (Ruder)",
            "p -= lr * (b1*m^ + (1-b1)*g/bc1)/(sqrt(v^) + eps)",
            {"lr": 2e-3, "momentum_decay": None, "lookahead_correction": "same"},
        ),
        Form(
            "textbook, g uncorrected",
            "p -= lr * (b1*m^ + (1-b1)*g)/(sqrt(v^) + eps)",
            {"lr": 2e-3, "momentum_decay": None, "lookahead_correction": "momentum only"},
        ),
    ),
)
