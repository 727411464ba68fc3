"""A class for each row of the table of rules."""

from __future__ import annotations

import inspect
from typing import Any

from .._storage.formats import FORMAT_ARGUMENTS
from ..faces import described
from ..rules import OPTIONS, RULES, Rule
from .arguments import class_signature, flags_of
from .optimizer import Optimizer

__all__ = [*RULES]


def docstring(rule: Rule) -> str:
    """The class's documentation, from its row."""
    lines = [rule.summary, "", f"    {rule.formula}", "", f"Source: {rule.paper}.", "", "Arguments:"]
    lines.append(
        "  params: parameters, (name, parameter) pairs or groups, as torch.optim takes them; float32, float64, bfloat16, float16,"
    )
    lines.append(
        "    complex64 or complex128, on the CPU or CUDA devices; a group may have a state_dtype and a master of its own"
    )
    lines += [described(h) for h in rule.arguments]
    lines.append(f"  {', '.join(flags_of(rule))}: torch's; every step is one call for all tensors, and can be captured on a GPU;")
    lines.append("    differentiable=True is refused")
    lines += [described(each) for each in OPTIONS + FORMAT_ARGUMENTS]
    lines.append(
        "  copy_to: a tensor or None for each parameter, which takes a copy of the new parameter, rounded to nearest even"
    )
    lines += ["", "`lr` and other numbers may be tensors of one element; schedules are torch.optim.lr_scheduler's."]
    lines += [
        "",
        "State: torch's keys, `optimizer.state[p]`: " + "; ".join(f"{slot.name} ({slot.doc})" for slot in rule.slots) + ".",
    ]
    lines += [
        "",
        "Raises TypeError or ValueError if an argument is not what is expected here, RuntimeError as torch's optimizers.",
        "",
        *example(rule),
    ]
    return "\n".join(lines)


def example(rule: Rule) -> list[str]:
    """The example of a class: the minimum of a function."""
    return [
        "Example:",
        "    >>> p = torch.zeros(3, requires_grad=True)",
        f"    >>> optimizer = fastopt.torch.{rule.name}([p], {rule.example})",
        "    >>> for _ in range(200):",
        "    ...     optimizer.zero_grad()",
        "    ...     (p - 3).square().sum().backward()",
        "    ...     optimizer.step()",
        "    >>> p.detach().round(decimals=1)",
        "    tensor([3., 3., 3.])",
    ]


def make_class(rule: Rule) -> type[Optimizer]:
    """The optimizer class of a row."""
    signature = class_signature(rule)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super(made, self).__init__(*args, **kwargs)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    shown = signature.replace(parameters=[own, *signature.parameters.values()])
    __init__.__signature__ = shown  # type: ignore[attr-defined]  # read by inspect and help()
    members = {
        "rule": rule,
        "_signature": signature,
        "__init__": __init__,
        "__doc__": docstring(rule),
        "__module__": "fastopt.torch",
    }
    made = type(rule.name, (Optimizer,), members)
    return made


globals().update({rule.name: make_class(rule) for rule in RULES.values()})
