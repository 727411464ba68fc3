"""Adam, AdamW and AMSGrad: one arithmetic."""

import dataclasses

from .hyperparameters import Hyperparameter, betas, decoupled, eps, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

ADAM = Rule(
    name="Adam",
    arithmetic="adam",
    summary="Adam: steps by the average gradient over the root of the average squared gradient.",
    paper="Kingma & Ba, arXiv:1412.6980; AMSGrad: Reddi et al., arXiv:1904.09237",
    formula="m += (1-b1)*(g-m); v = b2*v + (1-b2)*g*g; p -= lr/(1-b1^t) * m/(sqrt(v/(1-b2^t)) + eps)",
    hyperparameters=(
        lr(1e-3),
        betas(0.999, "decay of the averages of gradient and squared gradient"),
        eps(1e-8),
        weight_decay(0.0),
        Hyperparameter(
            "amsgrad",
            False,
            'divide by the largest v so far: True compares v as it is (torch, Keras), "corrected" its bias-corrected value (optax)',
            choices=(False, True, "corrected"),
        ),
    ),
    keyword_only=(
        Hyperparameter("eps_root", 0.0, "added inside the root, to the bias-corrected v (optax)", "[0, inf)"),
        flag(
            "eps_hat",
            False,
            'eps is added to the root before its bias correction: the paper\'s "epsilon hat" (Keras, TensorFlow)',
        ),
    ),
    slots=(
        Slot("exp_avg", "signed", "average gradient m"),
        Slot("exp_avg_sq", "non-negative", "average squared gradient v"),
        Slot("max_exp_avg_sq", "non-negative", "largest v so far (amsgrad)"),
    ),
    variants=(
        Variant("plain", ("exp_avg", "exp_avg_sq"), "amsgrad == False"),
        Variant("amsgrad", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")),
    ),
    scalars={
        "gain1": "1 - beta1",
        "decay2": "beta2",
        "gain2": "1 - beta2",
        "step_size": "lr / (1 - power(beta1, t))",
        "correction2": "1 / (1 - power(beta2, t))",
        "max_scale": 'where(amsgrad == "corrected", correction2, 1)',
        "root_scale": 'where(amsgrad == "corrected", 1, correction2)',
        "inside_root": "eps_root",
        "outside_root": "where(eps_hat, eps * sqrt(correction2), eps)",
    },
    forms=(
        Form("torch", "p -= lr/bc1 * m/(sqrt(v)/sqrt(bc2) + eps)", {"lr": 1e-3}),
        Form("Keras, TensorFlow", "p -= lr*sqrt(bc2)/bc1 * m/(sqrt(v) + eps)", {"lr": 1e-3, "eps": 1e-7, "eps_hat": True}),
        Form("optax adam, textbook", "p -= lr * m^/(sqrt(v^) + eps)", {"lr": 1e-3}),
        Form("optax adam, eps_root", "p -= lr * m^/(sqrt(v^ + eps_root) + eps)", {"lr": 1e-3, "eps_root": 1e-8}),
        Form("torch, AMSGrad", "divides by the root of the largest v", {"lr": 1e-3, "amsgrad": True}),
        Form("Keras, AMSGrad", "the same, eps before bc2", {"lr": 1e-3, "amsgrad": True, "eps": 1e-7, "eps_hat": True}),
        Form("optax amsgrad", "divides by the root of the largest v^", {"lr": 1e-3, "amsgrad": "corrected"}),
    ),
)

ADAMW = dataclasses.replace(
    ADAM,
    name="AdamW",
    summary="Adam with decoupled weight decay.",
    paper="Loshchilov & Hutter, arXiv:1711.05101; AMSGrad: Reddi et al., arXiv:1904.09237",
    formula=f"p *= 1 - lr*weight_decay; {ADAM.formula}",
    hyperparameters=tuple(weight_decay(1e-2) if h.name == "weight_decay" else h for h in ADAM.hyperparameters),
    keyword_only=(*ADAM.keyword_only, decoupled(True)),
    forms=(
        Form("torch", "p *= 1 - lr*wd, then torch's Adam", {"lr": 1e-3, "weight_decay": 1e-2}),
        Form(
            "Keras",
            "p *= 1 - lr*wd, then Keras' Adam",
            {"lr": 1e-3, "weight_decay": 0.004, "eps": 1e-7, "eps_hat": True},
        ),
        Form(
            "optax adamw", "p -= lr*(u + wd*p), u as optax's adam: the same but for rounding", {"lr": 1e-3, "weight_decay": 1e-4}
        ),
    ),
)
