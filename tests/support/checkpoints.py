"""Shared by the tests of checkpoints: optimizers with state, all that a load may change, scalars that a checkpoint holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import fastopt
from tests.support.arrays import Array, gradients
from tests.support.cases import arguments_with_state
from tests.support.comparing import digest

SHAPES = ((3, 4), (), (0, 5), (17,))


def built(rule: str, starts: list[Array], **arguments: Any) -> Any:
    """An optimizer with its own copies of the parameters and with every slot that the rule has."""
    return getattr(fastopt, rule)([start.copy() for start in starts], **{"lr": 0.1, **arguments_with_state(rule), **arguments})


def stepped(rule: str, steps: int = 2, dtype: Any = np.float32, **arguments: Any) -> Any:
    rng = np.random.default_rng(3)
    optimizer = built(rule, [gradients(shape, dtype, rng) for shape in SHAPES], **arguments)
    for _ in range(steps):
        optimizer.step([gradients(shape, dtype, rng) for shape in SHAPES])
    return optimizer


def params_of(optimizer: Any) -> list[Array]:
    return [param for group in optimizer.groups for param in group["params"]]


def everything(optimizer: Any) -> Any:
    """All that a load may change, and the parameters, which a load may not change.  Arrays come as hashes."""

    def seen(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: seen(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [seen(each) for each in value]
        return (str(value.dtype), value.shape, digest(value)) if isinstance(value, np.ndarray) else value

    return seen(optimizer.state_dict()), digest(*params_of(optimizer))


SCALARS = (
    st.none()
    | st.booleans()
    | st.text(st.characters())
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
ANY_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
