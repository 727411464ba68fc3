"""Names of classes and functions of other frameworks, for the modules that have something like them."""

from __future__ import annotations

from collections.abc import Iterable

from .name import Name, Table
from .suggestions import suggestion

__all__ = ["CLASSES", "ESTIMATOR_CLASSES", "SCHEDULE_CLASSES", "no_member"]

CLASSES: Table = (
    Name(("optim", "optimizer"), "torch", "fastopt.AdamW(params, lr=1e-3)", "The classes are fastopt's own"),
    Name(("apply_updates",), "optax", "opt.step(grads)", "A step updates the parameters in place"),
    Name(("clip_by_global_norm", "clip_grad_norm_"), "optax, torch", "fastopt.clip_grad_norm(grads, max_norm)"),
    Name(("clip_by_value", "clip_grad_value_"), "torch", "fastopt.clip_grad_value(grads, clip_value)"),
    Name(("lr_scheduler", "schedule"), "torch", "fastopt.schedules"),
    Name(("linear_model", "neural_network"), "scikit-learn", "fastopt.sklearn"),
)
"""Names that `fastopt` itself lacks."""

SCHEDULE_CLASSES: Table = (
    Name(("ConstantLR", "constant_schedule"), "torch, optax", "fastopt.schedules.constant(lr)"),
    Name(("ExponentialLR", "ExponentialDecay", "exponential_decay"), "torch, Keras, optax", "fastopt.schedules.exponential"),
    Name(("StepLR",), "torch", "fastopt.schedules.step"),
    Name(("MultiStepLR",), "torch", "fastopt.schedules.multi_step"),
    Name(("PiecewiseConstantDecay", "piecewise_constant_schedule"), "Keras, optax", "fastopt.schedules.piecewise"),
    Name(
        ("PolynomialLR", "PolynomialDecay", "polynomial_schedule"),
        "torch, Keras, optax",
        "fastopt.schedules.polynomial",
    ),
    Name(("LinearLR", "linear_schedule"), "torch, optax", "fastopt.schedules.linear"),
    Name(
        ("CosineAnnealingLR", "CosineDecay", "cosine_decay_schedule", "cosine_decay", "warmup_cosine_decay_schedule"),
        "torch, Keras, optax",
        "fastopt.schedules.cosine",
    ),
    Name(
        ("CosineAnnealingWarmRestarts", "CosineDecayRestarts", "sgdr_schedule"),
        "torch, Keras, optax",
        "fastopt.schedules.cosine_restarts",
    ),
    Name(("OneCycleLR", "cosine_onecycle_schedule"), "torch, optax", "fastopt.schedules.one_cycle"),
    Name(("InverseTimeDecay",), "Keras", "fastopt.schedules.inverse_time"),
    Name(("SequentialLR", "join_schedules"), "torch, optax", "fastopt.schedules.join"),
    Name(("ReduceLROnPlateau",), "torch, Keras", "fastopt.schedules.ReduceOnPlateau"),
    Name(("LambdaLR",), "torch", "lr=lr_lambda", "Any callable of the completed steps can be an optimizer's lr"),
)
"""Names that `fastopt.schedules` lacks."""

ESTIMATOR_CLASSES: Table = (
    Name(("SGDClassifier", "LogisticRegression", "Perceptron"), "scikit-learn", "fastopt.sklearn.LinearClassifier"),
    Name(("SGDRegressor", "LinearRegression", "Ridge", "Lasso"), "scikit-learn", "fastopt.sklearn.LinearRegressor"),
)
"""Names that `fastopt.sklearn` lacks."""


def no_member(module: str, name: str, possible: Iterable[str], table: Table = ()) -> AttributeError:
    """The error for a name that a module lacks."""
    words = f"module {module!r} has no attribute {name!r}"
    return AttributeError(words if name.startswith("_") else f"{words}{suggestion(name, possible, table, arguments=False)}")
