"""One array as the gradient of several parameters, and views that overlap: a step only reads them, unless it leaves zeros there."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt.rules import RULES
from tests.support.arrays import gradients
from tests.support.cases import arguments_with_state
from tests.support.comparing import assert_same_bits
from tests.support.reference import Array

N = 300


def starts(rng: np.random.Generator) -> list[Array]:
    return [gradients(N, np.float32, rng) for _ in range(3)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0, "skip_nonfinite": True}], ids=["plain", "norm"])
def test_shared_gradients_step_as_copies_do(rule: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    params, memory = starts(rng), gradients(2 * N, np.float32, rng)
    grads = [memory[:N], memory[1 : N + 1], memory[:N]]
    results = []
    for given in (grads, [grad.copy() for grad in grads]):
        own = [param.copy() for param in params]
        optimizer = getattr(fastopt, rule)(own, lr=0.1, **arguments_with_state(rule), **options)
        for _ in range(2):
            optimizer.step(given)
        bound = [param.copy() for param in params]
        twin = getattr(fastopt, rule)(bound, lr=0.1, grads=given, **arguments_with_state(rule), **options)
        for _ in range(2):
            twin.step()
        assert_same_bits(bound, own)
        results.append(own)
    assert_same_bits(*results)


@pytest.mark.parametrize("how", ["given", "bound", "bound, then zeroed"])
def test_shared_gradients_are_refused_where_they_are_zeroed(how: str) -> None:
    params, grad = [np.ones(N), np.ones(N)], np.ones(N)
    optimizer = fastopt.SGD(params, grads=None if how == "given" else [grad, grad])
    words = r"^grads\[1\]: got the same memory as grads\[0\], expected separate arrays"
    if how == "bound, then zeroed":
        optimizer.options["zero_grad"] = True
    options = {} if how == "bound, then zeroed" else {"zero_grad": True}
    with pytest.raises(ValueError, match=words):
        optimizer.step([grad, grad] if how == "given" else None, **options)
    assert (grad == 1).all()
    assert all((param == 1).all() for param in params)
    with pytest.raises(ValueError, match=words):
        fastopt.SGD(params, zero_grad=True, grads=[grad, grad])


def test_a_gradient_that_a_step_writes_elsewhere_is_refused_all_the_same() -> None:
    params = [np.ones(N), np.ones(N)]
    optimizer = fastopt.SGD(params, momentum=0.9)
    for bad, name in ((params[0], "params[0]"), (optimizer.state[0]["momentum_buffer"], "state of params[0]: momentum_buffer")):
        with pytest.raises(ValueError, match=re.escape(f"got the same memory as {name}")):
            optimizer.step([bad, bad])


@pytest.mark.parametrize("empty", [[], (), {}], ids=["list", "tuple", "dict"])
def test_an_empty_group(empty: Any) -> None:
    """Takes a group without parameters, as torch does, if another group has some."""
    p, q = np.ones(3), np.ones(3)
    optimizer = fastopt.AdamW([{"params": empty, "lr": 0.5}, {"params": [p]}, {"params": empty}], lr=0.1)
    plain = fastopt.AdamW([q], lr=0.1)
    for each in (optimizer, plain):
        each.step([np.full(3, 0.25)])
    assert_same_bits([p], [q])
    assert [len(group["params"]) for group in optimizer.groups] == [0, 1, 0]
    again = fastopt.AdamW([{"params": empty}, {"params": [q]}, {"params": empty}])
    again.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in again.groups] == [0.5, 0.1, 0.1]
    optimizer.groups[0]["lr"] = 0.25
    with pytest.raises(ValueError, match="params: got 2 groups without arrays, expected at least one array"):
        fastopt.AdamW([{"params": empty}, {"params": empty}])
