"""A slot may begin at a hyperparameter, which stays changeable if steps use it too, and is frozen if only first values do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastopt
from fastopt.faces import make_class
from fastopt.rules import RULES, Slot

BEGINS_AT_LR = dataclasses.replace(RULES["Adagrad"], slots=(Slot("sum", "non-negative", "sum of squared gradients", "lr"),))


def test_a_slot_that_begins_at_lr_leaves_lr_changeable() -> None:
    p = np.ones(3, np.float32)
    opt = make_class(BEGINS_AT_LR)([{"params": [p]}, {"params": [np.ones(2, np.float32)], "lr": 0.25}], lr=0.5)
    assert (opt.state[0]["sum"] == 0.5).all()
    assert (opt.state[1]["sum"] == 0.25).all()
    assert BEGINS_AT_LR.frozen == ()
    opt.lr = 0.125
    opt.step([np.ones(3, np.float32), None])
    np.testing.assert_allclose(p, 1 - 0.125 / np.sqrt(1.5), rtol=1e-6)


def test_a_slot_that_begins_at_a_schedule_begins_at_its_first_value() -> None:
    opt = make_class(BEGINS_AT_LR)(np.ones(3, np.float32), lr=fastopt.schedules.constant(0.5))
    assert (opt.state[0]["sum"] == 0.5).all()


def test_a_hyperparameter_that_only_first_values_use_is_frozen() -> None:
    assert RULES["Adagrad"].frozen == ("initial_accumulator_value",)
    opt = fastopt.Adagrad(np.ones(3, np.float32), initial_accumulator_value=0.1)
    with pytest.raises(ValueError, match="initial_accumulator_value: it acts when the optimizer is built"):
        opt.groups[0]["initial_accumulator_value"] = 0.2
