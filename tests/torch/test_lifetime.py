"""Parameters that a program lets go are freed with their gradients and their state, as with torch's classes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastopt.torch
from tests.support.torch_programs import give_gradients, one_thread, parameter, random

__all__ = ["one_thread"]

FACES = (fastopt.torch, torch.optim)


def storage_of(tensor: torch.Tensor) -> Any:
    """A weak reference to a tensor's memory, which a detached twin of it would keep too."""
    return weakref.ref(tensor.untyped_storage())


def replace(optimizer: Any, old: torch.Tensor, *, moved: bool) -> torch.nn.Parameter:
    """Another parameter in the place of `old`, with its state or without."""
    new = torch.nn.Parameter(old.detach().clone())
    for group in optimizer.param_groups:
        group["params"] = [new if param is old else param for param in group["params"]]
    entry = optimizer.state.pop(old, None)
    if moved and entry is not None:
        optimizer.state[new] = entry
    return new


@pytest.mark.parametrize("optim", FACES, ids=["ours", "torch"])
@pytest.mark.parametrize("moved", [True, False], ids=["state moved", "state dropped"])
@pytest.mark.parametrize("ends_with_a_step", [True, False])
def test_replaced_parameters_are_freed(optim: Any, moved: bool, ends_with_a_step: bool) -> None:
    optimizer = optim.AdamW([parameter(50), param := parameter(40, seed=1)], lr=0.1)
    gone: list[weakref.ref[Any]] = []
    for step in range(10):
        give_gradients(optimizer, step)
        optimizer.step()
        gone += [weakref.ref(param), weakref.ref(param.grad)]
        if not moved:
            gone += [weakref.ref(value) for value in optimizer.state[param].values()]
        param = replace(optimizer, param, moved=moved)
    if ends_with_a_step:
        give_gradients(optimizer, 10)
        optimizer.step()
    gc.collect()
    assert [each() for each in gone] == [None] * len(gone)
    assert optimizer.state[param]["step"] == (11 if ends_with_a_step else 10) if moved else True


@pytest.mark.parametrize("what", ["copy_to", "backward", "gaps", "complex", "float32 master", "twice"])
def test_whatever_knows_a_parameter_lets_it_go(what: str) -> None:
    """`copy_to`, hooks of steps in backward, dense copies, masters, turns."""
    values = random(40, seed=1, dtype=torch.bfloat16 if what == "float32 master" else torch.float32)
    values = {"gaps": values.repeat(2)[::2], "complex": torch.complex(values.float(), values.float())}.get(what, values)
    other, param = torch.nn.Parameter(torch.ones(3, dtype=values.dtype)), torch.nn.Parameter(values)
    arguments: dict[str, Any] = {"master": "float32"} if what == "float32 master" else {}
    if what == "copy_to":
        arguments["copy_to"] = [None, torch.zeros(40)]
    listed = [other, param]
    optimizer = fastopt.torch.Adam([{"params": [p]} for p in listed], **arguments)
    if what == "twice":
        optimizer.param_groups.append({**optimizer.param_groups[1]})
    for each in listed:
        each.grad = torch.ones_like(each)
    if what == "backward":
        for each in listed:
            optimizer.step_parameter(each)
    else:
        optimizer.step()
    gone = [weakref.ref(param), weakref.ref(param.grad), *map(weakref.ref, optimizer.state[param].values())]
    assert optimizer.grad_norm is None
    optimizer.state.pop(param)
    del optimizer.param_groups[1:], listed[1:], each, param
    gc.collect()
    assert [each() for each in gone] == [None] * len(gone)
    optimizer.step()


def test_a_program_that_grows_and_prunes_stays_as_large_as_it_is() -> None:
    """Memory of what was pruned is free at once, before the next step; what was counted stays."""
    optimizer = fastopt.torch.AdamW([first := parameter(8)], lr=0.1, skip_nonfinite=True)
    storages: list[Any] = []
    for step in range(6):
        param = parameter(30, seed=step)
        optimizer.add_param_group({"params": [param]})
        give_gradients(optimizer, step)
        if step == 2:
            param.grad[3] = torch.inf
        optimizer.step()
        counted = optimizer.skipped_steps, optimizer.grad_norm
        storages += [storage_of(param), storage_of(optimizer.state[param]["exp_avg"])]
        optimizer.state.pop(param)
        optimizer.param_groups.pop()
        del param
        assert [each() for each in storages] == [None] * len(storages)
        assert (optimizer.skipped_steps, optimizer.grad_norm) == counted
    assert (optimizer.skipped_steps, float(optimizer.state[first]["step"])) == (1, 5)


@pytest.mark.parametrize("change", ["memory", "state"])
def test_memory_that_was_replaced_is_freed_by_the_next_step(change: str) -> None:
    optimizer = fastopt.torch.AdamW([param := parameter(30)], lr=0.1)
    give_gradients(optimizer, 0)
    optimizer.step()
    kept: Callable[[], torch.Tensor] = lambda: param if change == "memory" else optimizer.state[param]["exp_avg"]  # noqa: E731
    old = storage_of(kept())
    kept().data = random(30, seed=5)
    optimizer.step()
    assert old() is None


def test_an_optimizer_is_freed_without_the_collector() -> None:
    param = parameter(30)
    optimizer = fastopt.torch.AdamW([param])
    give_gradients(optimizer, 0)
    optimizer.step()
    optimizer.step_parameter(param)
    book = weakref.ref(optimizer._book)
    gc.disable()
    try:
        del optimizer
        assert book() is None
    finally:
        gc.enable()
