"""Names of arguments, options and attributes of optimizers."""

from __future__ import annotations

from .name import Name, Table

__all__ = ["ATTRIBUTES", "OPTIMIZERS", "STEP"]

ALL_TOGETHER = (
    "Keras' clipnorm clips each variable by itself, max_norm all together by their joint norm, as Keras' global_clipnorm does"
)
MOMENTUM_RULES = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")
DECAY = "lr=fastopt.schedules.inverse_time(lr, decay_rate={name})"

OPTIMIZERS: Table = (
    # The rate
    Name(("learning_rate",), "Keras, optax, scikit-learn", "lr"),
    Name(("learning_rate_init", "eta0"), "scikit-learn", "lr"),
    Name(("step_size", "stepsize", "eta", "learning_rate_fn"), "textbooks", "lr"),
    Name(("alpha",), "textbooks", "lr", "if it is the learning rate"),
    Name(("alpha",), "scikit-learn", "weight_decay", "if it is the L2 penalty"),
    Name(("schedule", "scheduler", "lr_schedule", "lr_scheduler"), "textbooks", "lr={name}", "lr takes a schedule too"),
    Name(("decay",), "Keras 2", DECAY, "if the rate is to fall"),
    Name(("decay",), "optax", "alpha", "if it is the decay of the average squared gradient", ("RMSprop",)),
    Name(("lr_decay",), "torch (Adagrad)", DECAY),
    Name(("warmup", "warmup_steps"), "optax", "lr=fastopt.schedules.constant(lr, warmup={name})"),
    Name(("power_t",), "scikit-learn", "lr=fastopt.schedules.inverse_sqrt(lr, timescale=1)", "This is power_t=0.5"),
    # Averages
    Name(("beta_1", "beta_2"), "Keras, scikit-learn", "betas=(beta_1, beta_2)"),
    Name(("b1", "b2"), "optax", "betas=(b1, b2)"),
    Name(("beta1", "beta2"), "textbooks", "betas=(beta1, beta2)"),
    Name(("rho", "decay_rate", "gamma", "beta", "beta_2", "beta2"), "Keras, textbooks", "alpha", rules=("RMSprop",)),
    Name(("alpha", "decay_rate", "gamma", "beta"), "textbooks", "rho", rules=("Adadelta",)),
    Name(("beta", "beta_1", "beta1", "mu"), "textbooks", "momentum", rules=("SGD",)),
    Name(("momentum",), "torch, Keras", "betas=(momentum, 0.999)", "The first of betas is the momentum", MOMENTUM_RULES),
    Name(("schedule_decay",), "Keras 2", "momentum_decay"),
    Name(("nesterovs_momentum",), "scikit-learn", "nesterov"),
    Name(
        ("nesterov", "nesterovs_momentum"),
        "optax, scikit-learn",
        "fastopt.NAdam(params, momentum_decay=None)",
        "This is optax's nadam",
        ("Adam", "AdamW", "Adamax", "RAdam"),
    ),
    Name(
        ("amsgrad",), "torch, Keras", "fastopt.Adam(params, amsgrad=True)", rules=("SGD", "Adamax", "NAdam", "RAdam", "RMSprop")
    ),
    # The denominator
    Name(("epsilon",), "Keras, scikit-learn", "eps"),
    Name(("eps_in_sqrt",), "optax", "eps_in_root"),
    Name(("eps_root",), "optax", "eps_in_root=True", "optax's eps_root is added inside the root, as eps then is"),
    Name(
        ("bias_correction",),
        "optax",
        "fastopt.Adam(params, betas=(0.0, alpha))",
        "This is RMSprop with a bias correction",
        ("RMSprop",),
    ),
    Name(("initial_scale",), "optax", note="The average squared gradient begins at 0", rules=("RMSprop",)),
    # Penalties
    Name(("weight_decay_rate", "wd"), "TensorFlow, textbooks", "weight_decay"),
    Name(("l2", "reg", "lambda_"), "textbooks", "weight_decay", "A penalty of weight_decay/2 * p**2 adds weight_decay*p to g"),
    Name(
        ("mask", "weight_decay_mask"),
        "optax",
        '[{"params": [w]}, {"params": [b], "weight_decay": 0.0}]',
        "Each group has a weight decay of its own",
    ),
    # Clipping and scaling
    Name(("clipnorm",), "Keras", "max_norm", ALL_TOGETHER),
    Name(("global_clipnorm",), "Keras", "max_norm"),
    Name(("clip_norm", "max_grad_norm", "gradient_clip_val", "grad_clip", "clip_grad_norm"), "elsewhere", "max_norm"),
    Name(("clipvalue", "clip_grad_value"), "Keras", "clip_value"),
    Name(("loss_scale_factor", "loss_scale"), "Keras", "grad_scale=1/{name}"),
    Name(("rescale_grad", "inv_scale", "scale"), "elsewhere", "grad_scale"),
    Name(
        ("gradient_accumulation_steps",),
        "Keras",
        "grad_scale=1/gradient_accumulation_steps",
        "Add the gradients up and step when the sum is complete",
    ),
    # Averages of the parameters
    Name(("use_ema",), "Keras", "ema_decay=ema_momentum", "opt.ema_params has the averages"),
    Name(("ema_momentum", "ema"), "Keras", "ema_decay"),
    Name(("ema_overwrite_frequency",), "Keras", note="Copy opt.ema_params into the parameters whenever you need it"),
    # Formats
    Name(("mu_dtype", "accumulator_dtype"), "optax", "state_dtype"),
    # Arrays
    Name(
        ("parameters", "param", "weights", "variables", "var_list", "trainable_variables", "model"),
        "torch, Keras, textbooks",
        "params",
    ),
    Name(("grad", "gradient", "gradients"), "textbooks", "grads"),
    # Arguments of the functions
    Name(("t", "iteration", "count"), "textbooks, optax", "step"),
    Name(("m", "mu"), "textbooks, optax", "exp_avg"),
    Name(("v", "nu"), "textbooks, optax", "exp_avg_sq"),
    Name(("velocity", "trace", "buf"), "textbooks, optax", "momentum_buffer"),
    # What needs no argument
    Name(("foreach", "fused"), "torch", note="Leave {name} out: every step is fused"),
    Name(("capturable",), "torch", note="Leave capturable out: every step on a GPU can be captured"),
    Name(("differentiable",), "torch", note="Leave differentiable out: a fused step leaves autograd no history"),
    Name(("jit_compile",), "Keras 2", note="Leave jit_compile out: the kernels are compiled"),
    Name(("device",), "elsewhere", note="Leave device out: a step runs where the arrays are"),
    Name(("name",), "Keras", note="Leave name out: optimizers have none"),
    Name(("maxiter", "max_iter", "steps", "epochs", "n_iter"), "SciPy, scikit-learn", "for _ in range({name}): opt.step(grads)"),
    Name(
        ("solver", "optimizer", "method"), "scikit-learn, SciPy", note="The class is the solver: fastopt.SGD, fastopt.AdamW, ..."
    ),
)
"""Arguments of the optimizers' classes and functions, keys of groups, options."""

