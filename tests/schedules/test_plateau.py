"""`ReduceOnPlateau`: what it does to an optimizer, its state in snapshots and files, its errors.  Its numbers: test_frameworks.py."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.schedules import ReduceOnPlateau, cosine
from tests.support.arrays import Array


def train(optimizer: fastopt.Optimizer, plateau: ReduceOnPlateau, metrics: list[float], rng: np.random.Generator) -> None:
    for metric in metrics:
        for _ in range(3):
            optimizer.step(rng.standard_normal(5))
        plateau.step(metric)


def make(p: Array, **arguments: Any) -> tuple[fastopt.Optimizer, ReduceOnPlateau]:
    plateau = ReduceOnPlateau(0.5, factor=0.5, patience=1, cooldown=1, **arguments)
    return fastopt.AdamW(p, lr=plateau), plateau


METRICS = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


def test_the_rate_holds_from_the_next_step_on() -> None:
    optimizer, plateau = make(np.ones(5))
    rates = []
    for metric in METRICS:
        optimizer.step(np.ones(5))
        rates.append(optimizer.lr)
        plateau.step(metric)
    assert rates == [0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125, 0.125, 0.0625]
    assert plateau.best == 0.5


def test_a_schedule_below() -> None:
    below = cosine(1.0, 100, warmup=10)
    plateau = ReduceOnPlateau(below, factor=0.5, patience=0, min_lr=0.01)
    optimizer = fastopt.SGD(np.ones(3), lr=plateau)
    plateau.step(1.0)
    for step in range(50):
        optimizer.step(np.zeros(3))
        assert optimizer.lr == below(step)
    plateau.step(1.0)
    for step in range(50, 101):
        optimizer.step(np.zeros(3))
        assert optimizer.lr == max(0.5 * below(step), min(0.01, below(step)))


@pytest.mark.parametrize("way", ["state_dict", "file", "pickle"])
def test_a_run_resumes(way: str, tmp_path: Path) -> None:
    straight, resumed = np.ones(5), np.ones(5)
    rng = np.random.default_rng(7)
    optimizer, plateau = make(straight)
    train(optimizer, plateau, METRICS, rng)

    rng = np.random.default_rng(7)
    optimizer, plateau = make(resumed)
    train(optimizer, plateau, METRICS[:4], rng)
    assert plateau.state_dict() == {"scale": 0.5, "best": 2.0, "bad_steps": 0, "cooldown_left": 1}
    second, other = make(resumed)
    if way == "file":
        optimizer.save(tmp_path / "opt.safetensors")
        second.load(tmp_path / "opt.safetensors")
    else:
        state = optimizer.state_dict()
        assert state["groups"][0]["schedule"] == plateau.state_dict()
        second.load_state_dict(pickle.loads(pickle.dumps(state)) if way == "pickle" else state)
    train(second, other, METRICS[4:], rng)
    assert np.array_equal(straight, resumed)


def test_before_its_first_metric_it_can_be_saved(tmp_path: Path) -> None:
    optimizer, plateau = make(np.ones(5))
    optimizer.save(tmp_path / "opt.safetensors")
    train(optimizer, plateau, METRICS[:4], np.random.default_rng(0))
    optimizer.load(tmp_path / "opt.safetensors")
    assert plateau.state_dict() == {"scale": 1.0, "best": None, "bad_steps": 0, "cooldown_left": 0}


def test_groups_may_share_one_or_have_their_own() -> None:
    shared, own = ReduceOnPlateau(0.5, patience=0), ReduceOnPlateau(0.1, patience=0)
    arrays = [np.ones(2) for _ in range(3)]
    optimizer = fastopt.SGD([{"params": arrays[0]}, {"params": arrays[1], "lr": own}, {"params": arrays[2]}], lr=shared)
    shared.step(1.0)
    shared.step(1.0)
    own.step(3.0)
    optimizer.step([np.ones(2) for _ in arrays])
    assert [group["lr"] for group in optimizer.groups] == [0.05, 0.1, 0.05]
    state = optimizer.state_dict()
    shared.step(0.5)
    own.step(2.0)
    optimizer.load_state_dict(state)
    assert (shared.best, own.best) == (1.0, 3.0)


def test_a_snapshot_with_and_without_one() -> None:
    p = np.ones(5)
    with_one, plateau = make(p)
    without = fastopt.AdamW(p, lr=0.5)
    words = r"groups'\]\[0\]: got the state of a schedule, expected none.*: build the optimizer with the schedule, or .*override=\{'lr': 0.5\}"
    with pytest.raises(ValueError, match=words):
        without.load_state_dict(with_one.state_dict())
    without.load_state_dict(with_one.state_dict(), override={"lr": 0.25})
    assert without.lr == 0.25
    plateau.step(2.0)
    with_one.load_state_dict(without.state_dict())
    assert plateau.best == 2.0, "a schedule stays as it is without a state for it"
    with_one.lr = 0.1  # a number ends it
    without.load_state_dict(with_one.state_dict())
    assert without.lr == 0.1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (3, "got 3, expected scale, best"),
        ({"scale": 1.0}, "got scale, expected scale, best"),
        ({"scale": 2.0, "best": 1.0, "bad_steps": 0, "cooldown_left": 0}, r"scale: got 2.0, expected a number in \[0, 1\]"),
        ({"scale": 1.0, "best": math.nan, "bad_steps": 0, "cooldown_left": 0}, "best: got nan"),
        ({"scale": 1.0, "best": 1.0, "bad_steps": -1, "cooldown_left": 0}, "bad_steps: got -1"),
    ],
)
def test_a_state_that_is_none_changes_nothing(state: Any, words: str) -> None:
    shared, own = ReduceOnPlateau(0.5), ReduceOnPlateau(0.1)
    p, q = np.ones(2), np.ones(2)
    optimizer = fastopt.AdamW([{"params": p, "lr": shared}, {"params": q, "lr": own}])
    optimizer.step([p.copy(), q.copy()])
    snapshot = optimizer.state_dict()
    shared.step(1.0)
    optimizer.step([p.copy(), q.copy()])
    before = optimizer.state_dict()
    snapshot["groups"][1]["schedule"] = state
    with pytest.raises(ValueError, match=r"state_dict\['groups'\]\[1\]\['schedule'\]: .*" + words):
        optimizer.load_state_dict(snapshot)
    after = optimizer.state_dict()
    assert after["groups"] == before["groups"]
    assert after["steps"] == 2
    assert all(np.array_equal(a["exp_avg"], b["exp_avg"]) for a, b in zip(before["state"], after["state"], strict=True))


def test_looking_at_a_rate_changes_nothing() -> None:
    """Nor does the order of metrics and steps: the state is what `step` has been told."""
    below = cosine(1e-2, 1000, warmup=100)
    plateaus = [ReduceOnPlateau(below, patience=0, factor=0.5) for _ in range(2)]
    for step in range(200):
        plateaus[0](step)
    for plateau in plateaus:
        plateau.step(1.0)
        plateau.step(2.0)
    assert plateaus[0](300) == plateaus[1](300) == 0.5 * below(300)


class Remembering:
    """A schedule of one's own, careless about who has its state."""

    def __init__(self, lr: float) -> None:
        self.state: dict[str, Any] = {"lr": lr}

    def __call__(self, step: int) -> float:
        return float(self.state["lr"])

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["lr"] == 13:
            raise ValueError("got 13")
        self.state = state


