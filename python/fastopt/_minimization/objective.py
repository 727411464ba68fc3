"""The objective: calls the caller's functions with a point, counts the calls and checks what they return."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.buffers import arithmetic
from .._arrays.memory import Array
from ..rules.words import describe, shown
from .bounds import Box
from .differences import SCHEMES, differences
from .points import as_real, read_only

__all__ = ["Objective"]


class Objective:
    """`fun` and `jac` as one function from a point to its value and gradient."""

    def __init__(self, fun: Any, jac: Any, args: Any, like: Array, box: Box | None, *, noisy: bool, keep: bool) -> None:
        self.nfev = self.njev = 0
        self._fun, self._jac, self._box = fun, check_jac(jac, noisy=noisy), box
        self._args = args if isinstance(args, tuple) else (args,)
        self._dtype = arithmetic(like)
        self._keep = keep  # copy every gradient into our own array
        self._buffer: Array | None = None

    def __call__(self, point: Array, batch: tuple[Any, ...]) -> tuple[float, Array]:
        """Value and gradient at `point`.  The gradient may be the caller's own array, and the next gradient may reuse its memory."""
        seen = read_only(point)
        self.njev += 1
        if isinstance(self._jac, str):
            # Values and differences are both in float64: float32 values would be noise to the differences.
            point = seen = read_only(point.astype(np.float64, copy=False))
            value = self._value(seen, batch)
            return value, self._gradient(
                differences(lambda x: self._number(x, batch), point, value, self._jac, self._box), "fun's differences", point
            )
        if self._jac is not True:
            return self._value(seen, batch), self._gradient(self._jac(seen, *batch, *self._args), "jac", point)
        self.nfev += 1
        pair = self._fun(seen, *batch, *self._args)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"fun: got {described(pair)}, expected a pair (value, gradient), since jac is True")
        return float(number(pair[0])), self._gradient(pair[1], "jac", point)

    def _value(self, seen: Array, batch: tuple[Any, ...]) -> float:
        value = self._number(seen, batch)
        if isinstance(value, complex):  # allowed at the complex points of a complex step only
            raise TypeError(f"fun: got {describe(value)}, expected a real number")
        return float(value)

    def _number(self, seen: Array, batch: tuple[Any, ...]) -> Any:
        self.nfev += 1
        return number(self._fun(seen, *batch, *self._args), complex_too=self._jac == "cs")

    def _gradient(self, value: Any, name: str, point: Array) -> Array:
        """The gradient as a step takes it: the caller's own array if it will do."""
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{name}: got a masked array, whose mask a step would ignore; expected a plain array")
        array = value if isinstance(value, np.ndarray) else as_real(value, name)
        if array.shape != point.shape and not array.size == point.size == 1:
            raise ValueError(f"{name}: got shape {array.shape}, expected {point.shape} as x0 has")
        flags = array.flags
        same = type(array) is np.ndarray and array.dtype == self._dtype and array.shape == point.shape
        if same and flags.c_contiguous and flags.aligned and not self._keep and not np.may_share_memory(array, point):
            return array
        as_real(array, name)
        if self._buffer is None:
            self._buffer = np.empty(point.shape, self._dtype)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, which ends the run
            np.copyto(self._buffer, np.asarray(array).reshape(point.shape), casting="unsafe")
        return self._buffer


def check_jac(jac: Any, *, noisy: bool) -> Any:
    """A callable, True, or the name of a scheme."""
    if callable(jac) or jac is True:
        return jac
    scheme = "2-point" if jac is None or jac is False else jac
    if not isinstance(scheme, str):
        raise TypeError(f"jac: got {describe(jac)}, expected a callable, True, None or one of {', '.join(map(repr, SCHEMES))}")
    if scheme not in SCHEMES:
        raise ValueError(f"jac: got {shown(jac)}, expected a callable, True, None or one of {', '.join(map(repr, SCHEMES))}")
    if noisy:
        raise ValueError(
            f"jac: got {shown(jac)}, expected a callable or True, since differences of a stochastic fun are those of its noise"
        )
    return scheme


def number(value: Any, *, complex_too: bool = False) -> Any:
    """What `fun` returned, as a float, or as a complex number from a complex step."""
    if type(value) is float:
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        raise TypeError(f"fun: got {described(value)}, expected a real number; of a pair (value, gradient) jac=True takes both")
    try:
        array = np.asarray(value)
    except Exception as error:  # a foreign class may raise anything
        raise TypeError(f"fun: got {type(value).__name__}, which is no number: {error}") from error
    if array.size != 1:
        raise ValueError(f"fun: got {describe(array)}, expected one number")
    if array.dtype.kind == "c" and complex_too:
        return complex(array.reshape(()))
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"fun: got {described(value)}, expected a real number")
    return float(array.reshape(()))


def described(value: Any) -> str:
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, (tuple, list)) else describe(value)
