"""Every argument of the frameworks' own classes that fastopt lacks is answered: their signatures are asked, not our table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import sklearn.linear_model
import sklearn.neural_network
import torch

import fastopt
import fastopt.sklearn
from fastopt.rules import RULES
from tests.support.frameworks import keras, optax

PEERS: list[tuple[str, str, Callable[..., Any]]] = [
    *((f"torch {rule}", rule, getattr(torch.optim, rule)) for rule in RULES if hasattr(torch.optim, rule)),
    *(
        (f"Keras {name}", rule, getattr(keras.optimizers, name))
        for rule in RULES
        for name in (rule, rule.capitalize())
        if hasattr(keras.optimizers, name)
    ),
    *((f"optax {rule}", rule, getattr(optax, rule.lower())) for rule in RULES if hasattr(optax, rule.lower())),
    ("optax amsgrad", "Adam", optax.amsgrad),
]
UNANSWERED = {"bias_correction_mu", "bias_correction_nu"}
"""optax's amsgrad without bias correction, which no rule computes."""


def lacking(theirs: Callable[..., Any], ours: Callable[..., Any]) -> list[str]:
    """The arguments by name that one has and the other lacks."""
    names = inspect.signature(theirs).parameters
    own = set(inspect.signature(ours).parameters)
    return [name for name, each in names.items() if name not in own | UNANSWERED and each.kind is not each.VAR_KEYWORD]


def answer(call: Callable[[], Any]) -> str:
    with pytest.raises(TypeError) as caught:
        call()
    return str(caught.value).rpartition("; ")[2]


def is_answer(words: str) -> bool:
    """Whether the words are what a table of names says, and not the error before it."""
    starts = ("did you mean ", "leave ", "only ", "copy ", "the ", "rules ", "momentum stays")
    return words.startswith(starts) and "its arguments" not in words


@pytest.mark.parametrize(("rule", "peer"), [each[1:] for each in PEERS], ids=[each[0] for each in PEERS])
def test_optimizers(rule: str, peer: Callable[..., Any]) -> None:
    cls = getattr(fastopt, rule)
    for name in lacking(peer, cls):
        words = answer(lambda name=name: cls(np.ones(3, np.float32), **{name: 1}))
        assert is_answer(words), (name, words)


SCHEDULES = [
    (fastopt.schedules.exponential, torch.optim.lr_scheduler.ExponentialLR),
    (fastopt.schedules.step, torch.optim.lr_scheduler.StepLR),
    (fastopt.schedules.multi_step, torch.optim.lr_scheduler.MultiStepLR),
    (fastopt.schedules.cosine, torch.optim.lr_scheduler.CosineAnnealingLR),
    (fastopt.schedules.cosine_restarts, torch.optim.lr_scheduler.CosineAnnealingWarmRestarts),
    (fastopt.schedules.polynomial, torch.optim.lr_scheduler.PolynomialLR),
    (fastopt.schedules.ReduceOnPlateau, torch.optim.lr_scheduler.ReduceLROnPlateau),
    (fastopt.schedules.exponential, keras.optimizers.schedules.ExponentialDecay),
    (fastopt.schedules.inverse_time, keras.optimizers.schedules.InverseTimeDecay),
    (fastopt.schedules.piecewise, keras.optimizers.schedules.PiecewiseConstantDecay),
    (fastopt.schedules.polynomial, keras.optimizers.schedules.PolynomialDecay),
    (fastopt.schedules.cosine, keras.optimizers.schedules.CosineDecay),
    (fastopt.schedules.cosine_restarts, keras.optimizers.schedules.CosineDecayRestarts),
    (fastopt.schedules.ReduceOnPlateau, keras.callbacks.ReduceLROnPlateau),
    (fastopt.schedules.cosine, optax.warmup_cosine_decay_schedule),
    (fastopt.schedules.linear, optax.linear_schedule),
    (fastopt.schedules.one_cycle, optax.cosine_onecycle_schedule),
]


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES, ids=lambda each: each.__name__)
def test_schedules(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    for name in lacking(theirs, ours):
        words = answer(lambda name=name: ours(**{name: 1}))
        assert is_answer(words), (name, words)


ESTIMATORS = [
    (fastopt.sklearn.MLPClassifier, sklearn.neural_network.MLPClassifier),
    (fastopt.sklearn.MLPRegressor, sklearn.neural_network.MLPRegressor),
    (fastopt.sklearn.LinearClassifier, sklearn.linear_model.SGDClassifier),
    (fastopt.sklearn.LinearRegressor, sklearn.linear_model.SGDRegressor),
]


@pytest.mark.parametrize(("ours", "theirs"), ESTIMATORS, ids=[ours.__name__ for ours, _ in ESTIMATORS])
def test_estimators(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    for name in lacking(theirs, ours):
        if name == "loss":  # a perceptron's follows from the task
            continue
        words = answer(lambda name=name: ours(**{name: 1}))
        assert is_answer(words), (name, words)


def test_minimize() -> None:
    for name in [*lacking(scipy.optimize.minimize, fastopt.minimize), "maxiter", "disp", "return_all", "xatol", "fatol"]:
        words = answer(lambda name=name: fastopt.minimize(lambda x: x @ x, [1.0], **{name: 1}))
        assert is_answer(words), (name, words)


def test_a_cure_computes_what_the_framework_does() -> None:
    """Some rows promise a formula, not a name."""
    lr = fastopt.schedules.inverse_time(0.5, decay_rate=0.1)
    peer = torch.optim.Adagrad([torch.ones(1)], lr=0.5, lr_decay=0.1)
    for step in range(4):
        assert lr(step) == pytest.approx(peer.defaults["lr"] / (1 + step * peer.defaults["lr_decay"]))
    theirs = keras.optimizers.schedules.CosineDecay(0.5, decay_steps=10, alpha=0.1)
    ours = fastopt.schedules.cosine(0.5, steps=10, end=0.1 * 0.5)
    assert [ours(step) for step in range(12)] == pytest.approx([float(theirs(step)) for step in range(12)], rel=1e-6)
    p, q = np.array([3.0]), torch.tensor([3.0], dtype=torch.float64)
    adam, squares = fastopt.Adam(p, lr=0.1, betas=(0.0, 0.9), eps=1e-8), 0.0
    for step in range(1, 5):
        squares = 0.9 * squares + 0.1 * float(q) ** 2
        q -= 0.1 * q / ((squares / (1 - 0.9**step)) ** 0.5 + 1e-8)
        adam.step(p.copy())
    assert p == pytest.approx(q.numpy(), rel=1e-12)
    rate = fastopt.schedules.inverse_sqrt(0.5, timescale=1)
    assert [rate(t) for t in range(5)] == pytest.approx([0.5 / (t + 1) ** 0.5 for t in range(5)])  # scikit-learn's "invscaling"


def test_schedules_and_estimators_by_their_names_there() -> None:
    """The classes of the pages on schedules and estimators, under the names that they have in the frameworks."""
    for ours, theirs in (*SCHEDULES, *ESTIMATORS[2:]):
        name, module = theirs.__name__, fastopt.sklearn if (ours, theirs) in ESTIMATORS else fastopt.schedules
        with pytest.raises(AttributeError, match=rf"; did you mean {re.escape(module.__name__)}\.{ours.__name__}\?$"):
            getattr(module, name)
