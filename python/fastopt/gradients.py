"""Norm, clipping and finiteness of gradients outside a step: `global_norm`, `clip_grad_norm`, `clip_grad_value`, `all_finite`.

A step has the same as options, which cost one sweep of the gradients or none.

For arrays on a GPU the results are float64 or bool arrays without dimensions there: nothing waits for the GPU until they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _core
from ._arrays import buffers
from ._engine.arguments import named
from ._engine.ranges import check_single
from .rules import OPTIONS

if TYPE_CHECKING:
    from ._arrays.typed import Grads

__all__ = ["all_finite", "clip_grad_norm", "clip_grad_value", "global_norm"]


def global_norm(grads: Grads) -> Any:
    """The Euclidean norm of all elements of `grads` together, in float64.

    `grads`: an array, or a list, a tuple or a dict of arrays; float32, float64, bfloat16 or float16, C-contiguous.  Entries may
    be None.  Squares are summed in float64 over blocks of 256 elements, and the blocks' sums exactly, so the result has the same
    bits for any number of threads, any instruction set and any order of the arrays.  Squares do not overflow.  The norm is Inf if
    it is beyond float64 or if an element is Inf, and NaN if an element is NaN.

    Raises TypeError or ValueError if `grads` is anything else.

    >>> fastopt.global_norm([np.array([3.0, 0.0]), None, np.array([-4.0])])
    5.0
    """
    return run("measure", read(grads), _core.Options(1.0, 0.0, 0.0, 0.0, False, False))[0]


def all_finite(grads: Grads) -> Any:
    """Whether no element of `grads` is Inf or NaN; `grads` as for `global_norm`.

    >>> fastopt.all_finite(np.ones(3)), fastopt.all_finite({"w": np.ones(3), "b": np.array([np.nan])})
    (True, False)
    """
    return run("measure", read(grads), _core.Options(1.0, 0.0, 0.0, 0.0, False, False))[1]


def clip_grad_norm(grads: Grads, max_norm: float, norm_eps: float = 0.0) -> Any:
    """Scales `grads` in place by max_norm/norm if their norm is above `max_norm`; returns the norm before.

    `grads` as for `global_norm`, writable and not overlapping.  A norm that is not finite leaves the gradients as they are.  With
    `norm_eps` (torch has 1e-6) the factor is torch's: max_norm/(norm + norm_eps), at most 1, also if the norm is not finite.

    Raises TypeError or ValueError, and writes nothing, if an argument is anything else.

    >>> grads = [np.array([3.0, 0.0]), np.array([-4.0])]
    >>> fastopt.clip_grad_norm(grads, max_norm=1.0)
    5.0
    >>> grads
    [array([0.6, 0. ]), array([-0.8])]
    """
    limit, eps = check("max_norm", max_norm), check("norm_eps", norm_eps)
    arrays = fitting(read(grads, written=True), "max_norm", limit)
    return run("clip", arrays, _core.Options(1.0, 0.0, limit, 0.0, False, False, eps))[0]


def clip_grad_value(grads: Grads, clip_value: float) -> None:
    """Holds each element of `grads` within [-clip_value, clip_value], in place; NaN stays NaN.

    `grads` as for `clip_grad_norm`.  Raises TypeError or ValueError, and writes nothing, if an argument is anything else.

    >>> grad = np.array([0.5, -3.0, 2.0])
    >>> fastopt.clip_grad_value(grad, 1.0)
    >>> grad
    array([ 0.5, -1. ,  1. ])
    """
    limit = check("clip_value", clip_value)
    run("clip", fitting(read(grads, written=True), "clip_value", limit), _core.Options(1.0, limit, 0.0, 0.0, False, False))


def check(name: str, value: Any) -> float:
    """A limit, checked as the option of that name is; None raises TypeError."""
    option = next(option for option in OPTIONS if option.name == name)
    if value is None:
        raise TypeError(f"{name}: got None, expected a real number")
    return float(option.check(value))


def fitting(arrays: list[buffers.Array], name: str, limit: float) -> list[buffers.Array]:
    """The arrays; ValueError for a limit that the arithmetic of one of them holds as 0 or Inf."""
    if any(buffers.arithmetic(array) == "float32" for array in arrays):
        check_single(limit, name, "grads")
    return arrays


def run(call: str, arrays: list[buffers.Array], options: _core.Options) -> tuple[Any, Any]:
    """Calls `_core.measure` or `_core.clip`, or their equals on the GPU that holds the arrays."""
    if arrays and isinstance(arrays[0], buffers.DeviceArray):
        from ._cuda import gradients

        result: tuple[Any, Any] = getattr(gradients, call)(arrays, options)
        return result
    return (_core.measure if call == "measure" else _core.clip)(arrays, options)


def read(grads: Any, *, written: bool = False) -> list[buffers.Array]:
    """The arrays of `grads` that are not None, as views of their memory."""
    if isinstance(grads, (list, tuple, Mapping)) and len(grads) == 0:
        return []
    arrays: list[tuple[str, buffers.Array]] = []
    for value, name, _ in named(grads, "grads"):
        if value is None:
            continue
        array = buffers.check_parameter(value, name, "") if written else buffers.check_readable(value, name)
        if arrays:
            buffers.check_place(array, name, arrays[0][1], arrays[0][0])
        arrays.append((name, array))
    if written:
        buffers.check_disjoint(arrays)
    return [array for _, array in arrays]
