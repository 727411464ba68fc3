"""The types of arrays in signatures: all that gives its memory by one of the protocols, as `as_array` takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

__all__ = ["AnyArray", "Arrays", "Grads", "Params"]


class HostArray(Protocol):
    """Memory on the CPU: NumPy, FlatBuffer."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class CudaArray(Protocol):
    """Memory on a GPU: CuPy, torch, Numba."""

    @property
    def __cuda_array_interface__(self) -> Any: ...


class DLPackArray(Protocol):
    """Memory anywhere: torch, JAX."""

    @property
    def __dlpack__(self) -> Callable[..., Any]: ...


AnyArray: TypeAlias = npt.NDArray[Any] | HostArray | CudaArray | DLPackArray
Arrays: TypeAlias = AnyArray | Sequence[AnyArray] | Mapping[str, AnyArray]
Params: TypeAlias = AnyArray | Sequence[AnyArray | Mapping[str, Any]] | Mapping[str, AnyArray]
"""Arrays or groups.  One type of entries for both, since mypy reads a list that may be of several types as one of objects."""
Grads: TypeAlias = AnyArray | Sequence[AnyArray | None] | Mapping[str, AnyArray | None]
