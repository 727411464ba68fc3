"""`Coded`: a state tensor that is kept in 8 bits an element and is float32 to whoever reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from .._storage.formats import FORMATS
from .views import is_dense

__all__ = ["Coded"]


class Coded(torch.Tensor):
    """What `optimizer.state[p]["exp_avg"]` is with `state_dtype="8bit"`.

    Operators take its values now, as a new float32 tensor; one that writes to it rounds to nearest.  `codes` (uint8, blocks of
    256 in the order of the memory) and `blocks` (a word of 32 bits each) are the live memory, of which docs/formats.md has the bits.
    torch.save and copy.deepcopy keep both as they are; `to` and `float` give an ordinary tensor, which is how torch's own optimizers
    load it.
    """

    format: str
    parts: tuple[torch.Tensor, torch.Tensor]
    """`codes` and `blocks`; under this name the extension looks whether their memory is where it was."""

    @staticmethod
    def __new__(
        cls, format: str, codes: torch.Tensor, blocks: torch.Tensor, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Coded:
        made: Coded = torch.Tensor._make_wrapper_subclass(cls, shape, strides=strides, dtype=torch.float32, device=codes.device)
        made.format, made.parts = format, (codes, blocks)
        return made

    @property
    def codes(self) -> torch.Tensor:
        return self.parts[0]

    @property
    def blocks(self) -> torch.Tensor:
        return self.parts[1]

    @classmethod
    def zeros(cls, format: str, like: torch.Tensor) -> Coded:
        """A new one with the layout of `like`."""
        row = FORMATS[format]
        blocks = row.extras(like.numel())
        codes = torch.zeros((blocks, row.extra_span), dtype=torch.uint8, device=like.device)
        return cls(format, codes, codes.new_zeros(blocks, dtype=torch.int32), tuple(like.shape), like.stride())

    def decoded(self) -> torch.Tensor:
        """The values, in this layout."""
        values = FORMATS[self.format].decode(*self._raw())
        flat = torch.from_numpy(values[: self.numel()]).to(self.device)
        return flat.as_strided(self.shape, self.stride())

    def encode_(self, values: torch.Tensor) -> None:
        """Takes on values of the same shape, rounded to nearest."""
        if self.format.endswith("non-negative") and bool((values < 0).any()):
            raise ValueError(f"value: got {values.min().item()}, expected no value below 0 in a non-negative slot")
        codes, blocks = self._raw()
        padded = np.zeros(codes.size, np.float32)
        laid_out = torch.from_numpy(padded[: self.numel()]).as_strided(self.shape, self.stride())
        laid_out.copy_(values.detach())
        FORMATS[self.format].encode(padded, codes, blocks)
        if self.device.type != "cpu":
            self.codes.copy_(torch.from_numpy(codes))
            self.blocks.copy_(torch.from_numpy(blocks.view(np.int32)))
        if not self.is_inference():
            torch.autograd.graph.increment_version([self])  # of a list of tensors torch leaves that to the one who writes

    def twin(self) -> Coded:
        """A copy, bit for bit."""
        return Coded(self.format, self.codes.clone(), self.blocks.clone(), tuple(self.shape), self.stride())

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """An ordinary tensor, also where torch's own would give back this one as of that dtype and device."""
        return self.decoded().to(*args, **kwargs)

    def float(self) -> torch.Tensor:
        return self.decoded()

    def share_memory_(self) -> Coded:
        """Moves codes and words to shared memory; torch's own would look for memory of this tensor itself."""
        self.codes.share_memory_()
        self.blocks.share_memory_()
        return self

    def is_shared(self) -> bool:
        return bool(self.codes.is_shared())

    def __setitem__(self, index: Any, value: Any) -> None:
        values = self.decoded()
        values[index] = value
        self.copy_(values)

    def _raw(self) -> tuple[Any, Any]:
        """The live memory of codes and words, or copies of what is on a GPU."""
        return self.codes.cpu().numpy(), self.blocks.cpu().numpy().view(np.uint32)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten.detach.default:
            return Coded(args[0].format, args[0].codes, args[0].blocks, tuple(args[0].shape), args[0].stride())
        if func is torch.ops.aten.clone.default:
            return args[0].twin()
        values: dict[int, torch.Tensor] = {}

        def value(coded: Coded) -> torch.Tensor:
            return values.setdefault(id(coded), coded.decoded())

        plain_args, plain_kwargs = tree_map_only(Coded, value, (args, kwargs))
        result = func(*plain_args, **plain_kwargs)
        given = {**{a.name: each for a, each in zip(func._schema.arguments, args, strict=False)}, **kwargs}
        writes = [given.get(a.name) for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        written = [each for each in tree_leaves(writes) if isinstance(each, Coded)]
        for coded in written:
            coded.encode_(values[id(coded)])
        return written[0] if len(written) == 1 and result is values[id(written[0])] else result

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Coded({self.format!r}, shape {tuple(self.shape)}, {self.codes.nbytes + self.blocks.nbytes} bytes)"

    def __deepcopy__(self, memo: dict[int, Any]) -> Coded:
        if id(self) not in memo:
            memo[id(self)] = self.twin()
        copied: Coded = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Coded], tuple[Any, ...]]:
        return rebuild, (self.format, self.codes, self.blocks, tuple(self.shape), self.stride())


def rebuild(format: str, codes: torch.Tensor, blocks: torch.Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> Coded:
    """What torch.load calls; TypeError or ValueError for a file that is not of torch.save's."""
    row = FORMATS.get(format) if isinstance(format, str) else None
    if row is None or row.size != 1 or row.extra_span == 1:
        raise ValueError(f"Coded: got the format {format!r}, expected one of 8 bits with blocks")
    for name, tensor, dtype in (("codes", codes, torch.uint8), ("blocks", blocks, torch.int32)):
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != dtype or tensor.layout != torch.strided:
            raise TypeError(
                f"Coded: got {name} of {getattr(tensor, 'dtype', type(tensor).__name__)}, expected a tensor of {dtype}"
            )
    for name, numbers in (("shape", shape), ("strides", strides)):
        if not isinstance(numbers, (tuple, list)) or any(type(n) is not int or n < 0 for n in numbers):
            raise TypeError(f"Coded: got {name} {numbers!r}, expected whole numbers from 0")
    spans = (row.extras(math.prod(shape)),)
    if tuple(codes.shape) != (*spans, row.extra_span) or tuple(blocks.shape) != spans:
        raise ValueError(f"Coded: got {tuple(codes.shape)} codes and {tuple(blocks.shape)} blocks for the shape {tuple(shape)}")
    if len(strides) != len(shape) or not is_dense(torch.empty_strided(shape, strides, device="meta")):
        raise ValueError(
            f"Coded: got the strides {tuple(strides)} for the shape {tuple(shape)}, expected neither gaps nor overlaps"
        )
    return Coded(format, codes.contiguous(), blocks.contiguous(), tuple(shape), tuple(strides))


torch.serialization.add_safe_globals([rebuild])  # so that torch.load(weights_only=True) takes checkpoints
