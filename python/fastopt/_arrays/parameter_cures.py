"""What to type instead of parameters that cannot be updated in place: the ends of the errors about them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from .dtypes import dtype_name
from .families import family, is_numbers, is_torch_model, values_of

__all__ = ["of_container", "of_nest", "of_parameter"]


def of_parameter(value: Any, name: str, rule: str) -> str:
    """The cure for one array; "" if there is none.  `rule`: the class that was called."""
    origin = family(value)
    if origin == "torch":
        return of_torch(value, name, rule)
    if origin == "JAX":
        return f"JAX's arrays never change: {name} = np.array({name}) is a copy that steps update"
    if origin in ("Keras", "TensorFlow"):
        return of_variables(value, name)
    if origin == "pandas":
        return f"w = np.array({name}, np.float32, order='C') is a copy that steps update, and {name}[:] = w writes it back"
    if origin == "SciPy" and isinstance(getattr(value, "data", None), np.ndarray):
        return f"{name} = {name}.data are the values that the sparse matrix keeps"
    if value is None:
        return "leave out what there is not"
    if isinstance(value, np.ma.MaskedArray):
        return f"{name} = {name}.data, if steps may change what the mask hides"
    if isinstance(value, np.ndarray):
        return of_ndarray(value, name)
    if is_numbers(value) or isinstance(value, np.generic):
        return f"{name} = np.array({name}, np.float32)"
    return ONE_LEVEL if is_nest(value) else ""


ONE_LEVEL = "give one list or dict of arrays, without lists and dicts in it"


def of_torch(value: Any, name: str, rule: str) -> str:
    """The cure for a tensor, for a model and for what its methods return."""
    if is_torch_model(value) or getattr(value, "requires_grad", False):
        if rule:
            return f"for a torch model write fastopt.torch.{rule}(model.parameters(), ...)"
        return f"pass [{'p.grad' if name == 'grads' else 'p.detach()'} for p in model.parameters()]"
    if not hasattr(value, "is_floating_point"):
        return ""
    kind = "" if value.is_floating_point() or value.is_complex() else ".float()"
    dense = ".to_dense()" if value.layout != sys.modules["torch"].strided else "" if value.is_contiguous() else ".contiguous()"
    return f"{name} = {name}{dense}{kind} is a copy: use it from then on" if dense or kind else ""


def of_variables(value: Any, name: str) -> str:
    """The cure for variables of Keras and TensorFlow, and for their models."""
    if hasattr(value, "get_weights"):
        return f"step weights = {name}.get_weights(), which are copies, and write them back: {name}.set_weights(weights)"
    back = f", and {name}.assign(w) writes it back" if hasattr(value, "assign") else ""
    return f"w = {name}.numpy().copy() is a copy that steps update{back}"


def of_ndarray(array: np.ndarray[Any, Any], name: str) -> str:
    """The cure for an array of NumPy that is of another kind than a step can write."""
    kind, contiguous = array.dtype.kind, array.flags.c_contiguous
    if kind == "c":
        plain = name if contiguous else f"np.ascontiguousarray({name})"
        real = np.dtype(f"f{array.dtype.itemsize // 2}").name
        return f"{name} = {plain}.view(np.{real}) are its real and imaginary parts" if real in ("float32", "float64") else ""
    if kind not in "biufO":
        return ""
    floating = dtype_name(array) in ("float16", "float32", "float64")
    wanted = dtype_name(array) if floating else "float64" if kind == "f" else "float32"
    if not floating or not array.dtype.isnative:
        made = f"{name}.astype(np.{wanted})" if contiguous else f"np.ascontiguousarray({name}, np.{wanted})"
    elif not contiguous:
        made = f"np.ascontiguousarray({name})"
    else:
        made = f"{name}.copy()"
    return f"{name} = {made} is a copy: use it from then on"


def of_container(value: Any, name: str, rule: str) -> str:
    """The cure for what is neither an array nor a list nor a dict of arrays."""
    if is_torch_model(value) and family(value) != "Keras":
        return of_torch(value, name, rule)
    if family(value) is not None or isinstance(value, (int, float)):
        return of_parameter(value, name, rule)
    if type(value).__name__ in ("dict_items", "odict_items"):
        return f"write dict({name})"
    if has_memory(value):
        return f"{name} = np.asarray({name}) is a view of its memory"
    if callable(value) and not rule:
        return "give the gradients; the steps of fastopt.torch's classes take a closure"
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        return f"write list({name})"
    return ""


def of_nest(container: Any, name: str, rule: str) -> str:
    """The cure for lists and dicts in a list or dict, and for lists of numbers; `container` has at least one entry."""
    values = list(values_of(container))
    if is_numbers(values) and not isinstance(container, Mapping):
        return f"{name} = np.array({name}, np.float32)"
    if is_numbers(values):
        return f"{name} = {{key: np.array(w, np.float32) for key, w in {name}.items()}}"
    inner = values[0]
    if isinstance(inner, tuple) and len(inner) == 2 and isinstance(inner[0], str):
        return of_torch(inner[1], name, rule) if family(inner[1]) == "torch" else f"write dict({name})"
    if isinstance(inner, Mapping) and "params" in inner:
        return 'give every entry as a group: {"params": array}'
    if has_jax(values) and not rule:
        return f"pass jax.tree.leaves({name})"
    if has_jax(values):
        return f"JAX's arrays never change: {name} = [np.array(w) for w in jax.tree.leaves({name})] are copies that steps update"
    if not all(isinstance(value, (list, tuple, Mapping)) and not any(map(is_nest, values_of(value))) for value in values):
        return ONE_LEVEL
    if not isinstance(container, Mapping):
        return f"{name} = [w for layer in {name} for w in {'layer' if not isinstance(inner, Mapping) else 'layer.values()'}]"
    if all(isinstance(value, Mapping) for value in values):
        return f'{name} = {{f"{{layer}}.{{key}}": w for layer, inner in {name}.items() for key, w in inner.items()}}'
    return f'{name} = {{f"{{layer}}.{{i}}": w for layer, inner in {name}.items() for i, w in enumerate(inner)}}'


def has_memory(value: Any) -> bool:
    """Whether a value, such as an `array.array`, gives its memory to NumPy by Python's own protocol."""
    try:
        return memoryview(value).format in ("f", "d", "e") and not isinstance(value, (str, bytes))
    except TypeError:
        return False


def is_nest(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping))


def has_jax(values: list[Any]) -> bool:
    """Whether an array in a nest is JAX's."""
    return any(has_jax(list(values_of(value))) if is_nest(value) else family(value) == "JAX" for value in values)
