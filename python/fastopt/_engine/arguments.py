"""What the caller passed -> what the optimizer works with: parameters, groups, gradients."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .._arrays import buffers
from .._storage.formats import Formats
from ..rules import Rule
from ..rules.words import cured, describe
from .copies import is_grouped
from .group_formats import FORMAT_KEYS, take_formats
from .groups import Group
from .tensors import Tensor

__all__ = [
    "bind_arguments",
    "check_memory",
    "computed_in_single",
    "for_each",
    "named",
    "read_gradients",
    "read_tensors",
    "take_copies",
]

Entry = tuple[Any, str, "str | None"]
"""An array, its name in messages and, if it came in a dict, the caller's name for it."""


def bind_arguments(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], rule: str = ""
) -> dict[str, Any]:
    """The arguments of a class or function by name, defaults filled in; TypeError in the manner of a function call."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        from .._names.suggestions import suggestion

        names = signature.parameters
        cure = suggestion(next((key for key in kwargs if key not in names), None), names, rule=rule or name)
        raise TypeError(f"{name}: {error}; its arguments are {', '.join(names)}{cure}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def read_groups(params: Any, rule: Rule) -> Iterator[tuple[str, list[Entry], dict[str, Any]]]:
    """Each group in what the caller passed: its name in messages, its arrays, the hyperparameters and formats that it sets for itself."""
    if is_grouped(params):
        for i, entry in enumerate(params):
            name = f"params[{i}]"
            for key in entry:
                if key not in ("params", *FORMAT_KEYS, *rule.defaults):
                    from .._names.suggestions import suggestion

                    keys = ["params", *rule.defaults, *FORMAT_KEYS]
                    cure = suggestion(key, keys, rule=rule.name)
                    raise TypeError(f"{name}: got the key {key!r}, expected 'params' or one of {', '.join(keys[1:])}{cure}")
            if "params" not in entry:
                raise ValueError(f"{name}: got a group without 'params', expected its arrays under that key")
            yield (
                name,
                named(entry["params"], f"{name}['params']", rule.name, empty=True),
                {key: value for key, value in entry.items() if key != "params"},
            )
        return
    yield "", named(params, "params", rule.name), {}


def read_tensors(params: Any, rule: Rule, values: Mapping[str, Any], formats: Formats) -> tuple[list[Tensor], list[Group]]:
    """The parameters and the groups that they came in, in the caller's order, checked one by one; no state is made yet."""
    tensors: list[Tensor] = []
    groups: list[Group] = []
    offset = 0
    for index, (name, entries, overrides) in enumerate(read_groups(params, rule)):
        begin = len(tensors)
        for array, label, key in entries:
            tensors.append(Tensor(buffers.check_parameter(array, label, rule.name), label, key, index, offset, array))
            offset += tensors[-1].padded
        own = take_formats(overrides, formats, name)
        arrays, single = [array for array, _, _ in entries], computed_in_single(tensors[begin:])
        groups.append(Group.read(rule, arrays, {**values, **overrides}, name, own, single))
    if not tensors:
        raise ValueError(f"params: got {len(groups)} groups without arrays, expected at least one array")
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.key in seen:
            raise ValueError(f"params: got the name {tensor.key!r} twice, expected different names")
        if tensor.key is not None:
            seen.add(tensor.key)
    return tensors, groups


def computed_in_single(tensors: Sequence[Tensor]) -> str | None:
    """The name of the first that is computed in float32, None without any."""
    return next((tensor.name for tensor in tensors if tensor.dtype != "float64"), None)


def take_copies(copy_to: Any, tensors: list[Tensor]) -> None:
    """Gives each tensor the array that takes copies of it, if there is one."""
    if copy_to is not None:
        for tensor, (value, name) in zip(tensors, for_each(copy_to, "copy_to", tensors, "for no copy"), strict=True):
            tensor.take_copy(value, name)


def check_memory(tensors: list[Tensor]) -> None:
    """ValueError if the tensors are not all on one device, or share memory."""
    for tensor in tensors:
        buffers.check_place(tensor.param, tensor.name, tensors[0].param, tensors[0].name)
    buffers.check_disjoint([entry for tensor in tensors for entry in tensor.arrays()])


