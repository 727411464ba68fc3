"""Data parallelism: what would let ranks diverge, or fail in the first step, is refused where it is set up."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import fastopt.torch
from fastopt.torch import fused_in_backward
from tests.support.torch_programs import one_thread, random

__all__ = ["one_thread"]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


@pytest.mark.usefixtures("group")
def test_a_wrapper_after_steps_in_backward_is_refused() -> None:
    model = network()
    optimizer = fastopt.torch.AdamW(model.parameters())
    hooks = fused_in_backward(model, optimizer)
    for wrapped in (model, torch.nn.Sequential(model, torch.nn.Linear(2, 2)), model[0]):
        with pytest.raises(
            RuntimeError, match=r"^DistributedDataParallel: got a model whose parameters take their steps in backward"
        ):
            DistributedDataParallel(wrapped)
    DistributedDataParallel(copy.deepcopy(network()))
    hooks.remove()
    averaged = DistributedDataParallel(model)
    averaged(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == 4


@pytest.mark.usefixtures("group")
def test_a_wrapper_after_an_optimizer_that_is_gone() -> None:
    model = network()
    optimizer = fastopt.torch.AdamW(model.parameters())
    fused_in_backward(model, optimizer)
    del optimizer
    DistributedDataParallel(model)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("given", ["the wrapper", "the model", "a part", "what holds the wrapper"])
def test_steps_in_backward_of_what_is_wrapped_are_refused(given: str) -> None:
    model = network()
    wrapper = DistributedDataParallel(model)
    optimizer = fastopt.torch.AdamW(model.parameters())
    for param in model.parameters():
        param.grad = None
    module = {"the wrapper": wrapper, "the model": model, "a part": model[0]}.get(given, torch.nn.Sequential(wrapper))
    with pytest.raises(RuntimeError, match=r"^model: got .*DistributedDataParallel"):
        fused_in_backward(module, optimizer)
    assert not optimizer.state
    other = network()
    fused_in_backward(other, fastopt.torch.AdamW(other.parameters()))


@pytest.mark.usefixtures("group")
def test_sharded_parameters_are_refused_where_the_optimizer_is_built() -> None:
    model = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    words = r"got a DTensor, which has no memory of its own, expected an ordinary tensor.*p\.to_local\(\)"
    with pytest.raises(RuntimeError, match=rf"^param_groups\[0\]\['params'\]\[0\]: {words}"):
        fastopt.torch.AdamW(model.parameters())
    with pytest.raises(RuntimeError, match=rf"^parameter '0.weight': {words}"):
        fastopt.torch.AdamW(model.named_parameters())
    optimizer = fastopt.torch.AdamW([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(RuntimeError, match=words):
        optimizer.add_param_group({"params": model.parameters()})
    assert len(optimizer.param_groups) == 1
    # The way out that the words name.
    shards = [param.to_local().detach().requires_grad_() for param in model.parameters()]
    optimizer = fastopt.torch.AdamW(shards)
    before = [shard.detach().clone() for shard in shards]
    for i, shard in enumerate(shards):
        shard.grad = random(*shard.shape, seed=i, dtype=torch.float32)
    optimizer.step()
    for param, value in zip(model.parameters(), before, strict=True):
        assert not torch.equal(param.to_local(), value)
