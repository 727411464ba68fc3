"""Schedules against torch's, Keras' and optax' own, in float64: 1e-12 of their value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from fastopt import schedules
from fastopt.schedules import ReduceOnPlateau
from tests.support.frameworks import in_float64, jax, keras, optax

S = schedules
T = torch.optim.lr_scheduler
K = keras.optimizers.schedules
STEPS = 130
F = np.float64


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with in_float64():
        yield


def agree(ours: Callable[[int], float], expected: Any) -> None:
    np.testing.assert_allclose([ours(step) for step in range(len(expected))], np.asarray(expected, F), rtol=1e-12, atol=1e-16)


def torch_rates(make: Callable[[Any], Any], lr: float, steps: int) -> list[float]:
    """The rates of torch's scheduler before each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=lr)
    scheduler = make(optimizer)
    rates = [float(optimizer.param_groups[0]["lr"])]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


TORCH: list[tuple[Any, Callable[[Any], Any], int]] = [
    (S.exponential(0.3, 0.97), lambda o: T.ExponentialLR(o, 0.97), STEPS),
    (S.step(0.3, 13, 0.7), lambda o: T.StepLR(o, 13, 0.7), STEPS),
    (S.multi_step(0.3, [13, 40, 41], 0.7), lambda o: T.MultiStepLR(o, [13, 40, 41], 0.7), STEPS),
    (S.polynomial(0.3, 71, power=1.7), lambda o: T.PolynomialLR(o, 71, 1.7), STEPS),
    (S.linear(0.3 * 0.25, 71, 0.3 * 0.75), lambda o: T.LinearLR(o, 0.25, 0.75, 71), STEPS),
    (S.constant(0.3, warmup=20, warmup_start=0.03), lambda o: T.LinearLR(o, 0.1, 1.0, 20), STEPS),
    (S.piecewise([9], [0.3 / 3, 0.3]), lambda o: T.ConstantLR(o, 1 / 3, 9), STEPS),
    (S.cosine(0.3, 71, 0.01), lambda o: T.CosineAnnealingLR(o, 71, 0.01), 72),
    (S.cosine_restarts(0.3, 17, end=0.01), lambda o: T.CosineAnnealingWarmRestarts(o, 17, 1, 0.01), STEPS),
    (S.cosine_restarts(0.3, 9, 2.0, end=0.01), lambda o: T.CosineAnnealingWarmRestarts(o, 9, 2, 0.01), STEPS),
    (S.one_cycle(0.3, STEPS), lambda o: T.OneCycleLR(o, 0.3, STEPS), STEPS),
    (
        S.one_cycle(0.3, STEPS, 0.23, "linear", 7.0, 33.0),
        lambda o: T.OneCycleLR(o, 0.3, STEPS, pct_start=0.23, anneal_strategy="linear", div_factor=7.0, final_div_factor=33.0),
        STEPS,
    ),
    (
        S.one_cycle(0.3, STEPS, 0.23, three_phase=True),
        lambda o: T.OneCycleLR(o, 0.3, STEPS, pct_start=0.23, three_phase=True),
        STEPS,
    ),
    (S.inverse_time(0.3, 0.07), lambda o: T.LambdaLR(o, lambda t: 1 / (1 + 0.07 * t)), STEPS),
    (S.inverse_sqrt(0.3, warmup=16), lambda o: T.LambdaLR(o, lambda t: min(t / 16, (16 / max(t, 1)) ** 0.5)), STEPS),
    (
        S.warmup_stable_decay(0.3, 100, 30, 0.003, warmup=20, warmup_start=0.03),
        lambda o: T.SequentialLR(o, [T.LinearLR(o, 0.1, 1.0, 20), T.ConstantLR(o, 1.0), T.LinearLR(o, 1.0, 0.01, 30)], [20, 70]),
        STEPS,
    ),
    (
        S.join([S.exponential(0.3, 0.97), S.step(0.3, 7, 0.9)], [33]),
        lambda o: T.SequentialLR(o, [T.ExponentialLR(o, 0.97), T.StepLR(o, 7, 0.9)], [33]),
        STEPS,
    ),
]


@pytest.mark.parametrize(("ours", "make", "steps"), TORCH, ids=[repr(case[0])[:40] for case in TORCH])
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # which torch's own SequentialLR gives to its parts
def test_torch(ours: Any, make: Callable[[Any], Any], steps: int) -> None:
    agree(ours, torch_rates(make, 0.3, steps))


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("pct", [0.0, 0.04, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.6, 0.9, 1.0])
def test_one_cycle_at_its_edges(pct: float, three_phase: bool) -> None:
    for steps in range(1, 14):
        arguments = {"pct_start": pct, "three_phase": three_phase}
        try:
            expected = torch_rates(lambda o, n=steps, a=arguments: T.OneCycleLR(o, 0.3, n, **a), 0.3, steps)
        except ZeroDivisionError:  # where a phase has no length
            continue
        agree(S.one_cycle(0.3, steps, **arguments), expected)