def named(arrays: Any, name: str, rule: str = "", *, empty: bool = False) -> list[Entry]:
    """Each array with its name in messages and, in a dict, the caller's name for it.

    `rule`: the class that was called, "" for a function; `empty`: whether there may be no array.
    """
    if isinstance(arrays, Mapping):
        for key in arrays:
            if not isinstance(key, str):
                raise TypeError(f"{name}: got the name {key!r}, expected a string")
        entries: list[Entry] = [(array, f"{name}[{key!r}]", key) for key, array in arrays.items()]
    elif isinstance(arrays, (list, tuple)):
        entries = [(array, f"{name}[{i}]", None) for i, array in enumerate(arrays)]
    elif arrays is None or isinstance(arrays, (str, bytes)) or not (buffers.is_array(arrays) or isinstance(arrays, Iterable)):
        raise no_arrays(arrays, name, rule, describe(arrays))
    elif not buffers.is_array(arrays):
        raise no_arrays(arrays, name, rule, type(arrays).__name__)
    else:
        entries = [(arrays, name, None)]
    if not entries and not empty:
        raise ValueError(f"{name}: got no arrays, expected at least one")
    if entries and isinstance(entries[0][0], NESTED):
        from .._arrays.parameter_cures import of_nest

        value, label, _ = entries[0]
        refused = TypeError(f"{label}: got {describe(value)}, expected an array")
        raise cured(refused, lambda: of_nest(arrays, name, rule))
    return entries


NESTED = (list, tuple, Mapping, int, float)
"""What stands in the place of an array if lists or dicts are nested, or hold numbers."""


def no_arrays(value: Any, name: str, rule: str, came: str) -> Exception:
    """The error for what is neither an array nor a list nor a dict of arrays."""
    from .._arrays.parameter_cures import of_container

    refused = TypeError(f"{name}: got {came}, expected an array, a list or a dict of arrays")
    return cured(refused, lambda: of_container(value, name, rule))


def for_each(values: Any, name: str, tensors: Sequence[Tensor], without: str) -> list[tuple[Any, str]]:
    """One of `values` for each tensor, with its name in messages; they come as the parameters did."""
    names = [tensor.name.replace("params", name, 1) for tensor in tensors]
    if isinstance(values, Mapping):
        keys = [tensor.key for tensor in tensors]
        if None in keys:
            raise TypeError(
                f"{name}: got a dict, expected a list, since the parameters have no names; pass list({name}.values())"
            )
        known = set(keys)
        for key in values:
            if key not in known:
                from .._arrays.parameter_cures import of_nest
                from .._names.suggestions import similar

                words = f"{name}: got the name {key!r}, which no parameter has"
                if isinstance(values[key], NESTED):
                    raise cured(ValueError(words), lambda: of_nest(values, name, ""))
                raise ValueError(f"{words}{similar(key, map(str, known))}")
        for key in keys:
            if key not in values:
                raise ValueError(f"{name}: got none for {key!r}, expected an array, or None {without}")
        return [(values[key], label) for key, label in zip(keys, names, strict=True)]
    if buffers.is_array(values):
        if len(tensors) != 1:
            raise ValueError(f"{name}: got one array, expected a list of {len(tensors)}, one array for each parameter")
        return [(values, name)]
    if isinstance(values, (list, tuple)):
        if len(values) != len(tensors):
            miscounted = ValueError(f"{name}: got {len(values)}, expected {len(tensors)}, one for each parameter")
            raise cured(miscounted, lambda: of_count(values, name, tensors, without))
        return list(zip(values, names, strict=True))
    from .._arrays.parameter_cures import of_container

    refused = TypeError(f"{name}: got {describe(values)}, expected an array, a list or a dict of arrays")
    raise cured(refused, lambda: of_single(values, name, tensors) or of_container(values, name, ""))


def of_count(values: Any, name: str, tensors: Sequence[Tensor], without: str) -> str:
    """The cure for a list that is too short or too long; for one of numbers the array that they are."""
    from .._arrays.families import is_numbers
    from .._arrays.parameter_cures import of_nest

    if is_numbers(values):
        return of_single(values, name, tensors)
    if values and isinstance(values[0], NESTED):
        return of_nest(values, name, "")
    return f"pass None {without}" if len(values) < len(tensors) else "leave out those that no parameter has"


def of_single(value: Any, name: str, tensors: Sequence[Tensor]) -> str:
    """The cure for what can be made the gradient of the one parameter that there is."""
    from .._arrays.gradient_cures import expression

    made = expression(value, name, tensors[0].param) if len(tensors) == 1 and name == "grads" else ""
    return made and f"pass {made}"


def read_gradients(grads: Any, tensors: Sequence[Tensor], *, written: bool, bound: bool = False) -> list[buffers.Array | None]:
    """`grads` as a list of ndarrays for the plan, for one step or `bound`; raises if something about them is wrong."""
    cure = "bind {} and write each gradient into it" if bound else "pass {}"
    named_values = for_each(grads, "grads", tensors, "to leave the parameter alone")
    names = [name for _, name in named_values]
    arrays = [
        None if value is None else buffers.check_gradient(value, name, tensor.param, tensor.name, written=written, cure=cure)
        for (value, name), tensor in zip(named_values, tensors, strict=True)
    ]
    known = [entry for tensor in tensors for entry in tensor.arrays()]
    present = [(name, a) for name, a in zip(names, arrays, strict=True) if a is not None]
    buffers.check_disjoint(present, known, shared=not written)
    return arrays
