"""torch's tensors as the plan takes them: views of their memory, in whatever order it has their elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import buffers
from .._arrays.memory import same_order
from .._arrays.storages import computes, lack
from ..rules.words import describe

__all__ = [
    "arithmetic",
    "array_of",
    "as_real",
    "check_memory",
    "dense",
    "is_dense",
    "is_single",
    "like",
    "refuse_wrapper",
    "same_layout",
    "words",
]

ARITHMETIC = {torch.float64: torch.float64, torch.complex64: torch.complex64, torch.complex128: torch.complex128}


def arithmetic(param: torch.Tensor) -> torch.dtype:
    """What a rule computes in; for complex numbers, each of which is two real ones, what holds both."""
    return ARITHMETIC.get(param.dtype, torch.float32)


def is_single(param: torch.Tensor) -> bool:
    """Whether a rule computes in float32."""
    return arithmetic(param) not in (torch.float64, torch.complex128)


def as_real(tensor: torch.Tensor) -> torch.Tensor:
    """The real numbers that a tensor is made of: for complex ones a view with one dimension more, else the tensor."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def refuse_wrapper(tensor: torch.Tensor, name: str) -> None:
    """RuntimeError for a tensor that computes by itself; of a DTensor it names the way out."""
    if computes(tensor):
        hint = (
            ", such as the DTensor's shard on this device: p.to_local() for each parameter p"
            if hasattr(tensor, "to_local")
            else ""
        )
        raise RuntimeError(
            f"{name}: got a {type(tensor).__name__}, which has no memory of its own, expected an ordinary tensor{hint}"
        )


def check_memory(tensor: torch.Tensor, name: str) -> None:
    """RuntimeError for a tensor without memory of its own, or whose storage is gone or shrunk."""
    refuse_wrapper(tensor, name)
    if (
        tensor.layout != torch.strided
        or tensor.device.type not in ("cpu", "cuda")
        or tensor._is_zerotensor()
        or not tensor.numel()
    ):
        return
    if (came := lack(tensor)) is not None:
        raise RuntimeError(f"{name}: got {came}")


def array_of(tensor: torch.Tensor, name: str) -> buffers.Array:
    """Its memory, with its strides; RuntimeError if it has none."""
    check_memory(tensor, name)
    tensor = as_real(tensor.detach())
    if tensor.device.type != "cpu":
        there: Any = buffers.as_array(tensor, name)
        there.source = None  # the adapter itself follows tensors that get other memory
        return there  # type: ignore[no-any-return]  # see buffers.Named
    # Not by tensor.numpy(), after which torch lets no one resize the storage.
    array: buffers.Array = np.from_dlpack(tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor)
    return array.view(buffers.BFLOAT16) if tensor.dtype == torch.bfloat16 else array


def like(param: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Zeros with the layout of `param`."""
    return torch.zeros_like(param.detach(), dtype=dtype, memory_format=torch.preserve_format)


def same_layout(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether both have one shape and their elements in one order in memory."""
    return a.shape == b.shape and (a.stride() == b.stride() or same_order(a.shape, a.stride(), b.stride()))


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements lie side by side, in whatever order of the dimensions."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return True
    expected = 1
    for step, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length != 1:
            if step != expected:
                return False
            expected *= length
    return True


def dense(param: torch.Tensor) -> torch.Tensor:
    """The parameter, outside of autograd; if its memory has gaps a copy without any, which lies as its state does."""
    return param.detach() if is_dense(param) else like(param, param.dtype).copy_(param.detach())


def words(tensor: Any) -> str:
    """A few words on a tensor in a message, or on what came for one."""
    if not isinstance(tensor, torch.Tensor):
        return describe(tensor)
    return f"a {type(tensor).__name__} of {tensor.dtype}, shape {tuple(tensor.shape)}, on {tensor.device}"
