"""Shared by the tests of fastopt.torch's checkpoints: parameters in groups, their gradients, all bits that an optimizer holds."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Sequence
from typing import Any

import torch

import fastopt.torch
from fastopt.torch.coded import Coded
from tests.support.cases import arguments_with_state

SHAPES = ((17, 19), (3,), (), (5, 4), (2, 3, 4, 3))
"""The parameters' shapes: more than a block of 8-bit state, less, and one in channels_last."""
NAMES = ("first.weight", "first.bias", "scale", "second.weight", "conv.weight")


def nonzero(shape: tuple[int, ...], dtype: torch.dtype, source: torch.Generator) -> torch.Tensor:
    """Random values of either sign, with sizes from 0.5 to 2."""
    size = torch.rand(shape, generator=source, dtype=torch.float64) * 1.5 + 0.5
    return (size * torch.randint(0, 2, shape, generator=source).mul(2).sub(1)).to(dtype)


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """The same parameters each time."""
    source = torch.Generator().manual_seed(1)
    values = [nonzero(shape, dtype, source) for shape in SHAPES]
    return [torch.nn.Parameter(v.to(memory_format=torch.channels_last) if v.dim() == 4 else v) for v in values]


def twins(params: Iterable[torch.Tensor]) -> list[torch.nn.Parameter]:
    """Copies of tensors as parameters without gradient."""
    return [torch.nn.Parameter(param.detach().clone()) for param in params]


def groups(params: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    """Two groups of named parameters; the second has values of its own."""
    named = list(zip(NAMES, params, strict=True))
    return [{"params": named[:2]}, {"params": named[2:], "lr": 0.03, "weight_decay": 0.02}]


def params_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def built(rule: str, params: Sequence[torch.Tensor], **arguments: Any) -> Any:
    """Our optimizer over the two groups, with every slot that the rule has."""
    return getattr(fastopt.torch, rule)(groups(params), **{"lr": 0.1, **arguments_with_state(rule), **arguments})


def run(optimizer: torch.optim.Optimizer, begin: int, end: int, *, gaps: bool = False) -> None:
    """Steps `begin` to `end` with gradients that depend on the step alone.

    With `gaps`, some parameters have no gradient at some steps, from the third on.  Gradients are laid out as their parameters:
    torch's fused optimizers mix up the elements of other gradients.
    """
    for step in range(begin, end):
        source = torch.Generator().manual_seed(100 + step)
        for i, param in enumerate(params_of(optimizer)):
            grad = nonzero(tuple(param.shape), param.dtype, source)
            laid_out = torch.empty_like(param.detach()).copy_(grad)
            param.grad = None if gaps and (step + i) % 7 == 6 else laid_out
        optimizer.step()


def bits(value: Any) -> Any:
    """A value to compare with ==, in lists and dicts: tensors as dtype, shape and bytes, 8-bit tensors as codes and blocks."""
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(each) for each in value]
    if isinstance(value, Coded):
        return value.format, tuple(value.shape), value.stride(), bits(value.codes), bits(value.blocks)
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().reshape(-1, 1).contiguous()
        return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy().tobytes()
    return value


def everything(optimizer: Any) -> Any:
    """All that a step or a load may change."""
    params = params_of(optimizer)
    return copy.deepcopy((bits(optimizer.state_dict()), bits(params), dict(optimizer.options), optimizer.skipped_steps))


def through_a_file(value: Any) -> Any:
    """A value saved and loaded, with `weights_only` as for a stranger's file."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
