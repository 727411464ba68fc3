"""Turns a row of the table into what users call: a class and a function, with signature and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import _core
from ._arrays import buffers
from ._engine.arguments import bind_arguments
from ._engine.plans import make_plan, row_of, write_group
from ._engine.ranges import check_group, check_single
from ._engine.tensors import Tensor
from ._storage.formats import FORMAT_ARGUMENTS
from .optimizer import Optimizer
from .rules import OPTIONS, Hyperparameter, Rule, Running, Slot
from .rules.checks import check_count, check_number, closed_ends
from .rules.words import describe

__all__ = ["class_signature", "described", "function_signature", "make_class", "make_function", "meaning", "parameter"]


def parameter(hyperparameter: Hyperparameter, kind: Any) -> inspect.Parameter:
    return inspect.Parameter(hyperparameter.name, kind, default=hyperparameter.default)


def class_signature(rule: Rule) -> inspect.Signature:
    """The class's signature: torch's arguments by position, all others by name only."""
    positional, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [inspect.Parameter("params", positional)]
        + [parameter(h, positional) for h in rule.hyperparameters]
        + [parameter(h, by_name) for h in rule.keyword_only + rule.stages]
        + [parameter(option, by_name) for option in OPTIONS]
        + [parameter(each, by_name) for each in FORMAT_ARGUMENTS]
        + [inspect.Parameter(name, by_name, default=None) for name in ("copy_to", "grads")]
    )


def meaning(h: Hyperparameter) -> str:
    """What an argument means to the classes for arrays, whose rate may be a schedule."""
    return f"{h.doc}, or a callable that gives it from the number of completed steps (from 0)" if h.name == "lr" else h.doc


def described(h: Hyperparameter, doc: str = "") -> str:
    """A line of documentation for an argument; `doc`: what it means, unless that is what its row says."""
    return f"  {h.name}: {doc or h.doc}; in {h.expected}, default {h.default!r}"


def example(rule: Rule) -> list[str]:
    """The example of a class: the minimum of a function."""
    return [
        "Example:",
        "    >>> p = np.zeros(3, np.float32)",
        f"    >>> opt = fastopt.{rule.name}(p, {rule.example})",
        "    >>> for _ in range(200):",
        "    ...     opt.step(2 * (p - 3))  # the gradient of sum((p - 3)**2); p changes in place",
        "    >>> p.round(1)",
        "    array([3., 3., 3.], dtype=float32)",
    ]


IN_PLACE = (
    "    Steps write into these very arrays.  Do not rebind them: w = w - g and params = params.astype(...) make other arrays, which",
    "    no step reaches; write w -= g or w[...] = values.  Do not pass copies, which would train alone: w[[0, 2]], w.flatten(),",
    "    Keras' model.get_weights()",
)


def docstring(rule: Rule) -> str:
    """The class's documentation, from its row."""
    lines = [rule.summary, "", f"    {rule.formula}", "", f"Source: {rule.paper}.", "", "Arguments:"]
    lines.append("  params: the array to update in place, or a list, a {name: array} dict, or a list of group dicts")
    lines.append(
        '    {"params": arrays, "lr": ...}; float32, float64, bfloat16 or float16, any shape, C-contiguous, writable, not overlapping.'
    )
    lines += IN_PLACE
    lines += [described(h, meaning(h)) for h in (*rule.arguments, *OPTIONS, *FORMAT_ARGUMENTS)]
    lines.append(
        "  copy_to: arrays, in the form of the parameters, that take a copy of each new parameter, rounded to nearest even:"
    )
    lines.append("    float32, float64, bfloat16 (ml_dtypes, torch) or float16 (from float64 via float32)")
    lines.append("  grads: gradients bound once, for step() without arguments; shaped like params")
    state = (
        "State: "
        + "; ".join(f"{slot.name} ({slot.doc})" for slot in rule.slots)
        + ", of the parameter's shape, in its dtype (float32 for 16-bit parameters) or state_dtype"
    )
    state += "".join(f"; {scalar.name} ({scalar.doc}), a float64 number" for scalar in rule.running)
    lines += ["", f"{state}."]
    lines += ["", "Forms:", *(f"  {form.name}: {form.formula}\n    {form.call(rule)}" for form in rule.forms)]
    lines += [
        "",
        "Raises TypeError or ValueError, and writes nothing, if an argument is not as described here.",
        "",
        *example(rule),
    ]
    return "\n".join(lines)


def make_class(rule: Rule) -> type[Optimizer]:
    """The optimizer class for a row of the table."""
    members = {"rule": rule, "__doc__": docstring(rule), "__signature__": class_signature(rule), "__module__": "fastopt"}
    return type(rule.name, (Optimizer,), members)


def names_of(state: tuple[Slot | Running, ...]) -> list[str]:
    return [each.name for each in state]


def function_signature(rule: Rule) -> inspect.Signature:
    """The function's signature: param, grad, state and running scalars by position, the step and hyperparameters by name."""
    positional, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [inspect.Parameter(name, positional) for name in ("param", "grad")]
        + [inspect.Parameter(name, positional, default=None) for name in names_of(rule.slots + rule.running)]
        + [inspect.Parameter("step", by_name)]
        + [parameter(h, by_name) for h in rule.arguments]
        + [inspect.Parameter("grad_scale", by_name, default=1.0)]
    )


