"""`Member`: one listing of a parameter in the groups, and what parameters, copies and gradients have to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .._arrays import buffers
from ..rules import Rule
from ..rules.words import describe
from .state import Layout
from .views import check_memory, same_layout, words

__all__ = ["Member", "check_copy", "check_gradient", "check_parameter"]


@dataclass(frozen=True)
class Member:
    """One parameter where it stands in the groups.  Nobody keeps members: a parameter is freed when the program lets it go."""

    param: torch.Tensor
    name: str
    """In messages."""
    group: int
    position: int
    """Among the group's."""
    offset: int
    """Elements of the parameters before it, padded to blocks."""
    layout: Layout
    """What its entry in the state holds."""
    copy: torch.Tensor | None
    """What takes a copy of it after each step."""


def check_parameter(param: torch.Tensor, name: str) -> None:
    """RuntimeError for a parameter that the kernels cannot update in place."""
    check_memory(param, name)
    if param.layout != torch.strided or param.device.type not in ("cpu", "cuda"):
        raise RuntimeError(f"{name}: got {param.layout} on {param.device}, expected a strided tensor on the CPU or a CUDA device")
    if param.dtype not in GRADIENTS:
        raise RuntimeError(f"{name}: got {param.dtype}, expected float32, float64, bfloat16, float16, complex64 or complex128")
    if param.is_neg() or param.is_conj() or param._is_zerotensor():
        raise RuntimeError(f"{name}: got a tensor whose memory does not hold its values, expected one that was resolved")
    if meets_itself(param):
        raise RuntimeError(
            f"{name}: got strides {param.stride()} for shape {tuple(param.shape)}, expected each element in memory of its own"
        )


def meets_itself(tensor: torch.Tensor) -> bool:
    """Whether elements may share memory; sure only where the dimensions lie one inside the other, as those of views do."""
    reach = 0
    for step, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length > 1:
            if step <= reach:
                return bool(tensor.numel() > 0)
            reach += (length - 1) * step
    return False


def check_copy(value: Any, param: torch.Tensor, name: str) -> None:
    """ValueError for what cannot take copies of a parameter, which is dense."""
    known = isinstance(value, torch.Tensor) and (
        value.dtype == param.dtype if param.is_complex() else str(value.dtype).removeprefix("torch.") in buffers.DTYPES
    )
    if not known or value.device != param.device or not same_layout(value, param):
        came = words(value) if isinstance(value, torch.Tensor) else describe(value)
        raise ValueError(f"{name}: got {came}, expected a floating-point tensor laid out as its parameter: {words(param)}")


GRADIENTS = {
    torch.float64: (torch.float64, torch.float32, torch.bfloat16, torch.float16),
    **dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), (torch.float32, torch.bfloat16, torch.float16)),
    torch.complex64: (torch.complex64,),
    torch.complex128: (torch.complex128, torch.complex64),
}
"""The dtypes of parameters that steps take, and for each those of its gradients: what its arithmetic holds."""


def check_gradient(param: torch.Tensor, grad: torch.Tensor, rule: Rule, name: str) -> None:
    """RuntimeError, as torch's, for a gradient of a kind that no step takes."""
    check_memory(grad, f"{name}: the gradient")
    if grad.layout != torch.strided:
        raise RuntimeError(f"{name}: {rule.name} does not support sparse gradients; p.grad = p.grad.to_dense() makes a dense one")
    if grad.shape != param.shape or grad.device != param.device:
        raise RuntimeError(
            f"{name}: got a gradient of shape {tuple(grad.shape)} on {grad.device}, expected {tuple(param.shape)} on {param.device}"
        )
    if grad.dtype not in GRADIENTS[param.dtype]:
        raise RuntimeError(f"{name}: got a gradient of {grad.dtype} for a parameter of {param.dtype}, expected one that it holds")
