"""Lion."""

from .hyperparameters import betas, decoupled, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

LION = Rule(
    name="Lion",
    arithmetic="lion",
    summary="Lion: steps by the sign of a blend of momentum and gradient, with decoupled weight decay.",
    paper="Chen et al., arXiv:2302.06675",
    formula="p *= 1 - lr*weight_decay; p -= lr*sign(b1*m + (1-b1)*g); m = b2*m + (1-b2)*g",
    hyperparameters=(
        lr(1e-4),
        betas(0.99, "weight of the momentum in the step, and its decay"),
        weight_decay(0.0),
    ),
    keyword_only=(decoupled(True),),
    slots=(Slot("exp_avg", "signed", "momentum m"),),
    variants=(Variant("plain", ("exp_avg",)),),
    scalars={"decay1": "beta1", "gain1": "1 - beta1", "gain2": "1 - beta2", "step_size": "lr"},
    forms=(
        Form("the paper", "p -= lr*(sign(b1*m + (1-b1)*g) + wd*p)", {"lr": 1e-4}),
        Form("Keras", "p *= 1 - lr*wd; p -= lr*sign(b1*m + (1-b1)*g)", {"lr": 1e-3}),
        Form("optax lion", "p -= lr*(sign(b1*m + (1-b1)*g) + wd*p)", {"lr": 1e-4, "weight_decay": 1e-3}),
    ),
)