STEP: Table = (
    Name(("lr", "learning_rate"), "elsewhere", "opt.lr = {name}", "The next step then has this rate"),
    Name(("closure",), "torch", "opt.step(grads)", "The steps of fastopt.torch's classes take a closure"),
    Name(("params", "variables"), "optax, Keras", "opt.step(grads)", "The optimizer has the parameters"),
)
"""Further arguments of `step`."""

ATTRIBUTES: Table = (
    Name(("learning_rate", "get_last_lr", "last_lr"), "Keras, torch", "opt.lr"),
    Name(("param_groups", "defaults", "get_config"), "torch, Keras", "opt.groups"),
    Name(("params", "parameters", "trainable_variables"), "elsewhere", 'opt.groups[0]["params"]'),
    Name(("apply_gradients", "apply", "update"), "Keras, optax", "opt.step(grads)"),
    Name(("minimize",), "Keras", "opt.step(grads)", "fastopt.minimize takes a function"),
    Name(("iterations", "step_count", "t"), "Keras", "opt.steps"),
    Name(("variables", "get_weights"), "Keras", "opt.state"),
    Name(("set_weights",), "Keras", "opt.load_state_dict(state_dict)"),
    Name(("zero_grad",), "torch", "opt.step(grads, zero_grad=True)", "This leaves zeros in the gradients, which are yours"),
    Name(("add_param_group",), "torch", "fastopt.AdamW(params)", "A new optimizer takes on new parameters"),
    Name(("ema", "average"), "elsewhere", "opt.ema_params"),
)
"""Attributes and methods of an optimizer."""