def keras_cases() -> list[tuple[Any, Any]]:
    lr, start = F(0.3), F(0.02)
    return [
        (S.exponential(0.3, 0.9, 17), K.ExponentialDecay(lr, 17, 0.9)),
        (S.exponential(0.3, 0.9, 17, staircase=True), K.ExponentialDecay(lr, 17, 0.9, staircase=True)),
        (S.piecewise([10, 31], [0.3, 0.2, 0.1]), K.PiecewiseConstantDecay([9, 30], [F(0.3), F(0.2), F(0.1)])),
        (S.polynomial(0.3, 40, 0.01, 1.5), K.PolynomialDecay(lr, 40, 0.01, 1.5)),
        (S.polynomial(0.3, 40, 0.01, 1.5, cycle=True), K.PolynomialDecay(lr, 40, 0.01, 1.5, cycle=True)),
        (S.linear(0.3, 40, 0.01), K.PolynomialDecay(lr, 40, 0.01)),
        (S.inverse_time(0.3, 0.5, 17), K.InverseTimeDecay(lr, 17, 0.5)),
        (S.inverse_time(0.3, 0.5, 17, staircase=True), K.InverseTimeDecay(lr, 17, 0.5, staircase=True)),
        (S.cosine(0.3, 40, 0.03), K.CosineDecay(lr, 40, alpha=0.1)),
        (
            S.cosine(0.3, 60, 0.03, warmup=20, warmup_start=0.02),
            K.CosineDecay(start, 40, alpha=0.1, warmup_target=lr, warmup_steps=20),
        ),
        (S.cosine_restarts(0.3, 17, 1.0, end=0.03), K.CosineDecayRestarts(lr, 17, t_mul=1.0, alpha=0.1)),
    ]


@pytest.mark.parametrize("case", range(11))
def test_keras(case: int) -> None:
    ours, theirs = keras_cases()[case]
    agree(ours, [float(theirs(F(step))) for step in range(STEPS)])


def test_keras_restarts() -> None:
    """Apart from the restarts themselves, where its logarithm may round to the cycle before; its peaks shrink to the `end` too."""
    ours, theirs = S.cosine_restarts(0.3, 17, 1.7, 0.8), K.CosineDecayRestarts(F(0.3), 17, t_mul=1.7, m_mul=0.8)
    agree(ours, [float(theirs(F(step))) for step in range(STEPS)])


def optax_cases() -> list[tuple[Any, Any]]:
    o = optax
    pct, turn = 0.3, int(0.3 * STEPS)
    return [
        (S.constant(0.3), o.constant_schedule(0.3)),
        (S.constant(0.3, warmup=20, warmup_start=0.02), o.warmup_constant_schedule(0.02, 0.3, 20)),
        (S.exponential(0.3, 0.9, 17), o.exponential_decay(0.3, 17, 0.9)),
        (S.exponential(0.3, 0.9, 17, staircase=True), o.exponential_decay(0.3, 17, 0.9, staircase=True)),
        (
            S.exponential(0.3, 0.9, 17, warmup=20, warmup_start=0.02),
            o.warmup_exponential_decay_schedule(0.02, 0.3, 20, 17, 0.9),
        ),
        (S.multi_step(0.3, [10, 31], 0.5), o.piecewise_constant_schedule(0.3, {10: 0.5, 31: 0.5})),
        (S.piecewise([10, 31], [0.3, 0.15, 0.6]), o.piecewise_constant_schedule(0.3, {10: 0.5, 31: 4.0})),
        (S.polynomial(0.3, 40, 0.01, 1.5), o.polynomial_schedule(0.3, 0.01, 1.5, 40)),
        (S.linear(0.3, 40, 0.01), o.linear_schedule(0.3, 0.01, 40)),
        (S.cosine(0.3, 40, 0.03), o.cosine_decay_schedule(0.3, 40, 0.1)),
        (S.cosine(0.3, 40, 0.03, 1.7), o.cosine_decay_schedule(0.3, 40, 0.1, 1.7)),
        (
            S.cosine(0.3, 60, 0.03, 1.7, warmup=20, warmup_start=0.02),
            o.warmup_cosine_decay_schedule(0.02, 0.3, 20, 60, 0.03, 1.7),
        ),
        (
            S.join([S.cosine(p, 30, 0.01, warmup=5) for p in (0.3, 0.2)], [30]),
            o.sgdr_schedule(
                [
                    {"init_value": 0.0, "peak_value": p, "warmup_steps": 5, "decay_steps": 30, "end_value": 0.01}
                    for p in (0.3, 0.2)
                ]
            ),
        ),
        (S.one_cycle(0.3, STEPS + 1, warmup=turn), o.cosine_onecycle_schedule(STEPS, 0.3, pct)),
        (
            S.one_cycle(0.3, STEPS + 1, warmup=turn, anneal="linear", three_phase=True),
            o.linear_onecycle_schedule(STEPS, 0.3, pct, 2 * pct),
        ),
        (
            S.join([S.linear(0.1, 20, 0.3), S.exponential(0.3, 0.9)], [20]),
            o.join_schedules([o.linear_schedule(0.1, 0.3, 20), o.exponential_decay(0.3, 1, 0.9)], [20]),
        ),
        (
            S.warmup_stable_decay(0.3, 100, 30, 0.003, warmup=20, warmup_start=0.02),
            o.join_schedules(
                [o.linear_schedule(0.02, 0.3, 20), optax.constant_schedule(0.3), o.linear_schedule(0.3, 0.003, 30)], [20, 70]
            ),
        ),
    ]


