"""`fastopt.scipy`: every rule through `scipy.optimize.minimize` and what calls that."""

from __future__ import annotations

import functools
import inspect
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
import fastopt.scipy
from fastopt.rules import OPTIONS, RULES
from tests.support.arrays import Array
from tests.support.objectives import FUNCTIONS, SETTINGS, beale, bowl, rosenbrock

so = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "minimize.md"
METHODS = {rule: getattr(fastopt.scipy, rule.lower()) for rule in RULES}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["Rosenbrock of 2", "Beale", "Himmelblau"])
def test_every_rule_finds_the_minimum(name: str, rule: str) -> None:
    function, (arguments, errors) = FUNCTIONS[name], SETTINGS[rule]
    options = {"steps": 6000, **arguments}
    result = so.minimize(function.call, function.start, jac=True, method=METHODS[rule], options=options)
    assert function.error(result.x) <= errors[list(FUNCTIONS).index(name)]
    direct = fastopt.minimize(function.call, function.start, jac=True, method=rule, **options)
    assert result.x.tobytes() == direct.x.tobytes()
    assert (result.fun, result.nit, result.status) == (direct.fun, direct.nit, direct.status)
    assert isinstance(result, so.OptimizeResult)


def test_there_is_a_method_for_each_rule() -> None:
    assert fastopt.scipy.__all__ == ["method", *(rule.lower() for rule in RULES)]
    for rule, method in METHODS.items():
        assert (method.__name__, method.__module__) == (rule.lower(), "fastopt.scipy")
        assert pickle.loads(pickle.dumps(method)) is method
        assert RULES[rule].paper in method.__doc__
        parameters = inspect.signature(method).parameters
        assert list(parameters)[:9] == ["fun", "x0", "args", "jac", "hess", "hessp", "bounds", "constraints", "callback"]
        for h in (*RULES[rule].arguments, *OPTIONS):
            if h.name in ("maximize", "zero_grad"):
                assert h.name not in parameters
            else:
                assert parameters[h.name].default == (None if h.name == "lr" else h.default)
                assert f"  {h.name}: {h.doc}" in method.__doc__
        assert {"steps", "maxiter", "disp", "gtol", "data", "history", "seed"} <= set(parameters)
        assert "method" not in parameters
    with pytest.raises(AttributeError, match=r"fastopt\.scipy has no method 'bfgs'; it has method, sgd, adam"):
        _ = fastopt.scipy.bfgs


def test_every_option_in_the_signature_is_one() -> None:
    other: dict[str, Any] = {"disp": False, "history": True, "progress": False, "shuffle": True, "data": None, "batch_size": None}
    for rule, method in METHODS.items():
        parameters = inspect.signature(method).parameters.values()
        options = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
        result = so.minimize(bowl, [1.0], jac=True, method=method, options=other | options | {"maxiter": 3})
        assert result.nit == 3
        direct = fastopt.minimize(bowl, [1.0], jac=True, method=rule, steps=3, weight_decay=options["weight_decay"])
        assert result.x.tobytes() == direct.x.tobytes()


def test_jac_args_and_tol() -> None:
    def fun(x: Array, scale: float) -> float:
        return scale * bowl(x)[0]

    def jac(x: Array, scale: float) -> Array:
        return scale * x

    calls = {"jac": (fun, jac), "True": (lambda x, scale: (fun(x, scale), jac(x, scale)), True)}
    for call, gradient in [*calls.values(), (fun, None), (fun, "3-point"), (fun, False)]:
        options = {"lr": 0.1, "maxiter": 2000}
        result = so.minimize(call, [3, -4], args=(2.0,), jac=gradient, method=fastopt.scipy.adam, tol=1e-6, options=options)
        assert result.success
        np.testing.assert_allclose(result.x, 0, atol=1e-6)
        assert result.nit < 2000
        assert result.x.dtype == np.float64
    single = so.minimize(fun, np.ones(2, np.float32), 2.0, jac=jac, method=fastopt.scipy.adam, options={"steps": 3})
    assert single.x.dtype == np.float32


@pytest.mark.parametrize("bounds", [so.Bounds([0.5, -np.inf], [2, 0.8]), [(0.5, 2), (None, 0.8)]], ids=["Bounds", "pairs"])
def test_bounds(bounds: Any) -> None:
    for start in ([-1.0, 3.0], [1.0, 0.0]):
        options = {"lr": fastopt.schedules.cosine(0.05, 6000), "steps": 6000}
        result = so.minimize(rosenbrock, start, jac=True, method=fastopt.scipy.nadam, bounds=bounds, options=options)
        # The second unknown is at its bound, and the first the best with it.
        best = so.minimize_scalar(lambda x: rosenbrock(np.array([x, 0.8]))[0], bounds=(0.5, 2), options={"xatol": 1e-10})
        np.testing.assert_allclose(result.x, [best.x, 0.8], atol=1e-6)


def test_callbacks() -> None:
    seen: list[Any] = []
    options = {"steps": 4}
    so.minimize(bowl, [1.0, 2.0], jac=True, method=fastopt.scipy.sgd, callback=seen.append, options=options)
    assert [point.shape for point in seen] == [(2,)] * 4
    assert len({point.tobytes() for point in seen}) == 4

    def stop(*, intermediate_result: Any) -> None:
        seen.append(intermediate_result.fun)
        raise StopIteration

    result = so.minimize(bowl, [1.0, 2.0], jac=True, method=fastopt.scipy.sgd, callback=stop, options=options)
    assert (result.nit, result.status, result.success) == (1, 99, False)
    assert seen[-1] == result.fun
    expected = so.minimize(bowl, [1.0, 2.0], jac=True, method="BFGS", callback=stop)
    assert (result.status, result.message) == (expected.status, expected.message)


