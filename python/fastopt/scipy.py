"""Every rule as a method of `scipy.optimize.minimize`.

    scipy.optimize.minimize(fun, x0, jac=grad, method=fastopt.scipy.adam, options={"steps": 500, "lr": 1e-2})

Each rule has a function with its name in lower case; `method` takes any other optimizer.  They do what `fastopt.minimize` does,
and work in the `minimizer_kwargs` of `basinhopping` and `dual_annealing` too.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._minimization import minimize
from ._minimization.methods import BY_NAME, OUR_OWN, check_method, unwrapped
from ._storage.formats import FORMAT_ARGUMENTS
from .faces import described, parameter
from .rules import OPTIONS, RULES, Hyperparameter, Rule
from .rules.words import describe, shown

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["method"]
__all__ += list(BY_NAME)

Method = Callable[..., Any]


def method(optimizer: Any) -> Method:
    """A method for `scipy.optimize.minimize`, from a rule's name, a class, or a callable that makes an optimizer from an array.

        scipy.optimize.minimize(fun, x0, method=fastopt.scipy.method(functools.partial(fastopt.Adam, betas=(0.8, 0.99))))

    Raises TypeError or ValueError for anything else.
    """

    make = check_method(optimizer)

    def run(
        fun: Any,
        x0: Any,
        args: Any = (),
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Any = None,
        *,
        steps: Any = None,
        maxiter: Any = None,
        disp: Any = False,
        **options: Any,
    ) -> OptimizeResult:
        if "method" in options:
            raise TypeError("method: there is no such option; the method is given to scipy.optimize.minimize")
        if constraints is not None and not (isinstance(constraints, (list, tuple)) and not constraints):
            raise ValueError(f"constraints: got {describe(constraints)}, expected none: no rule can handle them; bounds it can")
        if steps is not None and maxiter is not None:
            raise ValueError(
                f"maxiter: got {shown(maxiter)} beside steps={shown(steps)}, expected one of the two, which are the same"
            )
        show = bool(disp)
        for value, words in ((hess, "Hessian information (hess)"), (hessp, "Hessian-vector product information (hessp)")):
            if value is not None:  # SciPy's words for its own methods without a Hessian
                warnings.warn(f"Method {run.__name__} does not use {words}.", RuntimeWarning, stacklevel=3)
        count = steps if steps is not None else maxiter
        if count is not None:
            options["steps"] = count
        result = minimize(fun, x0, args, jac=jac, method=make, bounds=bounds, callback=callback, **options)
        if show:
            print(summary(result))
        return result

    words = getattr(unwrapped(make), "__name__", type(make).__name__)
    run.__name__ = run.__qualname__ = words.lower()
    run.__doc__ = (
        f"{words} as a method of `scipy.optimize.minimize`.\n\n"
        "The options are those of `fastopt.minimize`, with `maxiter` as another name for `steps`, and `disp`."
    )
    return run


def summary(result: Any) -> str:
    """The text that `disp` prints, in the form of SciPy's own methods."""
    lines = [result.message]
    for words, value in (("Current function value", f"{result.fun:f}"), ("Iterations", result.nit)):
        lines.append(f"         {words}: {value}")
    lines += [f"         Function evaluations: {result.nfev}", f"         Gradient evaluations: {result.njev}"]
    return "\n".join(lines)


def options_of(rule: Rule) -> list[Hyperparameter]:
    """The arguments of the rule's optimizer that `minimize` passes on.  The seed is an argument of `minimize` itself."""
    return [h for h in (*rule.arguments, *OPTIONS, *FORMAT_ARGUMENTS) if h.name not in {*OUR_OWN, "seed"}]


def signature(rule: Rule) -> inspect.Signature:
    """SciPy's arguments, then the options: those of `minimize`, and the rule's hyperparameters and stages."""
    by_name = inspect.Parameter.KEYWORD_ONLY
    ours = {each.name: each for each in inspect.signature(minimize).parameters.values() if each.kind is by_name}
    parameters = [*inspect.signature(method("sgd")).parameters.values()]
    taken = {each.name for each in parameters}
    parameters = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    parameters += [each for name, each in ours.items() if name not in {*taken, "method", "lr"}]
    parameters += [
        parameter(h, by_name).replace(default=None) if h.name == "lr" else parameter(h, by_name) for h in options_of(rule)
    ]
    return inspect.Signature(parameters)


def of_rule(rule: Rule) -> Method:
    """The method of a row of the table."""
    function = method(rule.name)
    function.__module__ = __name__
    function.__signature__ = signature(rule)  # type: ignore[attr-defined]  # read by inspect and help()
    options = "\n".join(described(h) for h in options_of(rule))
    function.__doc__ = (
        f"{rule.summary[:-1]}; for `scipy.optimize.minimize(..., method=fastopt.scipy.{function.__name__}, options={{...}})`.\n\n"
        f"    {rule.formula}\n\nSource: {rule.paper}.\n\n"
        f"Options: those of `fastopt.minimize`, `maxiter` (another name for `steps`), `disp` (print a summary), and\n{options}\n\n"
        "`tol` is `gtol`.  Each step is projected onto `bounds`.  A Hessian is not used, and gives a RuntimeWarning.  Returns and\n"
        "raises what `fastopt.minimize` does; raises TypeError for an unknown option, ValueError for constraints."
    )
    return function


globals().update({rule.name.lower(): of_rule(rule) for rule in RULES.values()})


def __getattr__(name: str) -> Method:
    """Called only for names that the module lacks."""
    raise AttributeError(f"fastopt.scipy has no method {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
