"""RAdam."""

from .hyperparameters import Hyperparameter, betas, decoupled, eps, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

RADAM = Rule(
    name="RAdam",
    arithmetic="radam",
    summary="RAdam: Adam that divides only after enough steps have settled the average squared gradient, then rectified.",
    paper="Liu et al., arXiv:1908.03265",
    formula=(
        "rho_inf = 2/(1-b2) - 1; rho = rho_inf - 2*t*b2^t/(1-b2^t); m, v as Adam's; rho > 5: p -= lr/(1-b1^t) * m * "
        "sqrt((rho-4)*(rho-2)*rho_inf/((rho_inf-4)*(rho_inf-2)*rho)) * sqrt(1-b2^t)/(sqrt(v) + eps), else p -= lr/(1-b1^t) * m"
    ),
    hyperparameters=(
        lr(1e-3),
        betas(0.999, "decay of the averages of gradient and squared gradient"),
        eps(1e-8),
        weight_decay(0.0),
        decoupled(False),
    ),
    keyword_only=(
        flag("eps_hat", True, "eps is added to the root before its bias correction (torch); False: after it (optax)"),
        Hyperparameter("eps_root", 0.0, "added inside the root, to the bias-corrected v (optax)", "[0, inf)"),
        Hyperparameter("threshold", 5.0, "rho above which the step is divided", "[4, inf)"),
    ),
    slots=(
        Slot("exp_avg", "signed", "average gradient m"),
        Slot("exp_avg_sq", "non-negative", "average squared gradient v"),
    ),
    variants=(Variant("plain", ("exp_avg", "exp_avg_sq")),),
    scalars={
        "gain1": "1 - beta1",
        "decay2": "beta2",
        "gain2": "1 - beta2",
        "correction2": "1 / (1 - power(beta2, t))",
        "rho_inf": "2 / (1 - beta2) - 1",
        "rho": "rho_inf - 2 * t * power(beta2, t) * correction2",
        "rectified": "where(rho > threshold, 1, 0)",
        "numerator": "where(rectified == 1, (rho - 4) * (rho - 2) * rho_inf, 1)",
        "denominator": "where(rectified == 1, (rho_inf - 4) * (rho_inf - 2) * rho, 1)",
        "step_size": "lr / (1 - power(beta1, t)) * sqrt(numerator / denominator)",
        "inside_root": "eps_root",
        "outside_root": "where(eps_hat, eps * sqrt(correction2), eps)",
    },
    forms=(
        Form("torch", "divides by (sqrt(v) + eps)/sqrt(bc2) where rho > 5", {"lr": 1e-3}),
        Form(
            "optax radam", "divides by sqrt(v^ + eps_root) + eps where rho > 5 (optax: or is 5)", {"lr": 1e-3, "eps_hat": False}
        ),
    ),
)
