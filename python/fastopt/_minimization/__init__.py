"""`minimize`: SciPy's face for every rule, with mini-batches, tolerances and a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ..rules.checks import check_choice, check_count
from .batches import Batches, check_stochastic
from .bounds import read_bounds
from .checks import check_callable, check_progress, optimize_result
from .loop import Outcome, Setup, run
from .methods import make_optimizer
from .objective import Objective
from .points import start
from .tolerances import Tolerances

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["minimize"]


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    jac: Callable[..., Any] | Literal["2-point", "3-point", "cs"] | bool | None = None,
    method: Any = "adam",
    steps: int = 1000,
    lr: Any = None,
    bounds: Any = None,
    tol: float | None = None,
    gtol: float | None = None,
    ftol: float | None = None,
    xtol: float | None = None,
    patience: int = 10,
    callback: Callable[..., Any] | None = None,
    progress: bool | Callable[[int, int, float], Any] = False,
    data: Any = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    stochastic: bool | None = None,
    seed: int | None = None,
    history: bool | Literal["x"] = True,
    **hyperparameters: Any,
) -> OptimizeResult:
    """Minimises `fun` from `x0` by steps of a rule; returns SciPy's `OptimizeResult`; needs `pip install "fastopt[scipy]"`.

        rosen, rosen_der = scipy.optimize.rosen, scipy.optimize.rosen_der
        result = fastopt.minimize(rosen, [-1.2, 1.0], jac=rosen_der, lr=1e-2, steps=5000)
        result.x, result.fun, result.message

    fun: `fun(x, *args)`, or `fun(x, *batch, *args)` with `data`, the objective: a number, or an array of one element.  x is an
      array in the shape and dtype of `x0`, read-only, which the next step changes: copy it to change or keep it
    x0: the start, an array, list or number; float64, float32 and 16-bit floats stay what they are, whole numbers become
      float64.  It is copied, not changed
    args: further arguments of `fun` and `jac`; what is no tuple is the only one
    jac: a callable with the arguments of `fun` that gives the gradient in the shape of x; True where `fun` returns the pair
      (value, gradient); "2-point" (None, False), "3-point" or "cs" (complex step) for finite differences, in float64, by 1, 2
      or 1 calls of `fun` for each unknown
    method: a rule's name in any case, such as "adam" or "AdamW", a class such as `fastopt.Adam`, or a callable that makes an
      optimizer of an array, such as `functools.partial(fastopt.Adam, betas=(0.8, 0.99))`
    steps: the most steps, from 0
    lr: a number, or a callable of the number of completed steps; None for the method's own.  Of a `ReduceOnPlateau` a copy is
      used, which is told every value of `fun`, or of mini-batches the mean of each epoch
    bounds: SciPy's `Bounds`, or a pair (least, most) for each unknown, None for no bound: the start, and each step, is
      projected onto them
    tol: the same as `gtol`, which goes before it
    gtol: done where no element of the gradient (with `bounds`: of x - P(x - gradient), P the projection) is larger in magnitude
    ftol: done where `patience` steps (of mini-batches: epochs, by the mean over each) have not brought the least value down by
      more than ftol*max(1, |value|)
    xtol: done where each of `patience` steps has moved no unknown by more than xtol*max(1, largest |x|)
    patience: from 1, for `ftol` and `xtol`
    callback: called after each step as `callback(x)`, with a copy, or, where its only parameter has that name, as
      `callback(intermediate_result=OptimizeResult)` with x, fun, jac and nit; StopIteration ends the run, what is returned
      counts for nothing
    progress: True for a bar on stderr (needs rich), or a callable `progress(step, steps, value)`
    data: an array, or a tuple of arrays or sparse matrices of the same length, whose rows are what batches are taken of
    batch_size: how many rows of `data` a step sees; None for all of them.  The arrays of a batch are reused: copy them to keep
      them
    shuffle: a new order of the rows in each epoch
    stochastic: True where values of `fun` cannot be compared, since it holds noise; mini-batches are
    seed: of the batches' order and of the optimizer; None for 0, and for what `method` has
    history: True for the objective, the gradient's norm and the learning rate of each step; "x" for the points too; False for
      none
    hyperparameters: those of the rule and its stages by name, such as `betas`, `momentum`, `weight_decay`, `max_norm`,
      `ema_decay`

    The result has x (in the shape and dtype of `x0`), fun, jac (float32 where x has 16 bits), nit (steps), nfev and njev (calls
    of `fun`, and gradients), status, success (status 0), message, and history: a dict of arrays of nit + 1 entries, for the
    start and the point after each step: "fun", "grad_norm" (Euclidean), "lr" (of the step from there, NaN for the last) and
    perhaps "x".  Status 0: a tolerance is reached; 1: the steps are done; 2, 3: the objective, or its gradient, is Inf or NaN;
    99: the callback stopped it.

    Of a deterministic objective the result is the best point seen: the finite one of least value, the later of equals; the
    point that reached `gtol` need not be it.  Of a stochastic one it is the last, or with `ema_decay` the average of the points
    (which begins at `x0`), and fun and jac are those of one more call there, with all of `data`.  `fun` alone is looked at:
    weight decay, which AdamW has by default, and L1 lead to the minimum of something else.

    Raises TypeError or ValueError, without a call of `fun`, where an argument is not that; and where `fun` or `jac` returns
    something else.
    """
    result_class = optimize_result()
    point = start(x0)
    box = read_bounds(bounds, point)
    steps = check_count(steps, "steps")
    check_callable(fun, "fun")
    check_callable(callback, "callback", optional=True)
    check_choice(history, "history", (True, False, "x"))
    check_progress(progress)
    batches = Batches(data, batch_size, shuffle, 0 if seed is None else seed) if data is not None else None
    is_stochastic = check_stochastic(stochastic, batches, batch_size, shuffle)
    partial = batches is not None and batches.partial
    # What the caller does between a gradient and its step may write to an array that `jac` reuses.
    watched = callback is not None or callable(progress)
    noisy = stochastic is True or (is_stochastic and not partial)
    objective = Objective(fun, jac, args, point, box, noisy=noisy, keep=watched)
    tolerances = Tolerances(tol, gtol, ftol, xtol, patience, stochastic=is_stochastic, epochs=partial)
    if box is not None:
        box.project(point)
    optimizer = make_optimizer(
        method,
        point,
        lr=lr,
        seed=seed,
        hyperparameters=hyperparameters,
        stochastic=is_stochastic,
        batched=partial,
        bounded=box is not None,
    )
    outcome = run(
        Setup(
            point=point,
            optimizer=optimizer,
            objective=objective,
            tolerances=tolerances,
            steps=steps,
            box=box,
            batches=batches,
            stochastic=is_stochastic,
            callback=callback,
            progress=progress,
            history=history,
            result_class=result_class,
        )
    )
    return as_result(outcome, objective, result_class)


def as_result(outcome: Outcome, objective: Objective, result_class: type[Any]) -> Any:
    """The outcome under SciPy's names."""
    fields = {
        "x": outcome.x,
        "fun": outcome.value,
        "jac": outcome.grad,
        "nit": outcome.steps,
        "nfev": objective.nfev,
        "njev": objective.njev,
        "status": outcome.status,
        "success": outcome.status == 0,
        "message": outcome.message,
    }
    if outcome.history is not None:
        fields["history"] = outcome.history
    return result_class(fields)
