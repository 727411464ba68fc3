"""What `fastopt.minimize` refuses: an error that names the argument, before the objective is called."""

from __future__ import annotations

import functools
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.arrays import Array
from tests.support.comparing import digest
from tests.support.objectives import bowl
from tests.support.processes import run_python

scipy_optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")

X, Y = np.ones((6, 2)), np.ones(6)
MASKED = np.ma.array([1.0, 2.0], mask=[True, False])


def refused(error: type[Exception], words: str, x0: Any = (1.0, 2.0), **arguments: Any) -> None:
    calls: list[Any] = []

    def fun(x: Array, *args: Any) -> tuple[float, Array]:
        calls.append(x)
        return bowl(x)

    with pytest.raises(error, match="^" + re.escape(words)):
        fastopt.minimize(**{"fun": fun, "x0": x0, "jac": True} | arguments)
    assert not calls


def label(value: Any) -> str:
    """The same for every process of a parallel run."""
    return re.sub(r" at 0x\w+", "", str(value))[:40]


EXTENDED = np.dtype(np.longdouble)

WRONG_STARTS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, "x0: got None"),
    ("1, 2", TypeError, "x0: got str '1, 2', expected real numbers"),
    ([[1], [1, 2]], TypeError, "x0: got list, which is no array of numbers"),
    ([1j], TypeError, "x0: got list [1j], expected real numbers"),
    ([True], TypeError, "x0: got list [True], expected real numbers"),
    ([object()], TypeError, "x0: got list"),
    (MASKED, TypeError, "x0: got a masked array"),
    ([1.0, np.nan], ValueError, "x0: got Inf or NaN"),
    (np.array([np.inf], np.float32), ValueError, "x0: got Inf or NaN"),
]
if np.float64 != EXTENDED:  # on some platforms it is
    WRONG_STARTS.append((np.ones(2, EXTENDED), TypeError, f"x0: got dtype {EXTENDED}, expected float32, float64, bfloat16"))


@pytest.mark.parametrize(("x0", "error", "words"), WRONG_STARTS, ids=label)
def test_starts(x0: Any, error: type[Exception], words: str) -> None:
    refused(error, words, x0)


def test_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    refused(TypeError, "x0: got a torch tensor", torch.ones(2))
    refused(TypeError, "x0: got a torch tensor", torch.ones(2, requires_grad=True))


def test_arrays_on_a_gpu() -> None:
    there = SimpleNamespace(__cuda_array_interface__={"shape": (2,), "typestr": "<f4", "data": (4096, False), "version": 3})
    refused(TypeError, "x0: got an array on a GPU", there)


WRONG_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"fun": None}, TypeError, "fun: got NoneType None, expected a callable"),
    ({"jac": "4-point"}, ValueError, "jac: got '4-point', expected a callable, True, None or one of '2-point', '3-point', 'cs'"),
    ({"jac": 1.0}, TypeError, "jac: got float 1.0"),
    ({"jac": None, "stochastic": True}, ValueError, "jac: got None, expected a callable or True"),
    ({"jac": "cs", "stochastic": True, "data": X}, ValueError, "jac: got 'cs', expected a callable or True"),
    ({"method": "adamm"}, ValueError, "method: got 'adamm', expected a class"),
    ({"method": "L-BFGS-B"}, ValueError, "method: got 'L-BFGS-B', expected a class"),
    ({"method": None}, TypeError, "method: got NoneType None"),
    ({"method": fastopt.Optimizer}, TypeError, "method: got "),
    ({"method": lambda x: 3}, TypeError, "method: got a callable that made int 3"),
    ({"method": lambda x: fastopt.Adam(x.copy())}, ValueError, "method: got a callable whose optimizer is of other arrays"),
    (
        {"method": lambda x: fastopt.Adam([x, np.ones(2)])},
        ValueError,
        "method: got a callable whose optimizer is of other arrays",
    ),
    ({"steps": -1}, ValueError, "steps: got -1"),
    ({"steps": 3.0}, TypeError, "steps: got float 3.0"),
    ({"lr": "fast"}, TypeError, "lr: got str 'fast'"),
    ({"lr": -0.1}, ValueError, "lr: got -0.1"),
    ({"lr": lambda step: np.nan}, ValueError, "lr: got nan"),
    ({"tol": -1.0}, ValueError, "tol: got -1.0, expected a number in [0, inf)"),
    ({"gtol": "1e-3"}, TypeError, "gtol: got str '1e-3'"),
    ({"ftol": np.nan}, ValueError, "ftol: got nan"),
    ({"xtol": True}, TypeError, "xtol: got bool True"),
    ({"patience": 0}, ValueError, "patience: got 0"),
    ({"patience": 1.5}, TypeError, "patience: got float 1.5"),
    ({"callback": 3}, TypeError, "callback: got int 3, expected a callable or None"),
    ({"progress": None}, TypeError, "progress: got NoneType None"),
    ({"progress": 1}, TypeError, "progress: got int 1"),
    ({"history": "y"}, ValueError, "history: got 'y', expected one of True, False, 'x'"),
    ({"history": 1}, TypeError, "history: got 1"),
    ({"batch_size": 3}, ValueError, "batch_size: got 3, expected None without data"),
    ({"shuffle": False}, ValueError, "shuffle: got False, expected True without data"),
    ({"stochastic": 1}, TypeError, "stochastic: got 1"),
    ({"seed": -1}, ValueError, "seed: got -1"),
    ({"seed": 1.0}, TypeError, "seed: got float 1.0"),
    ({"seed": "a", "data": X, "batch_size": 2}, TypeError, "seed: got str 'a'"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG_ARGUMENTS, ids=label)
