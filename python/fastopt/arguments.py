"""What the caller passed -> what the optimizer works with: parameters, groups, gradients, numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import buffers
from .groups import Group
from .rules import Rule, shown

__all__ = ["Tensor", "bind_arguments", "check_count", "read_gradients", "read_groups"]

Entry = tuple[Any, str, "str | None"]
"""An array, its name in messages and, where it came in a dict, the caller's name for it."""


class Tensor:
    """One parameter as the plan has it: its view, its names, its state arrays."""

    def __init__(self, param: Any, name: str, key: str | None, group: int) -> None:
        self.name = name  # in messages
        self.key = key  # the caller's, in a dict
        self.group = group
        self.param = buffers.check_parameter(param, name)
        self.state: dict[str, buffers.Array] = {}

    def allocate(self, group: Group) -> None:
        for slot in group.slots:
            self.state[slot] = buffers.full_like(self.param, group.initial(slot))

    def arrays(self) -> list[tuple[str, buffers.Array]]:
        return [(self.name, self.param)] + [(f"state of {self.name}: {slot}", array) for slot, array in self.state.items()]


def check_count(value: Any, name: str) -> int:
    """A number of steps."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: got {buffers.describe(value)}, expected a whole number")
    if not 0 <= value < 2**53:
        raise ValueError(f"{name}: got {shown(value)}, expected a number of steps from 0")
    return int(value)


def bind_arguments(
    name: str, rule: Rule, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The class's arguments by name, defaults filled in; TypeError in the manner of a function call."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}; its arguments are params, {', '.join(rule.defaults)}, grads") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def read_groups(params: Any, rule: Rule) -> Iterator[tuple[str, list[Entry], dict[str, Any]]]:
    """Each group in what the caller passed: its name in messages, its arrays, the hyperparameters that it sets for itself."""
    if isinstance(params, (list, tuple)) and params and all(isinstance(entry, Mapping) for entry in params):
        for i, entry in enumerate(params):
            name = f"params[{i}]"
            for key in entry:
                if key != "params" and key not in rule.defaults:
                    raise TypeError(f"{name}: got the key {key!r}, expected 'params' or one of {', '.join(rule.defaults)}")
            if "params" not in entry:
                raise ValueError(f"{name}: got a group without 'params', expected its arrays under that key")
            yield (
                name,
                named(entry["params"], f"{name}['params']"),
                {key: value for key, value in entry.items() if key != "params"},
            )
        return
    yield "", named(params, "params"), {}


def named(arrays: Any, name: str) -> list[Entry]:
    """Each array with its name in messages and, in a dict, the caller's name for it."""
    if isinstance(arrays, Mapping):
        for key in arrays:
            if not isinstance(key, str):
                raise TypeError(f"{name}: got the name {key!r}, expected a string")
        entries: list[Entry] = [(array, f"{name}[{key!r}]", key) for key, array in arrays.items()]
    elif isinstance(arrays, (list, tuple)):
        entries = [(array, f"{name}[{i}]", None) for i, array in enumerate(arrays)]
    elif arrays is None or isinstance(arrays, (str, bytes)) or not (buffers.is_array(arrays) or isinstance(arrays, Iterable)):
        raise TypeError(f"{name}: got {buffers.describe(arrays)}, expected an array, a list or a dict of arrays")
    elif not buffers.is_array(arrays):
        raise TypeError(f"{name}: got {type(arrays).__name__}, expected an array, a list or a dict of arrays")
    else:
        entries = [(arrays, name, None)]
    if not entries:
        raise ValueError(f"{name}: got no arrays, expected at least one")
    return entries


def read_gradients(grads: Any, tensors: list[Tensor]) -> list[buffers.Array | None]:
    """`grads` as a list of ndarrays for the plan; raises where something about them is wrong."""
    if grads is None:
        raise ValueError("grads: got None, expected gradients, since none were bound when the optimizer was built")
    names = [tensor.name.replace("params", "grads", 1) for tensor in tensors]
    if isinstance(grads, Mapping):
        keys = [tensor.key for tensor in tensors]
        if None in keys:
            raise TypeError("grads: got a dict, expected a list, since the parameters have no names")
        for key in grads:
            if key not in keys:
                raise ValueError(f"grads: got the name {key!r}, which no parameter has")
        for key in keys:
            if key not in grads:
                raise ValueError(f"grads: got none for {key!r}, expected an array, or None to leave the parameter alone")
        values = [grads[key] for key in keys]
    elif buffers.is_array(grads):
        if len(tensors) != 1:
            raise ValueError(f"grads: got one array, expected a list of {len(tensors)}")
        values, names = [grads], ["grads"]
    elif isinstance(grads, (list, tuple)):
        if len(grads) != len(tensors):
            raise ValueError(f"grads: got {len(grads)}, expected {len(tensors)}, one for each parameter")
        values = list(grads)
    else:
        raise TypeError(f"grads: got {buffers.describe(grads)}, expected an array, a list or a dict of arrays")
    arrays = [
        None if value is None else buffers.check_gradient(value, name, tensor.param, tensor.name)
        for value, name, tensor in zip(values, names, tensors, strict=True)
    ]
    known = [entry for tensor in tensors for entry in tensor.arrays()]
    buffers.check_disjoint([(name, a) for name, a in zip(names, arrays, strict=True) if a is not None], known)
    return arrays
