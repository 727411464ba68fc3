"""Hyperparameters that a program changes in `param_groups`: the next step has the bits of the core's with the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastopt.torch
from tests.support.comparing import assert_same_bits

KINDS: dict[str, Callable[[float], Any]] = {
    "float": float,
    "float64 of NumPy": np.float64,
    "tensor": lambda value: torch.tensor(value, dtype=torch.float64),
    "tensor of float32": torch.tensor,
    "tensor of one dimension": lambda value: torch.tensor([value]),
    "negative view": lambda value: torch.complex(torch.zeros(()), torch.tensor(-value)).conj().imag,
}


def pair(name: str, **arguments: Any) -> tuple[Any, torch.Tensor, Any, Any]:
    start = np.linspace(-1, 1, 65, dtype=np.float32)
    param, twin = torch.nn.Parameter(torch.tensor(start)), start.copy()
    return getattr(fastopt.torch, name)([param], **arguments), param, getattr(fastopt, name)(twin, **arguments), twin


def step_both(optimizer: Any, param: torch.Tensor, other: Any, rng: np.random.Generator) -> None:
    grad = rng.standard_normal(65).astype(np.float32)
    param.grad = torch.tensor(grad)
    optimizer.step()
    other.step(grad)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["lr", "weight_decay", "eps"])
def test_a_new_number_of_any_kind_holds_in_the_next_step(key: str, kind: str, rng: np.random.Generator) -> None:
    optimizer, param, other, twin = pair("AdamW", lr=0.5)
    for step in range(6):
        value = KINDS[kind](0.5 / (1 + step))
        optimizer.param_groups[0][key] = value
        other.groups[0].update({key: float(value)})
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], (key, step))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_lr_that_is_filled_in_place_holds_in_the_next_step(dtype: torch.dtype, rng: np.random.Generator) -> None:
    optimizer, param, other, twin = pair("SGD", lr=0.5, momentum=0.9)
    rate = optimizer.param_groups[0]["lr"] = torch.tensor(0.5, dtype=dtype)
    for step in range(5):
        rate.fill_(0.5 / (1 + step))
        other.groups[0].update(lr=rate.item())
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], step)


@pytest.mark.parametrize(
    "kind", [tuple, list, lambda pair: tuple(map(torch.tensor, pair)), lambda pair: list(map(np.float32, pair))]
)
def test_betas_of_any_kind_hold_in_the_next_step(kind: Callable[[Any], Any], rng: np.random.Generator) -> None:
    optimizer, param, other, twin = pair("Adam", lr=0.1)
    held = optimizer.param_groups[0]["betas"] = kind((0.5, 0.75))
    for step in range(5):
        if isinstance(held, list):
            held[0] = 0.5 / (1 + step)
        else:
            held = optimizer.param_groups[0]["betas"] = kind((0.5 / (1 + step), 0.75))
        other.groups[0].update(betas=tuple(map(float, held)))
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], step)


def test_an_unusual_number_follows_a_plain_one_and_a_plain_one_follows_it(rng: np.random.Generator) -> None:
    """Values of the first kind go through the checks of groups, which know what the plans were told meanwhile."""
    optimizer, param, other, twin = pair("AdamW", lr=0.5)
    for value in (0.5, np.float32(0.25), 0.125, np.float32(0.25), 0.25, 1, np.float16(0.5), 0.5, np.float32(0.25)):
        optimizer.param_groups[0]["lr"] = value
        other.groups[0].update(lr=float(value))
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], value)


def test_flags_change_between_numbers(rng: np.random.Generator) -> None:
    optimizer, param, other, twin = pair("SGD", lr=0.5, momentum=0.9)
    for changes in (
        {"nesterov": True},
        {"momentum": 0.5},
        {"nesterov": False, "momentum": 0.25},
        {"maximize": True},
        {"lr": 0.1},
    ):
        optimizer.param_groups[0].update(changes)
        other.groups[0].update(changes)
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], changes)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"lr": -1.0}, ValueError, "lr: got -1.0, expected"),
        ({"lr": True}, TypeError, "lr: got bool True"),
        ({"lr": torch.tensor(float("nan"))}, ValueError, "lr: got nan"),
        ({"lr": torch.ones(2)}, ValueError, "lr: .*a tensor of 2 elements"),
        ({"betas": (0.9, 1.0)}, ValueError, r"betas\[1\]: got 1.0"),
        ({"lr": 0.25, "weight_decay": -1.0}, ValueError, "weight_decay: got -1.0"),
        ({"differentiable": True}, RuntimeError, "differentiable: got True"),
    ],
    ids=str,
)
def test_a_bad_number_is_refused_before_the_step_and_again(
    changes: dict[str, Any], error: type[Exception], words: str, rng: np.random.Generator
) -> None:
    optimizer, param, other, twin = pair("AdamW", lr=0.5)
    step_both(optimizer, param, other, rng)
    good = {key: optimizer.param_groups[0][key] for key in changes}
    optimizer.param_groups[0].update(changes)
    for _ in range(2):
        with pytest.raises(error, match=words):
            optimizer.step()
    assert_same_bits([param.detach().numpy()], [twin])
    optimizer.param_groups[0].update(good)
    step_both(optimizer, param, other, rng)
    assert_same_bits([param.detach().numpy()], [twin])


def test_state_that_gets_other_memory_or_keys_is_noticed_after_it_was_seen(rng: np.random.Generator) -> None:
    optimizer, param, other, twin = pair("Adam", lr=0.5)
    step_both(optimizer, param, other, rng)
    entry = optimizer.state[param]
    for change in ("data", "tensor", "own key", "own value", "order", "none"):
        if change == "data":
            entry["exp_avg"].data = entry["exp_avg"].data.clone()
        elif change == "tensor":
            entry["exp_avg_sq"] = entry["exp_avg_sq"].clone()
        elif change.startswith("own"):
            entry["mine"] = object()
        elif change == "order":
            entry["exp_avg"] = entry.pop("exp_avg")
        step_both(optimizer, param, other, rng)
        assert_same_bits([param.detach().numpy()], [twin], change)
        assert_same_bits([entry["exp_avg"].numpy()], [other.state[0]["exp_avg"]], change)
