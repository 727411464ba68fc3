"""A class and a float64 reference side by side over the same random gradients.

Tolerances are in units in the last place of the largest value that an element passed through and, for a
parameter, of the length of its way: each step rounds a handful of times relative to these.

float32 does all its arithmetic in float32 over scalars derived in float64.  A scalar rounds the same way at every
step, so decoupled decay by 1 - lr*weight_decay, next below 1, may lose half a unit each time, as torch's does.  So
may Lion, whose steps are all of one size.  In float64 the scalars count too: 1 - beta**t loses 1/(1-beta) ulps to the
two ways of taking a power, some thousand for beta2 = 0.999.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastopt
from fastopt.rules import RULES
from tests.support import reference
from tests.support.arrays import Array, gradients
from tests.support.comparing import History, assert_close

STEPS = 100
ULPS = {np.float32: 15.0, np.float64: 1000.0}
RADAM = {np.float32: 15.0, np.float64: 5000.0}
"""RAdam's rho - 4 is a small difference of two numbers near 2/(1-beta2)."""


def compare(
    rule: str,
    arguments: dict[str, Any],
    dtype: Any,
    n: int,
    seed: int,
    *,
    steps: int = STEPS,
    grad_scale: float = 1.0,
    expected_step: Callable[..., Array] | None = None,
    expected_arguments: dict[str, Any] | None = None,
    lr_at: Callable[[int], float] | None = None,
    compare_state: bool = True,
    slack: float = 1.0,
) -> None:
    """Runs the class and a reference side by side from the same random start over the same gradients."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-2, 2, n)
    param = gradients(n, dtype, rng, scale)
    optimizer = getattr(fastopt, rule)(param, **arguments)
    state: dict[str, Array] = {}
    expected, history = param.astype(np.float64), History()
    history.see(expected, {})
    step = expected_step or reference.REFERENCES[rule]
    known = dict(arguments) if expected_arguments is None else expected_arguments
    for t in range(1, steps + 1):
        grad = gradients(n, dtype, rng, scale / abs(grad_scale))
        if lr_at is not None:
            known = known | {"lr": lr_at(t)}
            if not callable(arguments["lr"]):
                optimizer.lr = lr_at(t)
        optimizer.step(grad, grad_scale=grad_scale)
        extra = {} if grad_scale == 1 else {"grad_scale": grad_scale}
        expected = step(expected, grad.astype(np.float64), state, t, **known, **extra)
        history.see(expected, state)
    assert optimizer.steps == steps
    group = optimizer.groups[0]
    decays = group["decoupled_weight_decay"] and group["weight_decay"]
    drift = steps / 2 if decays or (rule == "Lion" and dtype == np.float32) else 0.0
    ulps = slack * (RADAM if rule == "RAdam" else ULPS)[dtype]
    assert_close(param, expected, history.scales["params"], ulps + drift, "params")
    if compare_state:
        assert {"step", *state} == set(optimizer.state[0])
        assert optimizer.state[0]["step"] == steps
        for name, value in state.items():
            ours = np.asarray(optimizer.state[0][name])
            assert ours.dtype == (np.float64 if name in RULES[rule].carried else dtype)
            assert_close(ours, value, history.scales[name], ulps, name)
