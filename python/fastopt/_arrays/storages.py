"""Tensors of torch: whether there is memory that holds their values."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["computes", "lack"]


def computes(tensor: Any) -> bool:
    """Whether a tensor computes by itself: a DTensor, a FakeTensor, a quantized one."""
    return type(tensor).__torch_dispatch__ is not sys.modules["torch"].Tensor.__torch_dispatch__


def lack(tensor: Any) -> str | None:
    """What is wrong with the memory of a tensor, as it goes on behind "got" in a message; None if it is there, or the tensor has none by
    its layout."""
    if computes(tensor):
        return f"a {type(tensor).__name__}, which has no memory of its own, expected an ordinary tensor"
    if tensor.layout != sys.modules["torch"].strided or tensor.numel() == 0:
        return None
    if tensor._is_zerotensor():
        return "a tensor that stands for zeros and has no memory, expected one that was made, such as zeros_like"
    reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    needed = (tensor.storage_offset() + reach) * tensor.element_size()
    if tensor.untyped_storage().nbytes() < needed:
        return f"a tensor whose storage was freed or cut, expected one with the {needed} bytes that it reaches over"
    return None