def function_example(rule: Rule) -> str:
    """The example of a function: one step, with the state that the default arguments need."""
    slots = rule.variant(rule.check(rule.defaults)).slots
    state = [f"{name}=np.zeros(3, np.float32)" for name in slots] + [f"{each.name}=np.zeros(())" for each in rule.running]
    given = ", ".join(["p", "np.ones(3, np.float32)", "**state" if state else "", "step=1", rule.example]).replace(", , ", ", ")
    lines = ["Example:", "    >>> p = np.zeros(3, np.float32)"]
    lines += [f"    >>> state = dict({', '.join(state)})"] if state else []
    lines += [f"    >>> fastopt.functional.{rule.name.lower()}({given})", "    >>> bool((p < 0).all())", "    True"]
    return "\n".join(lines)


def make_function(rule: Rule) -> Callable[..., None]:
    """The function that makes one step of a rule over the caller's own arrays."""
    arguments = function_signature(rule)
    name = rule.name.lower()
    positional = tuple(n for n, p in arguments.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD)
    defaults = {n: p.default for n, p in arguments.parameters.items()}
    names = defaults.keys()
    plainly_right = _core.Function(
        rule.arithmetic,
        {n: None if value is arguments.empty else value for n, value in defaults.items()},
        list(rule.numbers),
        [closed_ends(scalar.range) for scalar in rule.running],
    )
    step_plainly = plainly_right.step

    def function(*args: Any, **kwargs: Any) -> None:
        if step_plainly(args, kwargs):
            return
        given = {**defaults, **dict(zip(positional, args, strict=False)), **kwargs}
        if (
            len(args) > len(positional)
            or given.keys() != names
            or given["step"] is arguments.empty
            or given["grad"] is arguments.empty
        ):
            bind_arguments(name, arguments, args, kwargs, rule.name)
        if not kwargs.keys().isdisjoint(positional[: len(args)]):
            twice = next(n for n in positional[: len(args)] if n in kwargs)
            raise TypeError(f"{name}: got {twice} twice, by position and by name")
        values = rule.check(given)
        step = check_count(given["step"], "step")
        if step < 1:
            raise ValueError(f"step: got {step}, expected the number of this step, from 1")
        param = buffers.check_parameter(given["param"], "param")
        used = rule.variant(values).slots
        for slot in rule.slots:
            if slot.name in used and given[slot.name] is None:
                raise ValueError(
                    f"{slot.name}: got None, expected an array of shape {param.shape} and dtype {buffers.arithmetic(param)}"
                )
            if slot.name not in used and given[slot.name] is not None:
                raise ValueError(f"{slot.name}: got {describe(given[slot.name])}, expected None with these arguments")
        state = {slot: buffers.check_state(given[slot], slot, param, "param") for slot in used}
        running = {scalar.name: buffers.check_running(given[scalar.name], scalar.name) for scalar in rule.running}
        if step > 1:
            for scalar in rule.running:
                check_number(float(running[scalar.name]), scalar.name, scalar.range)
        grad = buffers.check_gradient(given["grad"], "grad", param, "param")
        scale = check_number(given["grad_scale"], "grad_scale")
        if buffers.arithmetic(param) == "float32":
            check_single(scale, "grad_scale", "param")
            check_group(rule, values, "param")
        buffers.check_disjoint([("param", param), ("grad", grad), *state.items(), *running.items()])
        tensor = Tensor(param, "param")
        tensor.state.update(state)
        plan = make_plan(rule, [tensor], 1, 0, [(step - 1, [float(array) for array in running.values()])])
        write_group(plan, 0, rule, values)
        if not plan.step(grad, _core.Options(scale, 0.0, 0.0, 0.0, False, False)):
            raise RuntimeError("grad: the extension refuses what buffers.py accepts; please report this")
        if running:
            for array, value in zip(running.values(), plan.progress_of(0)[1], strict=True):
                array[...] = value
        plainly_right.learn(given, **row_of(rule, values))

    carried = "".join(f"{s.name} ({s.doc}): a float64 array of shape (), any value before step 1.\n" for s in rule.running)
    slots = ", ".join(f"{slot.name} ({slot.doc})" for slot in rule.slots)
    function.__name__ = function.__qualname__ = name
    function.__module__ = "fastopt.functional"  # where a pickle finds it
    function.__signature__ = arguments  # type: ignore[attr-defined]  # read by inspect and help()
    function.__doc__ = (
        f"One step of {rule.name} on `param` and its state, in place.\n\n    {rule.formula}\n\n"
        f"State: {slots}; each array has param's shape and dtype (float32 if param has 16 bits).  Before step 1 fill\n"
        f"it with zeros or as `fastopt.{rule.name}` does.  Pass None for state that the arguments do without.\n{carried}"
        f"`step` is the number of this step, from 1.  `lr` is a number.  The other arguments are those of `fastopt.{rule.name}`.\n"
        f"Raises TypeError or ValueError, and writes nothing, if an argument is not as expected.\n\n" + function_example(rule)
    )
    return function
