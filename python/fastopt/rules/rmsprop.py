"""RMSprop."""

from .hyperparameters import Constant, Hyperparameter, eps, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant


def least_share(variance_floor: float | None) -> float:
    return -1.0 if variance_floor is None else variance_floor


RMSPROP = Rule(
    name="RMSprop",
    arithmetic="rmsprop",
    summary="RMSprop: divides by the root of the average squared gradient, or by the gradient's standard deviation.",
    paper="Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5 (2012); centered: Graves, arXiv:1308.0850",
    formula=(
        "v = alpha*v + (1-alpha)*g*g; d = g/(sqrt(v) + eps), centered: d = g/(sqrt(v - a*a) + eps) with a += (1-alpha)*(g-a); "
        "p -= lr*d, with momentum: b = momentum*b + d; p -= lr*b"
    ),
    hyperparameters=(
        lr(1e-2),
        Hyperparameter("alpha", 0.99, "decay of the averages", "[0, 1)"),
        eps(1e-8),
        weight_decay(0.0),
        Hyperparameter("momentum", 0.0, "decay of the momentum buffer; 0: no buffer", "[0, inf)"),
        flag(
            "centered",
            False,
            "divide by the standard deviation; the variance v - a*a is held at `variance_floor` of v or above (torch's rounds to 0 or "
            "below under a nearly constant gradient: its steps run away or are NaN); switched on late, the average gradient starts at "
            "the value it was left with",
        ),
    ),
    keyword_only=(
        flag("eps_in_root", False, "sqrt(v + eps) instead of sqrt(v) + eps (Keras, TensorFlow, optax, textbooks)"),
        Hyperparameter(
            "variance_floor",
            None,
            "centered: the variance v - a*a is held at this share of v or above; None: at the least share that the averages' format "
            "can tell from 0 (2^-23 for float32, 2^-52 for float64, 2^-7 for bfloat16, 1/4 for 8bit)",
            "[0, 1)",
            constant=Constant(
                "least_share",
                "variance_floor, -1 for None (the resolution of the arithmetic's dtype)",
                least_share,
            ),
            optional=True,
        ),
        flag("lr_in_momentum", False, "the buffer sums lr*d instead of d (Keras, TensorFlow, optax)"),
    ),
    slots=(
        Slot("square_avg", "non-negative", "average squared gradient v"),
        Slot("grad_avg", "signed", "average gradient a (centered)"),
        Slot("momentum_buffer", "signed", "decayed sum of the divided gradients (momentum)"),
    ),
    variants=(
        Variant("plain", ("square_avg",), "momentum == 0 and centered == False"),
        Variant("heavy_ball", ("square_avg", "momentum_buffer"), "centered == False"),
        Variant("centered", ("square_avg", "grad_avg"), "momentum == 0"),
        Variant("centered_heavy_ball", ("square_avg", "grad_avg", "momentum_buffer")),
    ),
    scalars={
        "decay": "alpha",
        "gain": "1 - alpha",
        "inside_root": "where(eps_in_root, eps, 0)",
        "outside_root": "where(eps_in_root, 0, eps)",
        "step_size": "lr",
        "variance_share": "least_share",
        "buffer_decay": "momentum",
        "buffer_gain": "where(lr_in_momentum, lr, 1)",
        "buffer_step": "where(lr_in_momentum, 1, lr)",
    },
    requires=(("where(lr_in_momentum, momentum > 0, 1)", "lr_in_momentum=True needs momentum > 0"),),
    forms=(
        Form("torch", "p -= lr * g/(sqrt(v) + eps)", {"lr": 1e-2}),
        Form("torch, momentum", "b = mu*b + g/(sqrt(v) + eps); p -= lr*b", {"lr": 1e-2, "momentum": 0.9}),
        Form(
            "torch, centered",
            "b = mu*b + g/(sqrt(v - a*a) + eps); p -= lr*b",
            {"lr": 1e-2, "momentum": 0.9, "centered": True},
        ),
        Form("Keras, TensorFlow", "p -= lr * g/sqrt(v + eps)", {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_in_root": True}),
        Form(
            "Keras, TensorFlow, momentum and centered",
            "b = mu*b + lr*g/sqrt(v - a*a + eps); p -= b",
            {
                "lr": 1e-3,
                "alpha": 0.9,
                "eps": 1e-7,
                "momentum": 0.9,
                "centered": True,
                "eps_in_root": True,
                "lr_in_momentum": True,
            },
        ),
        Form("optax rmsprop", "p -= lr * g/sqrt(v + eps)", {"lr": 1e-3, "alpha": 0.9, "eps_in_root": True}),
        Form(
            "optax rmsprop, momentum and centered",
            "b = mu*b + lr*g/sqrt(v - a*a + eps); p -= b",
            {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9, "centered": True, "eps_in_root": True, "lr_in_momentum": True},
        ),
        Form("textbook", "s = b*s + (1-b)*g*g; p -= lr * g/sqrt(s + eps)", {"lr": 1e-3, "alpha": 0.9, "eps_in_root": True}),
    ),
)
