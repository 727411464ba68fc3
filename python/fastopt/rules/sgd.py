"""Stochastic gradient descent."""

from .hyperparameters import Hyperparameter, flag, lr, weight_decay
from .rule import Form, Rule, Slot, Variant

SGD = Rule(
    name="SGD",
    arithmetic="sgd",
    summary="Stochastic gradient descent, with momentum (Polyak) or Nesterov's accelerated gradient.",
    paper="Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013",
    formula="b = momentum*b + (1-dampening)*g; p -= lr*b, Nesterov: p -= lr*(g + momentum*b)",
    hyperparameters=(
        lr(1e-3),
        Hyperparameter("momentum", 0.0, "decay of the momentum buffer; 0: no buffer", "[0, inf)"),
        Hyperparameter("dampening", 0.0, "the buffer takes (1 - dampening) of each gradient", "[0, 1]"),
        weight_decay(0.0),
        flag("nesterov", False, "step along g + momentum*buffer instead of the buffer"),
    ),
    keyword_only=(
        Hyperparameter(
            "momentum_init",
            "gradient",
            'the buffer\'s first value: "gradient" is the whole first gradient (torch); "zero" is the first step of the recurrence '
            "from 0, which with dampening=momentum is the textbook average v = b*v + (1-b)*g",
            choices=("gradient", "zero"),
        ),
        flag(
            "lr_in_momentum",
            False,
            "the buffer sums lr*g instead of g (Keras, TensorFlow): a later lr acts on new gradients only",
        ),
    ),
    slots=(Slot("momentum_buffer", "signed", "decayed sum of gradients"),),
    variants=(
        Variant("plain", (), "momentum == 0"),
        Variant("accelerated", ("momentum_buffer",), "nesterov"),
        Variant("heavy_ball", ("momentum_buffer",)),
    ),
    scalars={
        "buffer_decay": 'where(t == 1 and momentum_init == "gradient", 0, momentum)',
        "buffer_gain": 'where(t == 1 and momentum_init == "gradient", 1, 1 - dampening) * where(lr_in_momentum, lr, 1)',
        "gradient_step": "lr",
        "buffer_step": "where(lr_in_momentum, 1, lr) * where(nesterov, momentum, 1)",
    },
    requires=(
        ("where(nesterov, momentum > 0 and dampening == 0, 1)", "nesterov=True needs momentum > 0 and dampening = 0"),
        ("where(lr_in_momentum, momentum > 0, 1)", "lr_in_momentum=True needs momentum > 0"),
    ),
    forms=(
        Form("gradient descent", "p -= lr*g", {"lr": 0.01}),
        Form(
            "torch, momentum",
            "b = mu*b + (1-damp)*g, at first b = g; p -= lr*b",
            {"lr": 0.01, "momentum": 0.9, "dampening": 0.1},
        ),
        Form("torch, Nesterov", "b = mu*b + g; p -= lr*(g + mu*b)", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
        Form(
            "Keras, TensorFlow, momentum",
            "m = mu*m - lr*g; p += m (momentum_buffer holds -m)",
            {"lr": 0.01, "momentum": 0.9, "lr_in_momentum": True},
        ),
        Form(
            "Keras, TensorFlow, Nesterov",
            "m = mu*m - lr*g; p += mu*m - lr*g",
            {"lr": 0.01, "momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
        ),
        Form("optax sgd (trace)", "s = g + mu*s; p -= lr*s", {"lr": 0.01, "momentum": 0.9}),
        Form("optax sgd, nesterov", "s = g + mu*s; p -= lr*(g + mu*s)", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
        Form(
            "textbook heavy ball (Polyak)",
            "p(t+1) = p(t) - lr*g + mu*(p(t) - p(t-1))",
            {"lr": 0.01, "momentum": 0.9, "lr_in_momentum": True},
        ),
        Form(
            "textbook momentum, optax ema(debias=False)",
            "v = b*v + (1-b)*g from v = 0; p -= lr*v",
            {"lr": 0.01, "momentum": 0.9, "dampening": 0.9, "momentum_init": "zero"},
        ),
    ),
)