def test_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    refused(error, words, **arguments)


WRONG_DATA: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"data": ()}, ValueError, "data: got no arrays"),
    ({"data": 3.0}, TypeError, "data: got float 3.0, expected an array of rows"),
    ({"data": (X, 3)}, TypeError, "data[1]: got int 3, expected an array of rows"),
    ({"data": (X, Y[:5])}, ValueError, "data[1]: got 5 rows, expected 6 as data[0] has"),
    ({"data": np.ones((0, 2))}, ValueError, "data: got no rows"),
    ({"data": MASKED}, TypeError, "data: got a masked array"),
    ({"data": [[1], [1, 2]]}, TypeError, "data: got list, which is no array"),
    ({"data": X, "batch_size": 0}, ValueError, "batch_size: got 0, expected a number of rows from 1 to 6"),
    ({"data": X, "batch_size": 7}, ValueError, "batch_size: got 7"),
    ({"data": X, "batch_size": 2.0}, TypeError, "batch_size: got float 2.0"),
    ({"data": X, "batch_size": True}, TypeError, "batch_size: got bool True"),
    ({"data": X, "shuffle": 0}, TypeError, "shuffle: got 0"),
    ({"data": X, "batch_size": 2, "stochastic": False}, ValueError, "stochastic: got False, expected True or None"),
    ({"data": X, "batch_size": 2, "gtol": 1e-3}, ValueError, "gtol: got 0.001, expected None for a stochastic objective: ftol"),
    ({"data": X, "batch_size": 2, "xtol": 1e-3}, ValueError, "xtol: got 0.001, expected None"),
    (
        {"data": X, "stochastic": True, "ftol": 1e-3},
        ValueError,
        "ftol: got 0.001, expected None for a stochastic objective: its values",
    ),
    ({"stochastic": True, "tol": 1e-3}, ValueError, "tol: got 0.001, expected None"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG_DATA, ids=label)
def test_data(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    refused(error, words, **arguments)


WRONG_HYPERPARAMETERS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"momentum": 0.9}, TypeError, "momentum: neither minimize nor Adam has such an argument; Adam has lr, betas, eps"),
    ({"maxiter": 100}, TypeError, "maxiter: neither minimize nor Adam"),
    ({"method": functools.partial(fastopt.Lion, lr=0.1), "eps": 1.0}, TypeError, "eps: neither minimize nor Lion"),
    (
        {"method": lambda x: fastopt.Adam(x, eps=1e-6), "lr": 0.1},
        TypeError,
        "lr: <lambda> does not take it",
    ),
    ({"betas": (0.9, 1.0)}, ValueError, "betas[1]: got 1.0"),
    ({"params": X}, TypeError, "params: minimize does not take it"),
    ({"grads": X}, TypeError, "grads: minimize does not take it"),
    ({"copy_to": X}, TypeError, "copy_to: minimize does not take it"),
    ({"zero_grad": True}, TypeError, "zero_grad: minimize does not take it"),
    ({"maximize": True}, TypeError, "maximize: minimize does not take it: give the negative"),
    ({"method": functools.partial(fastopt.Adam, maximize=True)}, ValueError, "maximize: got True, expected False"),
    ({"method": functools.partial(fastopt.Adam, zero_grad=True)}, ValueError, "zero_grad: got True, expected False"),
    ({"ema_decay": 0.9}, ValueError, "ema_decay: got 0.9, expected None: of a deterministic fun"),
    ({"skip_nonfinite": True}, ValueError, "skip_nonfinite: got True, expected False"),
    ({"ema_decay": 0.9, "stochastic": True, "bounds": [(0, 1)] * 2}, ValueError, "ema_decay: got 0.9, expected None with bounds"),
    ({"master": "24bit"}, ValueError, "master: got '24bit'"),
    (
        {"master": "24bit", "x0": np.ones(2, np.float16), "bounds": [(0, 1)] * 2},
        ValueError,
        "master: got '24bit', expected None or 'stochastic' with bounds",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG_HYPERPARAMETERS, ids=label)
