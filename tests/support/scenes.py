"""An optimizer that has made a step, and the bad arrays that it must refuse without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

import fastopt
from tests.support.arrays import Array
from tests.support.cases import arguments_with_state
from tests.support.comparing import digest

N = 6


class CudaArray:
    """An object that claims what CuPy's arrays claim."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {"shape": (N,), "typestr": "<f4", "data": (4096, False), "version": 3}


def misaligned(dtype: Any = np.float32) -> Array:
    itemsize = np.dtype(dtype).itemsize
    return np.ones(N * itemsize + 1, np.uint8)[1:].view(dtype)


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


class Scene:
    """An optimizer of three tensors that has made a step, and a good gradient for each."""

    def __init__(self, rule: str, *, names: bool = False) -> None:
        rng = np.random.default_rng(9)
        self.params = [rng.standard_normal(N).astype(np.float32) for _ in range(3)]
        self.grads = [rng.standard_normal(N).astype(np.float32) for _ in range(3)]
        given: Any = dict(zip("abc", self.params, strict=True)) if names else self.params
        self.optimizer = getattr(fastopt, rule)(given, lr=0.1, **arguments_with_state(rule))
        self.optimizer.step(self.grads)

    def digest(self) -> Any:
        state = [(dict(entry)["step"], digest(*(v for k, v in entry.items() if k != "step"))) for entry in self.optimizer.state]
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.groups]
        return digest(*self.params), digest(*self.grads), state, self.optimizer.steps, groups

    @contextmanager
    def refuses(self, error: type[Exception] | tuple[type[Exception], ...], words: str) -> Iterator[None]:
        before = self.digest()
        with pytest.raises(error, match=words):
            yield
        assert self.digest() == before, "something was written all the same"

    def slot(self) -> Array:
        return next(value for value in self.optimizer.state[0].values() if isinstance(value, np.ndarray))


# Each bad array stands last in its list, so that a step that had begun would show in the others.
BAD_ARRAYS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "16 bits that are no number": (lambda: np.ones(N, np.uint16), TypeError),
    "longdouble": (lambda: np.ones(N, np.longdouble), TypeError),
    "integers": (lambda: np.ones(N, np.int32), TypeError),
    "booleans": (lambda: np.ones(N, bool), TypeError),
    "complex": (lambda: np.ones(N, np.complex64), TypeError),
    "objects": (lambda: np.array([1.0] * N, object), TypeError),
    "records": (lambda: np.ones(N, [("x", np.float32)]), TypeError),
    "foreign byte order": (lambda: np.ones(N, np.dtype(np.float32).newbyteorder()), ValueError),
    "every second element": (lambda: np.ones(2 * N, np.float32)[::2], ValueError),
    "reversed": (lambda: np.ones(N, np.float32)[::-1], ValueError),
    "broadcast": (lambda: np.broadcast_to(np.float32(1), (N,)), ValueError),
    "misaligned": (misaligned, ValueError),
    "masked": (lambda: np.ma.MaskedArray(np.ones(N, np.float32), mask=[True] + [False] * (N - 1)), TypeError),
    "on a GPU": (CudaArray, TypeError),
    "a list of numbers": (lambda: [1.0] * N, TypeError),
    "a number": (lambda: 1.0, TypeError),
    "text": (lambda: "ones", TypeError),
    "an object": (object, TypeError),
    "an iterator": (lambda: iter([np.ones(N, np.float32)]), TypeError),
}
BAD_GRADIENTS: dict[str, tuple[Callable[[], Any], type[Exception]]] = BAD_ARRAYS | {
    "of the other dtype": (lambda: np.ones(N), TypeError),
    "too short": (lambda: np.ones(N - 1, np.float32), ValueError),
    "too long": (lambda: np.ones(N + 1, np.float32), ValueError),
    "empty": (lambda: np.ones(0, np.float32), ValueError),
    "of another shape": (lambda: np.ones((2, 3), np.float32), ValueError),
    "of one more dimension": (lambda: np.ones((1, N), np.float32), ValueError),
}


class Whole(Scene):
    """A scene with averages and copies, which may not change either."""

    def __init__(self, rule: str = "AdamW", **options: Any) -> None:
        super().__init__(rule)
        self.copies = [np.zeros(N, np.float16), None, np.zeros(N)]
        settings = {"ema_decay": 0.9, "copy_to": self.copies} | options
        self.optimizer = getattr(fastopt, rule)(self.params, lr=0.1, **arguments_with_state(rule), **settings)
        self.optimizer.step(self.grads)

    def digest(self) -> Any:
        options = self.optimizer.options
        written = [*(self.optimizer.ema_params or []), *(each for each in self.copies if each is not None)]
        return super().digest(), digest(*written), dict(options), self.optimizer.skipped_steps, self.optimizer.grad_norm
