"""Shared by the tests of fastopt.torch: a small network, torch's arguments, a program run with our classes and with torch's."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import fastopt.torch
from fastopt.rules import RULES

BATCH = 32
TORCH_RULES = [rule for rule in RULES if hasattr(torch.optim, rule)]
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
"""torch's classes with `fused`."""

COMMON: dict[str, tuple[Any, ...]] = {"lr": (1e-3, 1e-2), "weight_decay": (0.0, 0.03), "maximize": (False, True)}
BETAS = ((0.9, 0.999), (0.7, 0.95))
DECOUPLED = {"decoupled_weight_decay": (False, True)}
ARGUMENTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SGD": COMMON | {"lr": (0.01, 0.1), "momentum": (0.0, 0.9), "dampening": (0.0, 0.3), "nesterov": (False, True)},
    "Adam": COMMON | {"betas": BETAS, "eps": (1e-8, 1e-2), "amsgrad": (False, True)} | DECOUPLED,
    "AdamW": COMMON | {"betas": BETAS, "eps": (1e-8, 1e-2), "amsgrad": (False, True)},
    "Adamax": COMMON | {"betas": BETAS, "eps": (1e-8, 1e-2)},
    "NAdam": COMMON | {"betas": BETAS, "eps": (1e-8, 1e-2), "momentum_decay": (4e-3, 1.0)} | DECOUPLED,
    "RAdam": COMMON | {"betas": BETAS, "eps": (1e-8, 1e-2)} | DECOUPLED,
    "RMSprop": COMMON
    | {"lr": (3e-4, 3e-3), "alpha": (0.99, 0.7), "eps": (1e-8, 1e-2), "momentum": (0.0, 0.9), "centered": (False, True)},
    "Adadelta": COMMON | {"lr": (0.1, 1.0), "rho": (0.9, 0.5), "eps": (1e-6, 1e-2)},
    "Adagrad": COMMON | {"lr_decay": (0.0, 0.05), "initial_accumulator_value": (0.0, 0.3), "eps": (1e-10, 1e-3)},
}
"""Each flag, and two values of each number."""


def combinations(rule: str) -> Iterator[dict[str, Any]]:
    """All combinations, but `lr`, a factor of each step, takes its two values in turn: each with every value of any other."""
    others = {name: levels for name, levels in ARGUMENTS[rule].items() if name != "lr"}
    for i, values in enumerate(itertools.product(*others.values())):
        arguments = {"lr": ARGUMENTS[rule]["lr"][i.bit_count() % 2], **dict(zip(others, values, strict=True))}
        if not (arguments.get("nesterov") and (arguments["momentum"] == 0 or arguments["dampening"] != 0)):
            yield arguments


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Gives torch one thread: its threads spin while they wait, which slows small networks on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """256 images and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:256] / 16).reshape(-1, 1, 8, 8), torch.tensor(labels[:256])


def network(dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.nn.Sequential:
    """A convolution, and linear layers with biases."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 12), torch.nn.Tanh()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(12, 10)).to(dtype)


def loss_of(model: torch.nn.Module, step: int) -> torch.Tensor:
    """The loss of a step's batch."""
    images, labels = digits()
    part = slice(step * BATCH % len(images), step * BATCH % len(images) + BATCH)
    return functional.cross_entropy(model(images[part].to(next(model.parameters()).dtype)), labels[part])


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 20, *, first: int = 0) -> list[torch.Tensor]:
    """Trains; returns the losses."""
    losses = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def parameter(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.nn.Parameter:
    return torch.nn.Parameter(random(*shape, seed=seed, dtype=dtype))


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random values of either sign, never zero."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * 1.5 + 0.5
    return (values * torch.randint(0, 2, shape, generator=generator).mul(2).sub(1)).to(dtype)


def give_gradients(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Gives every parameter a gradient of its own."""
    for i, param in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        param.grad = random(*param.shape, seed=1000 * step + i, dtype=param.dtype)


def state_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Each parameter's state, without what is None, which torch.optim.SGD lists, and without the count that it lacks."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    uncounted = type(optimizer).__name__ == "SGD"
    entries = [optimizer.state.get(param, {}).items() for param in params]
    return [{k: v for k, v in entry if v is not None and not (uncounted and k == "step")} for entry in entries]


def numbers_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The hyperparameters of each group that torch's class has too."""
    names = {*ARGUMENTS[type(optimizer).__name__], "initial_lr", "max_lr", "min_lr", "base_momentum", "swa_lr"}
    return [{k: v for k, v in group.items() if k in names} for group in optimizer.param_groups]


def assert_same(ours: Any, theirs: Any, where: str = "", rtol: float = 1e-9) -> None:
    """Asserts that tensors and numbers, in lists and dicts, are within `rtol` of their tensor's largest value, the rest equal."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{where}[{key!r}]", rtol)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}[{i}]", rtol)
    elif isinstance(theirs, torch.Tensor):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        scale = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * scale, equal_nan=True, msg=lambda m: f"{where}: {m}")
    elif isinstance(theirs, float) and not isinstance(ours, bool):
        assert abs(ours - theirs) <= rtol * abs(theirs) or ours == theirs, f"{where}: {ours} {theirs}"
    else:
        assert ours == theirs, where


def side_by_side(program: Callable[[Any], Any], rtol: float = 1e-9) -> None:
    """Runs a program with our classes and with torch's.  It takes their module and returns what must be the same with both."""
    results = []
    for optim in (fastopt.torch, torch.optim):
        torch.manual_seed(0)
        results.append(program(optim))
    assert_same(*results, rtol=rtol)


def program(function: Callable[..., Any]) -> Callable[..., None]:
    """Makes a test of a program: `side_by_side` of it with the test's other arguments."""

    @functools.wraps(function)
    def test(**arguments: Any) -> None:
        side_by_side(functools.partial(function, **arguments))

    signature = inspect.signature(function)
    test.__signature__ = signature.replace(  # type: ignore[attr-defined]  # pytest asks for the others
        parameters=[each for name, each in signature.parameters.items() if name != "optim"], return_annotation=None
    )
    return test


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype.  Under float32 torch keeps NAdam's running product of mu in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    """Sets float64 for programs that compare the state of NAdam."""
    with default_dtype(torch.float64):
        yield