def test_hyperparameters(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    refused(error, words, **arguments)


WRONG_BOUNDS: list[tuple[Any, type[Exception], str]] = [
    (3, TypeError, "bounds: got int 3, expected scipy.optimize.Bounds or a pair for each unknown"),
    ([(0, 1)], ValueError, "bounds: got 1, expected 2, a pair for each unknown"),
    ([(0, 1), (0, 1, 2)], ValueError, "bounds[1]: got (0, 1, 2), expected a pair"),
    ([(0, 1), (2, 1)], ValueError, "bounds: got (2.0, 1.0) for unknown 1, expected least <= most"),
    ([(0, 1), (np.nan, 1)], ValueError, "bounds: got (nan, 1.0) for unknown 1"),
    ([(0, 1), ("a", 1)], TypeError, "bounds: got "),
    (SimpleNamespace(lb=[0, 0, 0], ub=1), ValueError, "bounds.lb: got list [0, 0, 0], expected numbers that broadcast to (2,)"),
    (SimpleNamespace(lb=0, ub="high"), ValueError, "bounds.ub: got str 'high'"),
]


@pytest.mark.parametrize(("bounds", "error", "words"), WRONG_BOUNDS, ids=label)
def test_bounds(bounds: Any, error: type[Exception], words: str) -> None:
    refused(error, words, bounds=bounds)


def test_bounds_between_which_a_float32_does_not_lie() -> None:
    refused(ValueError, "bounds: got (0.1, 0.1) for unknown 0", np.ones(1, np.float32), bounds=[(0.1, 0.1)])
    assert fastopt.minimize(bowl, 1.0, jac=True, bounds=[(0.1, 0.1)], steps=3).x == 0.1


WRONG_VALUES: list[tuple[Any, Any, type[Exception], str]] = [
    (lambda x: None, None, TypeError, "fun: got NoneType None, expected a real number"),
    (lambda x: x, None, ValueError, "fun: got an array of float64, shape (2,), expected one number"),
    (lambda x: [], None, ValueError, "fun: got an array of float64, shape (0,), expected one number"),
    (lambda x: "1.0", None, TypeError, "fun: got str '1.0', expected a real number"),
    (lambda x: 1j, None, TypeError, "fun: got complex 1j, expected a real number"),
    (lambda x: True, None, TypeError, "fun: got bool True, expected a real number"),
    (lambda x: 1j * x[0], "cs", TypeError, "fun: got complex 1j, expected a real number"),
    (lambda x: float(np.abs(x).sum()), "cs", TypeError, "fun: got the real number"),
    (lambda x: 1.0, True, TypeError, "fun: got float 1.0, expected a pair (value, gradient), since jac is True"),
    (lambda x: (1.0, x, x), True, TypeError, "fun: got a tuple of 3, expected a pair"),
    (lambda x: x, True, TypeError, "fun: got an array of float64, shape (2,), expected a pair"),
    (lambda x: 1.0, lambda x: x[:1], ValueError, "jac: got shape (1,), expected (2,) as x0 has"),
    (lambda x: 1.0, lambda x: x[:, None], ValueError, "jac: got shape (2, 1), expected (2,) as x0 has"),
    (lambda x: 1.0, lambda x: 1j * x, TypeError, "jac: got an array of complex128, shape (2,), expected real numbers"),
    (lambda x: 1.0, lambda x: None, TypeError, "jac: got NoneType None, expected real numbers"),
    (lambda x: 1.0, lambda x: [x, [1]], TypeError, "jac: got list, which is no array of numbers"),
    (lambda x: 1.0, lambda x: x.astype(object), TypeError, "jac: got an array of object"),
]


@pytest.mark.parametrize(("fun", "jac", "error", "words"), WRONG_VALUES, ids=label)
def test_what_functions_return(fun: Any, jac: Any, error: type[Exception], words: str) -> None:
    start = np.array([1.0, 2.0])
    with pytest.raises(error, match="^" + re.escape(words)):
        fastopt.minimize(fun, start, jac=jac)
    assert list(start) == [1, 2]


def test_the_point_cannot_be_written_by_the_objective() -> None:
    def fun(x: Array) -> float:
        x -= 1
        return 0.0

    for jac in (None, "3-point", bowl):
        with pytest.raises(ValueError, match="read-only"):
            fastopt.minimize(fun, [1.0], jac=jac)


def test_an_error_of_the_objective_goes_through() -> None:
    start = np.ones(3)
    before = digest(start)
    with pytest.raises(ZeroDivisionError):
        fastopt.minimize(lambda x: 1 / 0, start, progress=True)
    assert digest(start) == before


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r'progress: got True, which needs rich: pip install "\.\[cli\]"'):
        fastopt.minimize(bowl, [1.0], jac=True, progress=True)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[scipy\]"'):
        fastopt.minimize(bowl, [1.0], jac=True)


def test_importing_fastopt_imports_neither_scipy_nor_rich() -> None:
    done = run_python("import sys, fastopt, fastopt.scipy; print({'scipy', 'rich'} & set(sys.modules))")
    assert (done.stdout, done.stderr) == ("set()\n", "")
