"""torch's tensors as the plan takes them: views of their memory, in whatever order it has their elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import buffers
from .._arrays.memory import same_order

__all__ = ["arithmetic", "array_of", "is_dense", "like", "same_layout", "words"]


def arithmetic(param: torch.Tensor) -> torch.dtype:
    """What a rule computes in."""
    return torch.float64 if param.dtype == torch.float64 else torch.float32


def array_of(tensor: torch.Tensor, name: str) -> buffers.Array:
    """Its memory, with its strides."""
    tensor = tensor.detach()
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


def words(tensor: Any) -> str:
    """A few words on a tensor in a message."""
    return f"a {type(tensor).__name__} of {tensor.dtype}, shape {tuple(tensor.shape)}, on {tensor.device}"
