"""Resuming with other hyperparameters and options than a checkpoint's, and with or without a schedule that has state."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.schedules import ReduceOnPlateau, exponential
from tests.support.checkpoints import everything

Load = Callable[[Any, Any, Any], None]


def by_snapshot(saved: Any, optimizer: Any, override: Any) -> None:
    optimizer.load_state_dict(saved.state_dict(), override=override)


@pytest.fixture(params=["snapshot", "file"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    def by_file(saved: Any, optimizer: Any, override: Any) -> None:
        saved.save(tmp_path / "a")
        optimizer.load(tmp_path / "a", override=override)

    return by_file if request.param == "file" else by_snapshot


def made(lr: Any = 0.1, **options: Any) -> Any:
    groups = [{"params": [np.ones(3)]}, {"params": [np.ones(2)], "weight_decay": 0.5}]
    return fastopt.AdamW(groups, lr=lr, max_norm=1.0, **options)


def stepped(optimizer: Any, steps: int = 3) -> Any:
    for _ in range(steps):
        optimizer.step([np.full(3, 0.25), np.full(2, 0.5)])
    return optimizer


@pytest.mark.parametrize("override", [None, {}])
def test_nothing(override: Any, load: Load) -> None:
    saved, optimizer = stepped(made(0.25)), made()
    load(saved, optimizer, override)
    assert everything(optimizer)[0] == everything(saved)[0]


def test_a_new_learning_rate(load: Load) -> None:
    saved, optimizer = stepped(made(0.25)), made(0.75)
    load(saved, optimizer, {"lr": 1e-4})
    saved.lr = 1e-4
    assert everything(optimizer)[0] == everything(saved)[0]


def test_any_hyperparameter_and_option(load: Load) -> None:
    saved, optimizer = stepped(made(0.25)), made()
    new = {"lr": 0.5, "betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 0.0, "maximize": True}
    options = {"max_norm": None, "grad_scale": 0.5, "skip_nonfinite": True}
    load(saved, optimizer, {**new, **options})
    for group in saved.groups:
        group.update(new)
    saved.options.update(options)
    assert everything(optimizer)[0] == everything(saved)[0]
    stepped(saved)
    stepped(optimizer)
    assert everything(optimizer)[0] == everything(saved)[0]


def test_a_schedule(load: Load) -> None:
    saved, optimizer = stepped(made(0.25)), made()
    load(saved, optimizer, {"lr": exponential(0.5, 0.5)})
    assert optimizer.lr == 0.5**4, "that of the next step"
    stepped(optimizer, 1)
    assert optimizer.groups[0].schedule == exponential(0.5, 0.5)
    load(saved, optimizer, {"lr": 0.75})
    stepped(optimizer, 1)
    assert (optimizer.lr, optimizer.groups[0].schedule) == (0.75, None)


def test_a_checkpoint_with_a_plateau_and_one_without(load: Load) -> None:
    plateau = ReduceOnPlateau(0.5, patience=0)
    with_one, without = stepped(made(plateau)), stepped(made(0.125))
    plateau.step(1.0)
    plateau.step(2.0)
    stepped(with_one, 1)
    before = everything(without)
    words = r"state_dict\['groups'\]\[0\]: got the state of a schedule, expected none, since lr is not such a schedule here"
    with pytest.raises(ValueError, match=rf"{words}.*override=\{{'lr': 0.05\}}"):
        load(with_one, without, None)
    assert everything(without) == before
    load(with_one, without, {"lr": 0.05})
    assert (without.lr, without.steps) == (0.05, 4)
    state = plateau.state_dict()
    load(without, with_one, None)
    assert plateau.state_dict() == state
    stepped(with_one, 1)
    assert with_one.lr == 0.05
    anew = ReduceOnPlateau(0.25)
    load(with_one, with_one, {"lr": anew})
    assert anew.best is None, "it begins anew"
    assert with_one.lr == 0.25
    assert plateau.state_dict() == state


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        (0.1, TypeError, "^override: got float 0.1, expected a dict of hyperparameters and options"),
        ([("lr", 0.1)], TypeError, "^override: got list"),
        ({"speed": 0.1}, TypeError, "^override: got the key 'speed', expected one of lr, betas, .*grad_scale"),
        ({1: 0.1}, TypeError, "^override: got the key 1, expected"),
        ({"params": []}, TypeError, "^override: got the key 'params', expected"),
        ({"seed": 1}, TypeError, "^override: got the key 'seed', expected"),
        ({"lr": -1.0}, ValueError, r"^override: lr: got -1.0, expected a number in \[0, inf\)"),
        ({"lr": None}, TypeError, "^override: lr: got NoneType None"),
        ({"lr": lambda step: -1.0}, ValueError, "^override: lr: got -1.0"),
        ({"betas": (0.9, 1.0)}, ValueError, r"^override: betas\[1\]: got 1.0"),
        ({"amsgrad": "yes"}, ValueError, "^override: amsgrad: got 'yes'"),
        ({"max_norm": -1.0}, ValueError, "^override: max_norm: got -1.0"),
        ({"ema_decay": 0.5}, ValueError, "^override: ema_decay: got a number, expected None"),
        (
            {"amsgrad": True},
            ValueError,
            "AdamW: these values need the state 'max_exp_avg_sq', which the optimizer was built without",
        ),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),
)
def test_bad_overrides(override: Any, error: Any, words: str, load: Load) -> None:
    saved, optimizer = stepped(made(0.25)), stepped(made(), 1)
    before = everything(optimizer)
    with pytest.raises(error, match=words):
        load(saved, optimizer, override)
    assert everything(optimizer) == before


def test_what_acts_when_the_optimizer_is_built() -> None:
    optimizer = fastopt.Adagrad(np.ones(3), initial_accumulator_value=0.5)
    with pytest.raises(ValueError, match=r"^override: initial_accumulator_value: it acts when the optimizer is built"):
        optimizer.load_state_dict(optimizer.state_dict(), override={"initial_accumulator_value": 0.5})


def test_an_override_before_a_bad_file(tmp_path: Path) -> None:
    """The caller's mistake is no fault of the file."""
    optimizer = fastopt.SGD(np.ones(3))
    with pytest.raises(TypeError, match=r"^override: got the key 'speed'"):
        optimizer.load(tmp_path / "none", override={"speed": 1})
