"""Wrappers that pass for the optimizer: by subclassing its class (Lightning), by a copy of its attributes (Fabric), by delegation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastopt.torch
from fastopt.torch import fused_in_backward
from tests.support.torch_checkpoints import bits
from tests.support.torch_programs import one_thread, parameter, random

__all__ = ["one_thread"]


class Delegating:
    """lightning.pytorch.core.optimizer.LightningOptimizer."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.__class__ = type("Lightning" + type(optimizer).__name__, (self.__class__, type(optimizer)), {})

    def step(self, closure: Any = None) -> Any:
        return self._optimizer.step(closure)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


class Copying:
    """lightning.fabric.wrappers._FabricOptimizer, and LightningOptimizer before 2.0."""

    def __init__(self, optimizer: Any) -> None:
        self.__dict__ = {k: v for k, v in optimizer.__dict__.items() if k not in ("state_dict", "step")}
        self.__class__ = type("Fabric" + type(optimizer).__name__, (self.__class__, type(optimizer)), {})
        self._optimizer = optimizer

    def step(self, closure: Any = None) -> Any:
        return self._optimizer.step(closure)

    def state_dict(self) -> Any:
        return self._optimizer.state_dict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


class Bare:
    """Nothing but the class: whatever is not its own is not there."""

    def __init__(self, optimizer: Any) -> None:
        self.__dict__.update(optimizer.__dict__)
        self.__dict__["_optimizer"] = optimizer
        self.__class__ = type("Bare" + type(optimizer).__name__, (type(self), type(optimizer)), {})

    def step(self, closure: Any = None) -> Any:
        return self._optimizer.step(closure)


WRAPPERS = [Delegating, Copying, Bare]


def made(wrapper: Any, **arguments: Any) -> tuple[Any, Any, list[torch.nn.Parameter]]:
    params = [parameter(3, dtype=torch.bfloat16), parameter(4, seed=1, dtype=torch.bfloat16)]
    optimizer = fastopt.torch.AdamW(params, lr=0.1, master="24bit", ema_decay=0.9, **arguments)
    return optimizer, wrapper(optimizer), params


def train(optimizer: Any, first: int, last: int) -> None:
    for step in range(first, last):
        for i, param in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            param.grad = random(*param.shape, seed=10 * step + i, dtype=param.dtype)
        optimizer.step()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_everything_of_a_wrapper_is_the_optimizers(wrapper: Any) -> None:
    optimizer, wrapped, _ = made(wrapper)
    assert isinstance(wrapped, fastopt.torch.AdamW)
    train(wrapped, 0, 2)
    assert wrapped.state is optimizer.state
    assert wrapped.param_groups is optimizer.param_groups
    assert bits(wrapped.ema_params) == bits(optimizer.ema_params)
    assert wrapped.options is optimizer.options
    wrapped.options["max_norm"] = 1.0
    train(wrapped, 2, 3)
    assert wrapped.grad_norm is not None
    assert wrapped.grad_norm == optimizer.grad_norm
    wrapped.reset_masters()
    assert all("master" not in entry for entry in optimizer.state.values())
    wrapped.share_memory()
    assert all(value.is_shared() for entry in optimizer.state.values() for value in entry.values())
    assert bits(wrapped.state_dict()) == bits(optimizer.state_dict())
    assert wrapped.skipped_steps == optimizer.skipped_steps == 0


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_checkpoint_loaded_into_a_wrapper_holds_in_the_optimizer(wrapper: Any) -> None:
    source, _, params = made(wrapper)
    train(source, 0, 3)
    values = [param.detach().clone() for param in params]
    saved = source.state_dict()
    saved["fastopt"]["skipped_steps"] = 5
    optimizer, wrapped, others = made(wrapper)
    train(wrapped, 7, 9)
    wrapped.load_state_dict(saved)
    assert optimizer.skipped_steps == wrapped.skipped_steps == 5
    with torch.no_grad():
        for param, value in zip(others, values, strict=True):
            param.copy_(value)
    train(wrapped, 3, 5)
    train(source, 3, 5)
    assert bits(others) == bits(params)
    assert bits(optimizer.state_dict()["state"]) == bits(source.state_dict()["state"])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_groups_added_to_a_wrapper_are_the_optimizers(wrapper: Any) -> None:
    optimizer, wrapped, params = made(wrapper)
    train(wrapped, 0, 1)
    wrapped.add_param_group({"params": [more := parameter(5, seed=2, dtype=torch.bfloat16)], "lr": 0.5})
    assert len(optimizer.param_groups) == 2
    with pytest.raises(ValueError, match=r"^param_groups\[2\]: lr: got -1.0"):
        wrapped.add_param_group({"params": [parameter(2)], "lr": -1.0})
    assert len(optimizer.param_groups) == 2
    train(wrapped, 1, 2)
    assert [float(optimizer.state[param]["step"]) for param in (*params, more)] == [2, 2, 1]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_steps_in_backward_through_a_wrapper(wrapper: Any) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = fastopt.torch.AdamW(model.parameters())
    wrapped = wrapper(optimizer)
    hooks = fused_in_backward(model, wrapped)
    model(torch.ones(1, 3)).sum().backward()
    assert [float(entry["step"]) for entry in optimizer.state.values()] == [1, 1]
    hooks.remove()


class Preparing(torch.optim.Optimizer):
    """accelerate.optimizer.AcceleratedOptimizer."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    state = property(lambda self: self.optimizer.state, lambda self, value: setattr(self.optimizer, "state", value))
    param_groups = property(
        lambda self: self.optimizer.param_groups, lambda self, value: setattr(self.optimizer, "param_groups", value)
    )


def test_a_wrapper_that_sets_state_and_groups() -> None:
    optimizer, _, params = made(Delegating)
    train(optimizer, 0, 2)
    wrapped = Preparing(optimizer)
    wrapped.param_groups = [{**group, "lr": 0.0, "weight_decay": 0.0} for group in wrapped.param_groups]
    before = bits(params)
    train(optimizer, 2, 3)
    assert bits(params) == before
