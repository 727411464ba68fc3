"""The call that makes the gradient of a parameter from what came instead: the ends of the errors about gradients.

Each cure is an expression in the name that the message begins with: pasted, it is what a step takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .device import DeviceArray, is_cupy, is_on_device
from .dtypes import GRADIENTS, arithmetic, dtype_name
from .families import family, is_numbers
from .memory import Array

__all__ = ["expression", "of_gradient", "of_itself"]


def of_gradient(value: Any, name: str, param: Array, cure: str, *, written: bool) -> str:
    """What to do with the expression, as `cure` words it; "" if there is none."""
    made = expression(value, name, param)
    return made and cure.format(made) + (", a copy that zero_grad then fills with zeros" if written else "")


def expression(value: Any, name: str, param: Array) -> str:
    """An expression that gives `value` as a step takes it for `param`; "" if none does."""
    on_gpu = isinstance(param, DeviceArray)
    if family(value) == "torch" and hasattr(value, "is_contiguous"):
        return of_torch(value, name, param)
    if on_gpu or is_on_device(value):
        return of_cupy(value, name, param) if is_cupy(value) and on_gpu else elsewhere(value, name, on_gpu=on_gpu)
    if isinstance(value, np.ma.MaskedArray):
        return of_ndarray(value.filled(0), name, param, "np", f"{name}.filled(0)")
    if isinstance(value, np.ndarray):
        return of_ndarray(value, name, param, "np")
    return of_others(value, name, param)


def of_itself(value: Any, name: str) -> str:
    """The cure for an array that kernels are to read, in its own shape."""
    array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
    double = str(array.dtype).removeprefix("torch.") == "float64"
    made = expression(value, name, np.broadcast_to(np.float64(0) if double else np.float32(0), tuple(array.shape)))
    return made and f"pass {made}"


def of_ndarray(array: Any, name: str, param: Array, module: str, made: str = "") -> str:
    """The expression for an array of NumPy or CuPy; `made` has made `array` of something else."""
    wanted = arithmetic(param).name
    change = shape_cure(array.shape, param.shape)
    if change is None or array.dtype.kind not in "biufOV" or (array.dtype.kind == "V" and dtype_name(array) != "bfloat16"):
        return ""
    plain = (made or name) + change
    other = dtype_name(array) not in GRADIENTS[wanted] or not array.dtype.isnative
    if not array.flags.c_contiguous or change == ".T":
        return f"{module}.ascontiguousarray({plain}{f', {module}.{wanted}' if other else ''})"
    if other:
        return f"{plain}.astype({module}.{wanted})"
    return f"{plain}.copy()" if not (change or made) else plain


def shape_cure(shape: Sequence[int], wanted: Sequence[int]) -> str | None:
    """What gives an array another shape: "" if it has it, a method's call, or None if no call is sure to be right."""
    shape, wanted = tuple(shape), tuple(wanted)
    if shape == wanted:
        return ""
    same = int(np.prod(shape)) == int(np.prod(wanted))
    squeezed = [length for length in shape if length != 1]
    if same and (squeezed == [length for length in wanted if length != 1] or len(shape) == 1 or len(wanted) == 1):
        return f".reshape({wanted})"
    if shape == wanted[::-1]:
        return ".T"
    axes = tuple(range(len(shape) - len(wanted)))
    if axes and shape[len(axes) :] == wanted and wanted:  # what was broadcast over a batch: its gradient is the sum
        return f".sum({axes[0] if len(axes) == 1 else axes})"
    return None


def of_torch(tensor: Any, name: str, param: Array) -> str:
    """The expression for a tensor, in torch's words."""
    place = param.place if isinstance(param, DeviceArray) else "cpu"
    change = shape_cure(tuple(tensor.shape), param.shape)
    if change is None or tensor.is_complex():
        return ""
    wanted = arithmetic(param).name
    word = str(tensor.dtype).removeprefix("torch.")
    dense = str(tensor.layout) == "torch.strided"
    calls = [
        ".detach()" if tensor.requires_grad else "",
        ".to_dense()" if not dense else "",
        "" if str(tensor.device) == place else ".cpu()" if place == "cpu" else f'.to("{place}")',
        change,
        "" if word in GRADIENTS[wanted] else ".double()" if wanted == "float64" else ".float()",
        ".resolve_neg()" if tensor.is_neg() else "",
        ".contiguous()" if change == ".T" or (dense and not tensor.is_contiguous()) else "",
    ]
    return name + "".join(calls) if any(calls) else ""


def of_cupy(array: Any, name: str, param: Array) -> str:
    return of_ndarray(array, name, param, "cp")


def elsewhere(value: Any, name: str, *, on_gpu: bool) -> str:
    """The copy on the other side for an array of NumPy or CuPy."""
    if on_gpu:
        return f"cp.asarray({name})" if isinstance(value, np.ndarray) else ""
    return f"cp.asnumpy({name})" if is_cupy(value) else ""


def of_others(value: Any, name: str, param: Array) -> str:
    """The expression for what NumPy can make an array of."""
    origin = family(value)
    wanted = arithmetic(param).name
    if origin == "SciPy" and hasattr(value, "toarray"):
        made = f"{name}.toarray()"
        return of_ndarray(value.toarray(), name, param, "np", made)
    if origin is None and not (is_numbers(value) or isinstance(value, np.generic)):
        return ""
    try:
        array = np.array(value, wanted, order="C")
    except Exception:  # numbers in lists of several lengths; a foreign class may raise anything
        return ""
    order = ", order='C'" if origin else ""  # a frame lies column by column
    made = f"np.array({name}, np.{wanted}{order})"
    return of_ndarray(array, name, param, "np", made)