def test_a_schedule_of_ones_own(tmp_path: Path) -> None:
    first, second = Remembering(0.5), Remembering(0.25)
    optimizer = fastopt.SGD([{"params": np.ones(2), "lr": first}, {"params": np.ones(2), "lr": second}])
    optimizer.save(tmp_path / "opt.safetensors")
    snapshot = optimizer.state_dict()
    first.state["lr"] = 0.125
    assert snapshot["groups"][0]["schedule"] == {"lr": 0.5}  # a snapshot is one
    optimizer.load_state_dict(snapshot)
    first.state["lr"] = 0.0625
    assert snapshot["groups"][0]["schedule"] == {"lr": 0.5}
    snapshot["groups"][1]["schedule"]["lr"] = 13
    with pytest.raises(ValueError, match="got 13"):
        optimizer.load_state_dict(snapshot)
    assert first(0) == 0.0625
    optimizer.load(tmp_path / "opt.safetensors")
    assert first(0) == 0.5


def test_one_schedule_cannot_take_two_states() -> None:
    shared, own = ReduceOnPlateau(0.5), ReduceOnPlateau(0.5)
    groups = [{"params": np.ones(2), "lr": shared}, {"params": np.ones(2), "lr": own}]
    snapshot = fastopt.SGD(groups).state_dict()
    snapshot["groups"][1]["schedule"]["scale"] = 0.5
    optimizer = fastopt.SGD([{**group, "lr": shared} for group in groups])
    with pytest.raises(ValueError, match=r"\['groups'\]\[1\]\['schedule'\]: got .*, expected that of the other groups"):
        optimizer.load_state_dict(snapshot)
    assert shared.state_dict()["scale"] == 1.0


def test_metrics_that_are_none_change_nothing() -> None:
    plateau = ReduceOnPlateau(0.5, patience=3)
    plateau.step(np.float32(2.0))
    plateau.step(np.array([1.5]))
    before = plateau.state_dict()
    for metric in ("1", True, np.True_, None, [1.0, 2.0], np.ones(2), 1j):
        with pytest.raises(TypeError, match=r"metric: got .*, expected a real number"):
            plateau.step(metric)
    with pytest.raises(ValueError, match="metric: got -inf, which nothing can improve"):
        plateau.step(-math.inf)
    assert plateau.state_dict() == before
    plateau.step(math.nan)
    plateau.step(math.inf)
    assert plateau.state_dict() == before | {"bad_steps": 2}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"lr": "a"}, TypeError, "lr: got str 'a', expected a real number or a callable"),
        ({"lr": ReduceOnPlateau(1.0)}, TypeError, "lr: got a ReduceOnPlateau, expected a number or a pure function"),
        ({"mode": "up"}, ValueError, "mode: got 'up', expected one of 'min', 'max'"),
        ({"threshold_mode": None}, TypeError, "threshold_mode: got None, expected one of 'rel', 'abs', 'torch'"),
        ({"factor": 1.0}, ValueError, r"factor: got 1.0, expected a number in \(0, 1\)"),
        ({"patience": -1}, ValueError, "patience: got -1"),
        ({"patience": 1.5}, TypeError, "patience: got float 1.5"),
        ({"threshold": -1e-3}, ValueError, "threshold: got -0.001"),
        ({"cooldown": -2}, ValueError, "cooldown: got -2"),
        ({"min_lr": -1.0}, ValueError, "min_lr: got -1.0"),
        ({"eps": math.nan}, ValueError, "eps: got nan"),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ReduceOnPlateau(**({"lr": 0.1} | arguments))