@pytest.mark.parametrize("case", range(17))
def test_optax(case: int) -> None:
    ours, theirs = optax_cases()[case]
    agree(ours, jax.vmap(theirs)(np.arange(STEPS + 1)))


def test_every_case_is_run() -> None:
    assert (len(keras_cases()), len(optax_cases())) == (11, 17)


def metrics(rng: np.random.Generator, sign: float) -> list[float]:
    """What falls, stands, falls little, jumps, and is not a number now and then."""
    values = sign * (np.repeat(np.exp(-rng.uniform(0, 3, 40)), rng.integers(1, 6, 40)) - 0.3)
    values[rng.random(len(values)) < 0.05] = np.nan
    return [float(value) for value in values]


@pytest.mark.parametrize("seed", range(40))
def test_reduce_on_plateau_is_torchs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arguments: dict[str, Any] = {
        "mode": str(rng.choice(["min", "max"])),
        "factor": float(rng.uniform(0.1, 0.9)),
        "patience": int(rng.integers(0, 4)),
        "threshold": float(rng.choice([0.0, 1e-4, 0.1])),
        "threshold_mode": str(rng.choice(["rel", "abs"])),
        "cooldown": int(rng.integers(0, 3)),
        "min_lr": float(rng.choice([0.0, 1e-3, 0.5])),
        "eps": float(rng.choice([1e-8, 1e-2])),
    }
    lr = 0.3
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    theirs = T.ReduceLROnPlateau(optimizer, **arguments)
    if arguments["threshold_mode"] == "rel":
        arguments["threshold_mode"] = "torch"
    ours = ReduceOnPlateau(lr, **arguments)
    for step, metric in enumerate(metrics(rng, float(rng.choice([-1, 1])))):
        theirs.step(metric)
        ours.step(metric)
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_default_is_torchs_for_a_metric_above_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arguments: dict[str, Any] = {"mode": str(rng.choice(["min", "max"])), "patience": int(rng.integers(0, 4)), "threshold": 0.1}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs, ours = T.ReduceLROnPlateau(optimizer, **arguments), ReduceOnPlateau(0.3, **arguments)
    for step, metric in enumerate(abs(value) for value in metrics(rng, 1.0)):
        theirs.step(metric)
        ours.step(metric)
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_negative_metric_has_the_same_margin_as_a_positive_one(mode: str) -> None:
    """Torch's arithmetic, which "torch" keeps, takes a worsening within the margin for an improvement and never reduces."""
    better = -1 if mode == "min" else 1
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = T.ReduceLROnPlateau(optimizer, mode=mode, patience=2, threshold=0.01)
    ours, as_torch = (
        ReduceOnPlateau(0.3, mode=mode, patience=2, threshold=0.01, threshold_mode=kind) for kind in ("rel", "torch")
    )
    for i in range(12):
        worse = -100 - 0.5 * better * i  # by half a margin each time
        theirs.step(worse)
        as_torch.step(worse)
        ours.step(worse)
    assert optimizer.param_groups[0]["lr"] == as_torch(0) == 0.3
    assert ours(0) == pytest.approx(0.3 * 0.1**3)
    assert ours.best == -100
    ours.step(-100 + 0.9 * better)
    assert ours.best == -100, "less than the margin is no improvement"
    ours.step(-100 + 1.1 * better)
    assert ours.best == -100 + 1.1 * better


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras' variables, when it reads them
@pytest.mark.parametrize("seed", range(20))
def test_reduce_on_plateau_says_what_is_keras(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patience, cooldown, delta = int(rng.integers(1, 4)), int(rng.integers(0, 4)), float(rng.choice([0.0, 0.1]))
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss="mse")
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=patience, min_delta=delta, cooldown=cooldown, min_lr=0.0, mode="min"
    )
    callback.set_model(model)
    callback.on_train_begin()
    ours = ReduceOnPlateau(
        0.3, factor=0.5, patience=patience - 1, cooldown=max(cooldown - 1, 0), threshold=delta, threshold_mode="abs", eps=0.0
    )
    for epoch, metric in enumerate(value for value in metrics(rng, 1.0) if not np.isnan(value)):
        callback.on_epoch_end(epoch, {"loss": metric})
        ours.step(metric)
        assert ours(epoch) == pytest.approx(float(model.optimizer.learning_rate.value), rel=1e-12)
