"""`minimize`: SciPy's face for every rule, with mini-batches, tolerances and a history."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ..rules.checks import check_choice, check_count
from ..schedules import cosine
from .batches import Batches, check_stochastic
from .bounds import read_bounds
from .checks import check_callable, check_progress, optimize_result
from .loop import Outcome, Setup, run
from .methods import lacks_rate, make_optimizer, undecayed
from .objective import Objective
from .own_rate import OwnRate, trial_rate
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
    steps: int | None = None,
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
    """Minimises `fun` from `x0` with steps of a rule and returns SciPy's `OptimizeResult`.  Needs the extra `scipy`.

        rosen, rosen_der = scipy.optimize.rosen, scipy.optimize.rosen_der
        result = fastopt.minimize(rosen, [-1.2, 1.0], jac=rosen_der, lr=1e-2, steps=5000)
        result.x, result.fun, result.message

    fun: the objective, `fun(x, *args)`, or `fun(x, *batch, *args)` with `data`.  It returns a number or an array of one element.
      x is a read-only array in the shape and dtype of `x0`.  The next step changes it: copy it to change or keep it
    x0: the start: an array, list or number.  float64, float32 and 16-bit floats keep their dtype, whole numbers become float64.
      `x0` is copied, not changed
    args: further arguments of `fun` and `jac`, as a tuple, or a single one
    jac: a callable with the arguments of `fun` that returns the gradient in the shape of x; True if `fun` returns the pair
      (value, gradient); "2-point" (also None and False), "3-point" or "cs" (complex step) for finite differences in float64,
      with 1, 2 or 1 calls of `fun` for each unknown
    method: a rule's name in upper or lower case, such as "adam" or "AdamW"; a class such as `fastopt.Adam`; or a callable that
      makes an optimizer from an array, such as `functools.partial(fastopt.Adam, betas=(0.8, 0.99))`
    steps: the most steps, from 0; None for 1,000, or for 10,000 if the run finds its own rate
    lr: a number, or a callable of the number of completed steps.  A `ReduceOnPlateau` is copied, and the copy receives every value
      of `fun`, or with mini-batches the mean of each epoch.  None: the run finds its own rate, as said below
    bounds: SciPy's `Bounds`, or a pair (least, most) for each unknown, with None for no bound.  The start and each step are
      projected onto the bounds
    tol: the same as `gtol`, which takes precedence
    gtol: stop when no element of the gradient is larger in magnitude; with `bounds` no element of x - P(x - gradient), where P is
      the projection
    ftol: stop when `patience` steps (with mini-batches: epochs, by the mean of each) have not lowered the least value by more
      than ftol*max(1, |value|)
    xtol: stop when each of `patience` steps has moved no unknown by more than xtol*max(1, largest |x|)
    patience: how many steps `ftol` and `xtol` wait, from 1
    callback: called after each step as `callback(x)`, with a copy.  If its only parameter is named `intermediate_result`, the
      call is `callback(intermediate_result=OptimizeResult)` with x, fun, jac and nit.  StopIteration ends the run; returned
      values are ignored
    progress: True for a bar on stderr (needs rich), or a callable `progress(step, steps, value)`
    data: an array, or a tuple of arrays or sparse matrices of the same length, whose rows the batches take
    batch_size: how many rows of `data` a step sees at most; None for all.  The batches of an epoch are as few as that allows, and
      differ by one row at most.  The next batch reuses the arrays: copy them to keep them
    shuffle: take the rows in a new order in each epoch
    stochastic: True if `fun` is noisy, so that its values cannot be compared.  Mini-batches are always stochastic
    seed: the seed of the batches' order and of the optimizer; None for 0, or for the seed that `method` has
    history: True for the objective, the gradient's norm and the learning rate of each step; "x" for the points too; False for
      none
    hyperparameters: those of the rule and its stages by name, such as `betas`, `momentum`, `weight_decay`, `max_norm`,
      `ema_decay`

    Without `lr` the rate of a deterministic objective grows by 15% with each step that lowers `fun`.  After 10 steps without a new
    least value, or at once far above the first value, it falls to a quarter, and the run goes on from the best point with new state.
    The first step moves the point by a tenth of max(1, largest |x0|).  The run ends when no step lowers `fun` any more or, unless
    you name a tolerance, when no element of the gradient is larger than 1e-5 (for float32 and 16 bits the root of their machine
    epsilon), times the first gradient's largest element if that is less than 1.  Weight decay is 0 unless you name it.  With
    mini-batches short trials on a batch find a rate, which then falls to 0 along a cosine over `steps`.  If the noise is fun's own,
    the rate is the method's default.  A callable that is no class keeps its own rate.

    The result has x (in the shape and dtype of `x0`), fun, jac (float32 if x has 16 bits), nit (steps), nfev and njev (calls of
    `fun`, and gradients), status, success (status 0), message and history.  history is a dict of arrays of nit + 1 entries, for
    the start and the point after each step: "fun", "grad_norm" (Euclidean), "lr" (of the step from that point, NaN for the last)
    and, if asked for, "x".  Status 0: a tolerance is reached; 1: the steps are done; 2: the objective is Inf or NaN; 3: the
    gradient holds Inf or NaN; 4: no step lowers `fun` any more, but its gradient is not near 0; 99: the callback stopped the run.

    For a deterministic objective the result is the best point seen: the point of the least finite value, the later of two equals.
    It may differ from the point that reached `gtol`.  For a stochastic objective the result is the last point, or with
    `ema_decay` the average of the points, which begins at `x0`; fun and jac then come from one more call there, with all of
    `data`.

    Only the values of `fun` count.  Weight decay, which AdamW has by default, and L1 therefore lead to the minimum of another
    function.

    Raises TypeError or ValueError for a wrong argument, before any call of `fun`, and for a wrong return value of `fun` or `jac`.
    """
    result_class = optimize_result()
    point = start(x0)
    box = read_bounds(bounds, point)
    finds_rate = lacks_rate(method, lr)
    check_callable(fun, "fun")
    check_callable(callback, "callback", optional=True)
    check_choice(history, "history", (True, False, "x"))
    check_progress(progress)
    batches = Batches(data, batch_size, shuffle, 0 if seed is None else seed) if data is not None else None
    is_stochastic = check_stochastic(stochastic, batches, batch_size, shuffle)
    partial = batches is not None and batches.partial
    # Between a gradient and its step the caller's code may write to an array that `jac` reuses.
    watched = callback is not None or callable(progress)
    noisy = stochastic is True or (is_stochastic and not partial)
    objective = Objective(fun, jac, args, point, box, noisy=noisy, keep=watched)
    own = finds_rate and not is_stochastic
    tolerances = Tolerances(tol, gtol, ftol, xtol, patience, stochastic=is_stochastic, epochs=partial, own=own)
    most = check_count((10_000 if own else 1000) if steps is None else steps, "steps")
    if box is not None:
        box.project(point)
    make = functools.partial(
        make_optimizer,
        method,
        lr=lr,
        seed=seed,
        hyperparameters=undecayed(method, hyperparameters) if own or (finds_rate and partial) else hyperparameters,
        stochastic=is_stochastic,
        batched=partial,
        bounded=box is not None,
    )
    optimizer = make(point)
    if finds_rate and partial and most:
        assert batches is not None
        optimizer.lr = cosine(trial_rate(make, point, batches.first(objective)), most)
    outcome = run(
        Setup(
            point=point,
            optimizer=optimizer,
            objective=objective,
            tolerances=tolerances,
            own_rate=OwnRate(make, point) if own else None,
            steps=most,
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
    """The outcome as a result with SciPy's names."""
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