def test_disp(capsys: pytest.CaptureFixture[str]) -> None:
    so.minimize(bowl, [2.0], jac=True, method=fastopt.scipy.adam, options={"steps": 2, "lr": 0.0, "disp": True})
    assert capsys.readouterr().out.splitlines() == [
        "Maximum number of iterations has been exceeded, as in every run without a tolerance: raise steps or lr if fun still falls"
        " at the end.",
        "         Current function value: 2.000000",
        "         Iterations: 2",
        "         Function evaluations: 3",
        "         Gradient evaluations: 3",
    ]
    so.minimize(bowl, [2.0], jac=True, method=fastopt.scipy.adam, options={"steps": 2})
    assert not capsys.readouterr().out


def test_mini_batches_and_noise(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((100, 3))
    targets = rows @ [1, 2, 3]

    def fun(x: Array, X: Array, y: Array, power: int) -> tuple[float, Array]:
        residual = X @ x - y
        return float((residual**power).mean()), 2 * X.T @ residual / len(y)

    options = {"data": (rows, targets), "batch_size": 10, "steps": 600, "lr": fastopt.schedules.cosine(0.1, 600), "seed": 1}
    result = so.minimize(fun, np.zeros(3), args=(2,), jac=True, method=fastopt.scipy.adam, options=options)
    np.testing.assert_allclose(result.x, [1, 2, 3], atol=1e-3)
    assert len(result.history["fun"]) == 601


@pytest.mark.parametrize("rule", ["Adam", "RMSprop"])
def test_methods_of_other_optimizers(rule: str) -> None:
    arguments = {"lr": 0.05, "eps": 1e-6}
    made = fastopt.scipy.method(functools.partial(getattr(fastopt, rule), **arguments))
    assert made.__name__ == rule.lower()
    result = so.minimize(beale, [1.0, 1.0], jac=True, method=made, options={"steps": 50})
    expected = so.minimize(beale, [1.0, 1.0], jac=True, method=METHODS[rule], options={"steps": 50, **arguments})
    assert result.x.tobytes() == expected.x.tobytes()
    by_class = fastopt.scipy.method(getattr(fastopt, rule))
    again = so.minimize(beale, [1.0, 1.0], jac=True, method=by_class, options={"steps": 50, **arguments})
    assert again.x.tobytes() == expected.x.tobytes()
    for wrong in ("bfgs", 3, None, dict):
        with pytest.raises((TypeError, ValueError), match=r"^method: got"):
            fastopt.scipy.method(wrong)


def test_global_searches_take_it() -> None:
    """Finds the least of many minima, from which no rule gets away alone."""

    def fun(x: Array) -> tuple[float, Array]:
        return float(x @ x + 3 * (1 - np.cos(3 * x)).sum()), 2 * x + 9 * np.sin(3 * x)

    options = {"steps": 500, "lr": 0.05, "gtol": 1e-4}
    minimizer = {"method": fastopt.scipy.adam, "jac": True, "options": options}
    alone = so.minimize(fun, [4.0, -4.0], **minimizer)
    assert alone.fun > 1
    searched = so.basinhopping(fun, [4.0, -4.0], niter=30, stepsize=2.0, minimizer_kwargs=minimizer, rng=1)
    np.testing.assert_allclose(searched.x, 0, atol=1e-3)


def test_what_there_is_no_use_for() -> None:
    for name, words in (("hess", "Hessian information (hess)"), ("hessp", "Hessian-vector product information (hessp)")):
        with pytest.warns(RuntimeWarning, match=re.escape(f"Method adam does not use {words}.")) as caught:
            so.minimize(bowl, [1.0], jac=True, method=fastopt.scipy.adam, options={"steps": 1}, **{name: lambda x, *p: np.eye(1)})
        assert len(caught) == 1
    constraint = {"type": "ineq", "fun": lambda x: x[0]}
    for constraints in (constraint, [constraint], so.LinearConstraint([[1.0]], 0, 1), so.NonlinearConstraint(lambda x: x, 0, 1)):
        with pytest.raises(ValueError, match=r"^constraints: got .*, expected none: no rule can handle them"):
            so.minimize(bowl, [1.0], jac=True, method=fastopt.scipy.adam, constraints=constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for nothing in ((), []):
            so.minimize(bowl, [1.0], jac=True, method=fastopt.scipy.adam, constraints=nothing, options={"steps": 1})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"step": 5}, TypeError, "step: neither minimize nor Adam has such an argument; Adam has lr"),
        ({"momentum": 0.9}, TypeError, "momentum: neither minimize nor Adam"),
        ({"method": "sgd"}, TypeError, "method: there is no such option"),
        ({"steps": 5, "maxiter": 5}, ValueError, "maxiter: got 5 beside steps=5"),
        ({"maxiter": -5}, ValueError, "steps: got -5"),
        ({"gtol": -1}, ValueError, "gtol: got -1"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match="^" + re.escape(words)):
        so.minimize(bowl, [1.0], jac=True, method=fastopt.scipy.adam, options=options)


def test_the_page_runs() -> None:
    known: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, known)
    assert known["result"].fun < 1e-8
    np.testing.assert_allclose(known["fitted"].x, known["weights"], atol=2e-2)
    assert known["found"].success
