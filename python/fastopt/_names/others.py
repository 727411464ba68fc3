"""Names of arguments of schedules, of `minimize` and of the estimators."""

from __future__ import annotations

from .name import Name, Table

__all__ = ["ESTIMATORS", "MINIMIZE", "PLATEAU", "SCHEDULES"]

SCHEDULES: Table = (
    Name(("initial_learning_rate",), "Keras", "lr", "With a warmup_target it is warmup_start"),
    Name(("init_value",), "optax", "lr", "With a peak_value it is warmup_start"),
    Name(("warmup_target", "peak_value"), "Keras, optax", "lr"),
    Name(("learning_rate", "base_lr", "initial_lr", "max_lr"), "torch, textbooks", "lr"),
    Name(("lr", "learning_rate", "peak_value", "base_lr"), "optax", "max_lr"),
    Name(("T_max", "total_iters", "total_steps", "epochs"), "torch", "steps"),
    Name(("decay_steps",), "Keras, optax", "steps", "steps counts the warmup too, as optax's decay_steps does"),
    Name(("transition_steps",), "optax", "steps"),
    Name(("transition_steps",), "optax", "decay_steps"),
    Name(("num_training_steps", "max_steps", "num_steps"), "elsewhere", "steps"),
    Name(("step_size",), "torch", "decay_steps"),
    Name(("steps", "period", "epochs_drop", "drop_every"), "textbooks", "step_size"),
    Name(("eta_min", "min_lr"), "torch", "end"),
    Name(("end_learning_rate",), "Keras", "end"),
    Name(("end_value",), "optax", "end"),
    Name(("alpha",), "Keras, optax", "end=alpha*lr", "alpha is the share of lr at the end"),
    Name(("end_factor",), "torch", "end=end_factor*lr"),
    Name(("warmup_steps", "num_warmup_steps"), "Keras, optax", "warmup"),
    Name(("start_factor",), "torch", "warmup_start=start_factor*lr"),
    Name(("T_0",), "torch", "period"),
    Name(("first_decay_steps",), "Keras", "period"),
    Name(("T_mult",), "torch", "t_mul"),
    Name(("gamma", "drop", "rate"), "torch, textbooks", "decay_rate"),
    Name(("decay_rate", "factor", "drop"), "Keras, textbooks", "gamma"),
    Name(("power",), "torch", "exponent"),
    Name(("anneal_strategy",), "torch", "anneal"),
    Name(("boundaries_and_scales",), "optax", "fastopt.schedules.piecewise(boundaries, values)"),
    Name(("lr_lambda",), "torch", "lr=lr_lambda", "Any callable of the completed steps can be an optimizer's lr"),
    Name(("optimizer",), "torch", "fastopt.AdamW(params, lr=schedule)", "The optimizer takes the schedule"),
    Name(("cycle_momentum", "base_momentum", "max_momentum"), "torch", note="Momentum stays as it is: set it between steps"),
    Name(("last_epoch",), "torch", note="Leave last_epoch out: the optimizer counts the steps, and checkpoints keep the count"),
    Name(("name", "verbose"), "Keras, torch", note="Leave {name} out"),
)
"""Arguments of `fastopt.schedules`."""

PLATEAU: Table = (
    Name(("optimizer",), "torch", "fastopt.AdamW(params, lr=plateau)", "The optimizer takes the plateau"),
    Name(("monitor", "metric"), "Keras", "plateau.step({name})", "Each call of step takes the metric"),
    Name(("min_delta", "epsilon"), "Keras", 'threshold={name}, threshold_mode="abs"'),
    Name(("learning_rate", "schedule", "base_lr"), "textbooks", "lr"),
    Name(("min_learning_rate", "end", "eta_min"), "textbooks", "min_lr"),
    Name(("gamma", "decay_rate"), "textbooks", "factor"),
    Name(("verbose",), "Keras, torch", note="Leave verbose out: print opt.lr"),
)
"""Arguments of `fastopt.schedules.ReduceOnPlateau`."""

MINIMIZE: Table = (
    Name(("maxiter", "maxfun", "maxfev"), "SciPy", "steps"),
    Name(("max_iter", "n_iter", "niter", "epochs", "iterations", "num_steps", "max_steps"), "scikit-learn, textbooks", "steps"),
    Name(("options",), "SciPy", "lr=1e-2, steps=1000", "Options are arguments by name"),
    Name(("fprime", "grad", "gradient"), "SciPy", "jac"),
    Name(("hess", "hessp"), "SciPy", note="Leave {name} out: rules use the gradient alone"),
    Name(("constraints",), "SciPy", "bounds", "Rules handle bounds and no other constraints"),
    Name(("disp", "verbose"), "SciPy", "progress=True"),
    Name(("xatol", "xrtol", "x_tol"), "SciPy", "xtol"),
    Name(("fatol", "f_tol"), "SciPy", "ftol"),
    Name(("return_all",), "SciPy", 'history="x"'),
    Name(("solver", "optimizer", "algorithm"), "scikit-learn", "method"),
    Name(("batchsize",), "elsewhere", "batch_size"),
    Name(("n_iter_no_change",), "scikit-learn", "patience"),
    Name(("random_state",), "scikit-learn", "seed"),
)
"""Arguments of `fastopt.minimize` and options of `fastopt.scipy`, beside those of optimizers."""

ESTIMATORS: Table = (
    Name(("solver",), "scikit-learn", "optimizer"),
    Name(("learning_rate_init", "eta0", "lr"), "scikit-learn, torch", "learning_rate"),
    Name(("alpha",), "scikit-learn", "l2", "With an l1_ratio, l1=alpha*l1_ratio and l2=alpha*(1 - l1_ratio)"),
    Name(("l1_ratio",), "scikit-learn", "l1=alpha*l1_ratio, l2=alpha*(1 - l1_ratio)"),
    Name(("penalty",), "scikit-learn", "l1", "if it is 'l1'"),
    Name(("penalty",), "scikit-learn", "l2", "if it is 'l2'"),
    Name(("weight_decay",), "torch, Keras", "l2"),
    Name(("beta_1", "b1"), "scikit-learn, Keras, optax", "beta1"),
    Name(("beta_2", "b2"), "scikit-learn, Keras, optax", "beta2"),
    Name(("betas",), "torch", "beta1=betas[0], beta2=betas[1]"),
    Name(("epsilon",), "scikit-learn, Keras", "eps"),
    Name(("nesterovs_momentum",), "scikit-learn", "nesterov"),
    Name(("average",), "scikit-learn", "ema_decay", "ema_decay=0.99 predicts with an average of the last steps"),
    Name(("power_t",), "scikit-learn", "learning_rate=fastopt.schedules.inverse_sqrt(1e-2, timescale=1)", "This is power_t=0.5"),
    Name(("n_jobs",), "scikit-learn", "fastopt.set_num_threads(n_jobs)"),
    Name(("max_fun",), "scikit-learn", "max_iter"),
    Name(("epochs", "n_epochs", "n_iter", "maxiter", "steps"), "Keras, SciPy", "max_iter"),
    Name(("patience",), "Keras", "n_iter_no_change"),
    Name(("hidden_layers", "layers", "units", "hidden"), "Keras", "hidden_layer_sizes"),
    Name(("clipnorm", "global_clipnorm", "max_grad_norm"), "Keras", "max_norm"),
    Name(("clipvalue",), "Keras", "clip_value"),
    Name(("seed",), "elsewhere", "random_state"),
    Name(("method",), "SciPy", "optimizer"),
)
"""Arguments of the estimators of `fastopt.sklearn`."""
