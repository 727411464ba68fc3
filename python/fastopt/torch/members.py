"""`Member`: one parameter with its place among all of them, and what parameters, copies and gradients have to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .._arrays import buffers
from ..rules import Rule
from ..rules.words import describe
from .views import is_dense, same_layout, words

__all__ = ["Member", "check_copy", "check_gradient", "check_parameter"]


@dataclass(frozen=True)
class Member:
    """One parameter."""

    param: torch.Tensor
    name: str
    """In messages."""
    group: int
    position: int
    """Among the group's."""
    offset: int
    """Elements of the parameters before it, padded to blocks."""
    copy: torch.Tensor | None
    """What takes a copy of it after each step."""


def check_memory(tensor: torch.Tensor, name: str) -> None:
    """RuntimeError for a tensor that computes by itself (DTensor, FakeTensor, quantized ones), or whose storage is gone."""
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise RuntimeError(f"{name}: got a {type(tensor).__name__}, which has no memory of its own, expected an ordinary tensor")
    has_memory = tensor.layout == torch.strided and tensor.device.type in ("cpu", "cuda") and not tensor._is_zerotensor()
    if has_memory and tensor.numel() and not tensor.data_ptr():
        raise RuntimeError(f"{name}: got a tensor whose storage is gone, expected one with it")


def check_parameter(param: torch.Tensor, name: str) -> None:
    """RuntimeError for a parameter that the kernels cannot update in place."""
    check_memory(param, name)
    if param.layout != torch.strided or param.device.type not in ("cpu", "cuda"):
        raise RuntimeError(f"{name}: got {param.layout} on {param.device}, expected a strided tensor on the CPU or a CUDA device")
    if param.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        hint = "; torch.view_as_real views a complex parameter as real" if param.is_complex() else ""
        raise RuntimeError(f"{name}: got {param.dtype}, expected float32, float64, bfloat16 or float16{hint}")
    if param.is_neg():
        raise RuntimeError(f"{name}: got a tensor that stands for minus its memory, expected one that was resolved")
    if not is_dense(param):
        raise RuntimeError(
            f"{name}: got strides {param.stride()} for shape {tuple(param.shape)}, expected memory without gaps and overlaps, in any order"
        )


def check_copy(value: Any, param: torch.Tensor, name: str) -> None:
    """ValueError for what cannot take copies of a parameter."""
    known = isinstance(value, torch.Tensor) and str(value.dtype).removeprefix("torch.") in buffers.DTYPES
    if not known or value.device != param.device or not same_layout(value, param):
        came = words(value) if isinstance(value, torch.Tensor) else describe(value)
        raise ValueError(f"{name}: got {came}, expected a floating-point tensor laid out as its parameter: {words(param)}")


def check_gradient(param: torch.Tensor, grad: torch.Tensor, rule: Rule, name: str) -> None:
    """RuntimeError, as torch's, for a gradient of a kind that no step takes."""
    check_memory(grad, f"{name}: the gradient")
    if grad.layout != torch.strided:
        raise RuntimeError(f"{name}: {rule.name} does not support sparse gradients")
    if grad.shape != param.shape or grad.device != param.device:
        raise RuntimeError(
            f"{name}: got a gradient of shape {tuple(grad.shape)} on {grad.device}, expected {tuple(param.shape)} on {param.device}"
        )
    wider = {torch.float64: 3, torch.float32: 2, torch.bfloat16: 1, torch.float16: 1}
    if wider.get(grad.dtype, 4) > max(wider[param.dtype], 2):
        raise RuntimeError(f"{name}: got a gradient of {grad.dtype} for a parameter of {param.dtype}, expected one that it holds")
