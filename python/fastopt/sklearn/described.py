"""The documentation of the parameters that the four estimators share, and the function that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["described", "set_parameters"]

Class = TypeVar("Class", bound=type)

SHARED = """\
optimizer: a rule's name in upper or lower case ("sgd", "adamw"), its class (fastopt.AdamW), or a configured class
    (functools.partial(fastopt.Adam, betas=(0.8, 0.99), amsgrad="corrected"))
learning_rate: a number, a schedule (a callable of the number of completed steps, such as
    fastopt.schedules.cosine(1e-2, steps=5000)), or a fastopt.schedules.ReduceOnPlateau.  The plateau is copied; after each
    epoch the copy takes the training's loss (mode "min") or the validation's score (mode "max").
    None: {rates}.
    Such a default falls to a tenth twice before the training ends
momentum, nesterov, beta1, beta2, rho, eps, amsgrad, centered: hyperparameters of the rule, under the names of its class
    (beta1 and beta2 are the two of betas, rho is also RMSprop's alpha); None is the rule's default.  Set others with a
    configured class
l1, l2: the objective is mean loss + l1*|w|_1 + l2/2*|w|_2**2, over the weights and not the intercepts.  For SGDClassifier's
    alpha and l1_ratio, l1 is alpha*l1_ratio and l2 is alpha*(1 - l1_ratio).  L1 acts through its subgradient: weights come
    near zero but seldom reach it.  A rule with decoupled decay, such as AdamW, takes l2 as its weight_decay.  w are the weights
    of the scaled data, if they are scaled
max_norm, clip_value: scale each step's gradient to a norm of at most max_norm, and hold its elements in
    [-clip_value, clip_value]
ema_decay: predict with an average of the parameters.  After each step average = ema_decay*average +
    (1 - ema_decay)*parameter, divided by 1 - ema_decay**steps as Adam's averages are, so that the start has no share
standardize: train on features with their means subtracted and divided by their standard deviations{targets}.
    The model's arrays, such as coef_, are for the data as given.  Sparse features, and all without intercepts, are divided by
    the roots of their mean squares alone.  In partial_fit the scales follow the rows so far
batch_size: the most rows of a step; the batches of an epoch differ by one row at most.
    "auto": {batch}
max_iter: the most epochs.  If the training has not stopped by then, a ConvergenceWarning says so
tol, n_iter_no_change: the training stops when n_iter_no_change epochs (None: {patience})
    together have not lowered the loss by more than tol{unit}, or with early_stopping have not raised
    the validation's score by more than tol.  The training goes on while the loss is above the first epoch's, after steps
    that were too large.  With a default learning rate the rate falls to a tenth instead, twice, and half as many epochs are
    waited for each time.  tol None: never stop.  A last loss no better than that of the same prediction for every row gives a
    ConvergenceWarning
shuffle: whether each epoch takes the rows in a new order
early_stopping: hold out validation_fraction of the rows{strata}, and end with the parameters of the best score.
    With the same data, each fit of a warm start holds out the same rows
warm_start: fit continues from the end of the last call: parameters, the optimizer's state and counts, random numbers.
    A new rule, new hyperparameters or a new fit_intercept begin with new state; a new learning_rate, l1 or l2 keeps the state
random_state: a number, a numpy.random.RandomState or None: seeds the shuffling, the first weights and the held-out rows
verbose: whether to print a line for each epoch; True or False, 1 or 0"""

ATTRIBUTES = """\
loss_curve_: the objective of each epoch, for the trained weights and not their average, and for scaled data.  The loss is the
    mean over the batches, each before its step.  The penalty is that before a single step, or the mean of before the first and
    after the last of several.  best_loss_: the least of the curve (None with early_stopping)
validation_scores_, best_validation_score_: with early_stopping the score of each epoch and the best score; else None
n_iter_: epochs of the last fit and of each partial_fit since; t_: steps of the optimizer
n_features_in_, feature_names_in_: as in all of scikit-learn"""

NOTES = """\
Arithmetic is float32 if X is float32, else float64.  X may be a SciPy sparse matrix or array.  In fit, weights of rows count
relative to each other: the mean loss is the weighted mean.  In partial_fit, which sees only some of the rows, the weights
count as they are, as SGDClassifier's do: the loss is sum(weight * loss) / rows.
A fitted estimator can be pickled and copied, also in the middle of a training: partial_fit continues with the same bits.

fit and partial_fit raise TypeError or ValueError if a parameter is wrong or the rule does not have it, and ValueError if
the loss ceases to be finite.  If fit raises, the estimator stays as it was.  partial_fit keeps no copy: if its loss ceases to
be finite, the estimator is no longer fitted, and if a schedule raises, the steps before have taken effect."""


def described(**words: str) -> Any:
    """Fills the shared texts into a class's docstring."""

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
    """Sets the arguments of `__init__`, given as its `locals()`, unchecked: scikit-learn's rule is to check them in `fit`."""
    for name, value in given.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)
