"""The documentation of the parameters that the four estimators share, and how they take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["described", "set_parameters"]

Class = TypeVar("Class", bound=type)

SHARED = """\
optimizer: a rule's name in any case ("sgd", "adamw"), its class (fastopt.AdamW), or a configured class
    (functools.partial(fastopt.Adam, betas=(0.8, 0.99), amsgrad="corrected"))
learning_rate: a number, a schedule (a callable of the number of completed steps, such as
    fastopt.schedules.cosine(1e-2, steps=5000)), or a fastopt.schedules.ReduceOnPlateau, of which a copy is told of each
    epoch: of mode "min" the training's loss, of mode "max" the validation's score.
    None: {rates}
momentum, nesterov, beta1, beta2, rho, eps, amsgrad, centered: hyperparameters of the rule, under the names of its class
    (beta1 and beta2 are the two of betas, rho is RMSprop's alpha too); None is the rule's default.  The others are reached
    through a configured class
l1, l2: the objective is mean loss + l1*|w|_1 + l2/2*|w|_2**2, over the weights and not the intercepts; with SGDClassifier's
    alpha and l1_ratio, l1 is alpha*l1_ratio and l2 is alpha*(1 - l1_ratio).  L1 goes by its subgradient: weights come near
    zero, and seldom to it.  A rule with decoupled decay, as AdamW has it, takes l2 for its weight_decay
max_norm, clip_value: each step's gradient is scaled to a norm of at most max_norm, its elements held in
    [-clip_value, clip_value]
ema_decay: predictions are those of an average of the parameters: after each step average = ema_decay*average +
    (1 - ema_decay)*parameter, divided by 1 - ema_decay**steps as Adam's averages are, so that the beginning has no share
batch_size: rows of a step; "auto": {batch}
max_iter: the most epochs; a ConvergenceWarning where they are over before the training has stopped by itself
tol, n_iter_no_change: the training stops when in n_iter_no_change epochs (None: {patience})
    together the loss has not fallen by more than tol{unit}; with early_stopping, when the validation's
    score has not risen so.  Not while the loss is above that of the first epoch: steps were too large for a while.  tol None:
    never.  A ConvergenceWarning where the last loss is above that of a constant prediction
shuffle: whether each epoch has the rows in a new order
early_stopping: holds out validation_fraction of the rows{strata}; at the end the parameters
    are those of the best score.  Each fit of a warm start holds out the same rows, where it is given the same data
warm_start: fit goes on from what the last call left: parameters, the optimizer's state and counts, random numbers.  Where
    the rule, its hyperparameters or fit_intercept have been changed the optimizer's state is new; a new learning_rate, l1 or
    l2 leaves it
random_state: a number, a numpy.random.RandomState or None: of the shuffling, the first weights, the part held out
verbose: whether to print a line for each epoch; True or False, 1 or 0"""

ATTRIBUTES = """\
loss_curve_: the objective of each epoch, of the weights that train and not of their average: the loss in the mean over the
    batches as they came; the penalty before the step or, of several steps, in the mean of before the first and after the last.
    best_loss_: the least of them (None with early_stopping)
validation_scores_, best_validation_score_: with early_stopping the score of each epoch and the best; else None
n_iter_: epochs of the last fit, and of partial_fit since; t_: steps of the optimizer
n_features_in_, feature_names_in_: as in all of scikit-learn"""

NOTES = """\
Arithmetic is float32 where X is float32, else float64.  X may be a SciPy sparse matrix or array.  Weights of rows count in fit
in relation to the others: the mean loss is the weighted mean.  In partial_fit, which sees some rows alone, they count as they
are, as SGDClassifier's do: the loss is sum(weight * loss) / rows.
A fitted estimator can be pickled and copied, in the midst of a training too: partial_fit goes on with the same bits.

fit and partial_fit raise TypeError or ValueError where a parameter is wrong or the rule has none such, and ValueError where
the loss ceases to be finite.  A fit that raises leaves the estimator as it was.  partial_fit keeps no copy: where its loss
ceases to be finite the estimator is not fitted any more, and where a schedule raises the steps before have been done."""


def described(**words: str) -> Any:
    """Fills in what a class's docstring leaves to this file."""

    def fill(cls: Class) -> Class:
        assert cls.__doc__ is not None
        shared = SHARED
        for name, text in words.items():
            shared = shared.replace(f"{{{name}}}", text)
        doc = cls.__doc__
        for name, text in (("parameters", shared), ("attributes", ATTRIBUTES), ("notes", NOTES)):
            doc = doc.replace(f"    {{{name}}}", "\n".join(f"    {line}" if line else "" for line in text.splitlines()))
        cls.__doc__ = doc
        return cls

    return fill


def set_parameters(estimator: Any, given: Mapping[str, Any]) -> None:
    """Keeps the arguments of `__init__`, given as its `locals()`, as they are: scikit-learn checks them in `fit`."""
    for name, value in given.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)
