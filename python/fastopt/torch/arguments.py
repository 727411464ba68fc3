"""The arguments of the classes: torch's in torch's order, then those of fastopt by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .._names.suggestions import translation
from .._storage.formats import FORMAT_ARGUMENTS
from ..faces import parameter
from ..rules import OPTIONS, Rule
from ..rules.words import describe, shown

__all__ = ["FLAGS", "check_flags", "check_keys", "check_params", "check_tensors", "class_signature", "flags_of", "number"]

FLAGS = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
"""What torch's classes take beside a rule's hyperparameters, and its defaults."""
OWN = {
    "SGD": ("foreach", "differentiable", "fused"),
    "Adam": tuple(FLAGS),
    "AdamW": tuple(FLAGS),
    "Adagrad": ("foreach", "differentiable", "fused"),
}
"""The flags of each class; other classes have all but `fused`."""
BY_POSITION = {
    "Adagrad": ("foreach",),
    "Adadelta": ("foreach",),
    "Adamax": ("foreach",),
    "RMSprop": ("capturable", "foreach", "maximize", "differentiable"),
}
"""torch's arguments after the rule's hyperparameters that may come by position."""
NORM_EPS = 1e-6
"""torch.nn.utils.clip_grad_norm_'s."""


def flags_of(rule: Rule) -> tuple[str, ...]:
    return OWN.get(rule.name, ("foreach", "capturable", "differentiable"))


def class_signature(rule: Rule) -> inspect.Signature:
    """The signature of torch's class of that name, with more arguments by name only."""
    positional, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    first = BY_POSITION.get(rule.name, ())
    unset = {**FLAGS, "maximize": False}
    stages = [parameter(h, by_name) for h in rule.keyword_only + rule.stages if h.name not in first]
    options = [parameter(option, by_name) for option in OPTIONS]
    return inspect.Signature(
        [inspect.Parameter("params", positional)]
        + [parameter(h, positional) for h in rule.hyperparameters]
        + [inspect.Parameter(name, positional, default=unset[name]) for name in first]
        + [inspect.Parameter(name, by_name, default=unset[name]) for name in flags_of(rule) if name not in first]
        + stages
        + [option.replace(default=NORM_EPS) if option.name == "norm_eps" else option for option in options]
        + [parameter(each, by_name) for each in FORMAT_ARGUMENTS]
        + [inspect.Parameter("copy_to", by_name, default=None)]
    )


def check_params(params: Any, rule: Rule) -> None:
    """TypeError for what comes in the place of a model's parameters: the model, or arrays of NumPy."""
    if isinstance(params, torch.nn.Module):
        raise TypeError(f"params: got the model {type(params).__name__}, expected its parameters; pass model.parameters()")
    first = params[0] if isinstance(params, (list, tuple)) and params else params
    if isinstance(first, np.ndarray):
        raise TypeError(f"params: got {describe(first)}, expected tensors; fastopt.{rule.name} steps arrays of NumPy")


def check_flags(values: dict[str, Any]) -> None:
    """RuntimeError, as torch's, for what the kernels cannot do; TypeError for what is no flag."""
    for name in FLAGS:
        if not isinstance(values.get(name), (bool, type(None))):
            raise TypeError(f"{name}: got {values[name]!r}, expected True, False or None")
    if values.get("differentiable"):
        raise RuntimeError("differentiable: got True, expected False, since a fused step leaves autograd no history")
    if values.get("fused") and values.get("foreach"):
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_keys(group: Mapping[str, Any], rule: Rule) -> None:
    """TypeError for an argument in a group that holds for all of them, or that another framework calls so.

    Other unknown keys are the program's own: torch keeps them too.
    """
    for name in group:
        if name not in rule.defaults and (cure := translation(name, rule.defaults, rule=rule.name)):
            raise TypeError(f"{name}: {rule.name} has no such hyperparameter{cure}")
    for name in (*(option.name for option in OPTIONS), "seed", "copy_to"):
        if name in group:
            raise TypeError(
                f"{name}: got {describe(group[name])} in a group, expected it as an argument of the optimizer: it holds for all"
            )


def check_tensors(rule: Rule, values: Mapping[str, Any]) -> None:
    """ValueError, as torch's Adam and AdamW, for hyperparameters of which some are tensors, or that `foreach=True` does not take as such."""
    if rule.name not in ("Adam", "AdamW"):
        return
    betas = values["betas"]
    given = {"lr": values["lr"]}
    if isinstance(betas, (tuple, list)) and len(betas) == 2:
        given.update({f"betas[{i}]": beta for i, beta in enumerate(betas)})
        if isinstance(betas[0], torch.Tensor) != isinstance(betas[1], torch.Tensor):
            raise ValueError(
                f"betas: got {shown(betas)}, expected two numbers or two tensors; betas must be either both floats or both Tensors"
            )
    for name, value in given.items():
        if isinstance(value, torch.Tensor) and values["foreach"] and not values["capturable"]:
            raise ValueError(
                f"{name}: got a tensor, expected a number or foreach=None; {name} as a Tensor is not supported for capturable=False and foreach=True"
            )


def number(value: Any) -> Any:
    """A hyperparameter's value with tensors of one element as numbers."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"got a tensor of {value.numel()} elements, expected one of 1")
        return value.item()
    return type(value)(map(number, value)) if isinstance(value, (tuple, list)) else value
