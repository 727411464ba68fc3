"""The optimizer classes: one for each row of the table of rules.

`Optimizer` sorts the caller's arrays into a bound plan (`_core.Plan`); after that a step is one call into
the extension, which checks the gradients, derives the step's scalars and runs the kernels.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from . import _core, buffers
from .groups import Group
from .rules import RULES, Hyperparameter, Rule

__all__ = ["Optimizer", "States", *RULES]

Array = np.ndarray[Any, Any]


class Tensor:
    """One parameter as the plan has it: its view, its names, its state arrays."""

    def __init__(self, param: Any, name: str, key: str | None, group: int) -> None:
        self.name = name  # in messages
        self.key = key  # the caller's, in a dict
        self.group = group
        self.param = buffers.check_parameter(param, name)
        self.state: dict[str, Array] = {}

    def allocate(self, group: Group) -> None:
        for slot in group.slots:
            self.state[slot] = buffers.full_like(self.param, group.initial(slot))

    def arrays(self) -> list[tuple[str, Array]]:
        return [(self.name, self.param)] + [(f"state of {self.name}: {slot}", array) for slot, array in self.state.items()]


class States(Sequence[Mapping[str, Any]]):
    """The state of each tensor by its position, or by its name where the parameters came in a dict.

    An entry maps `"step"` to the tensor's count of steps and the rule's slots, under torch's names, to their
    arrays.  The arrays are the live state: writing into them acts on the next step.
    """

    def __init__(self, tensors: list[Tensor], plan: _core.Plan) -> None:
        self._tensors = tensors
        self._plan = plan
        self._index = {tensor.key: i for i, tensor in enumerate(tensors) if tensor.key is not None}

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(len(self)))]
        index = self._index[key] if isinstance(key, str) else range(len(self))[key]
        return MappingProxyType({"step": self._plan.steps[index], **self._tensors[index].state})

    def __len__(self) -> int:
        return len(self._tensors)


class Optimizer:
    """What every rule's class has in common.  Use the classes: `SGD`, `Adam`, `AdamW`, `Adagrad`."""

    rule: ClassVar[Rule]

    def __init__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        given = bind_arguments(type(self), params, args, kwargs)
        grads = given.pop("grads")
        self._groups: list[Group] = []
        self._tensors: list[Tensor] = []
        for arrays, overrides, name in read_groups(params, self.rule):
            index = len(self._groups)
            self._tensors += [Tensor(array, label, key, index) for array, label, key in named(arrays, name)]
            own = [entry[0] for entry in named(arrays, name)]
            self._groups.append(Group(self.rule, own, given | overrides))
        keys = [tensor.key for tensor in self._tensors if tensor.key is not None]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"params: got the name {key!r} twice, expected different names")
        buffers.check_disjoint([(tensor.name, tensor.param) for tensor in self._tensors])
        for tensor in self._tensors:
            tensor.allocate(self._groups[tensor.group])
        rows = [(tensor.param, list(tensor.state.values()), tensor.group) for tensor in self._tensors]
        self._plan = _core.Plan(self.rule.arithmetic, rows, len(self._groups))
        for index, group in enumerate(self._groups):
            group.attach(self._writer(index), lambda: self.steps)
        self._state = States(self._tensors, self._plan)
        if grads is not None and self._plan.bind(grads) is not None:
            self._plan.bind(self._converted(grads))

    def _writer(self, index: int) -> Any:
        def write(group: Group) -> None:
            write_group(self._plan, index, self.rule, group.hyperparameters())
            self._scheduled = [group for group in self._groups if group.schedule is not None]

        return write

    def step(self, grads: Any = None, *, grad_scale: float = 1.0) -> None:
        """One step, in place, in one pass over memory.

        `grads`: for one parameter its gradient; for several a list or tuple in their order, or a dict where they
        came in one; a gradient of None leaves its parameter, state and count of steps alone.  Without `grads` the
        gradients that were bound when the optimizer was built are read.  Each has the shape and dtype of its
        parameter, is C-contiguous and only read.

        `grad_scale` multiplies every gradient first (1/scale undoes a loss scale).

        Raises TypeError or ValueError, with nothing written and no step counted, where an argument is not that.
        """
        if self._scheduled:
            for group in self._scheduled:
                group.follow_schedule()
        if grad_scale.__class__ is not float or not math.isfinite(grad_scale):
            grad_scale = check_scale(grad_scale)
        if self._plan.step(grads, grad_scale) is not None:
            self._plan.step(self._converted(grads), grad_scale)

    def _converted(self, grads: Any) -> list[Array | None]:
        """`grads` as a list of ndarrays for the plan; raises where something about them is wrong."""
        tensors = self._tensors
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

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups; `opt.groups[0]["lr"] = 1e-4` holds from the next step on."""
        return tuple(self._groups)

    @property
    def state(self) -> States:
        """The state of each tensor: `opt.state[0]["exp_avg"]`."""
        return self._state

    @property
    def steps(self) -> int:
        """Completed steps of the optimizer.  `opt.state[i]["step"]` counts those that a tensor had a gradient for."""
        return self._plan.completed

    @property
    def lr(self) -> float:
        """The learning rate of all groups; ValueError on reading where they differ.  Setting it sets it in each."""
        rates = {group["lr"] for group in self._groups}
        if len(rates) != 1:
            raise ValueError(f"lr: the groups have different ones ({sorted(rates)}); read opt.groups[i]['lr']")
        return float(rates.pop())

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self._groups:
            group.accept({"lr": value})
        for group in self._groups:
            group["lr"] = value

    def traffic(self) -> dict[str, dict[str, int]]:
        """The bytes that a step with all gradients must read and write, for each kind of array and in total.

        `{"params": {"read": ..., "write": ...}, "grads": ..., "exp_avg": ..., "total": ...}`
        """
        table: dict[str, dict[str, int]] = {"params": {"read": 0, "write": 0}, "grads": {"read": 0, "write": 0}}
        for tensor in self._tensors:
            size = tensor.param.nbytes
            used = self.rule.variant(self._groups[tensor.group].hyperparameters()).slots
            for name in ("params", "grads", *used):
                row = table.setdefault(name, {"read": 0, "write": 0})
                row["read"] += size
                row["write"] += 0 if name == "grads" else size
        table["total"] = {way: sum(row[way] for row in table.values()) for way in ("read", "write")}
        return table

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything but the parameters, for `load_state_dict`.

        `{"rule": name, "steps": count, "state": [{"step": count, slot: array}, ...], "groups": [{...}, ...]}`, in the
        order of the tensors; the arrays are copies.  A schedule is code and not kept: its latest `lr` is.
        """
        steps = self._plan.steps
        return {
            "rule": self.rule.name,
            "steps": self.steps,
            "state": [
                {"step": steps[i], **{slot: array.copy() for slot, array in tensor.state.items()}}
                for i, tensor in enumerate(self._tensors)
            ],
            "groups": [group.hyperparameters() for group in self._groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copies a snapshot of `state_dict` into this optimizer's state, counts and groups.

        A group whose `lr` is a schedule keeps it.  Raises TypeError or ValueError, with nothing changed, where the
        snapshot is of another rule, or of other tensors or groups in number, shape or dtype.
        """
        load(self, state_dict)

    def __repr__(self) -> str:
        elements = sum(tensor.param.size for tensor in self._tensors)
        groups = "".join(f"\n  {group!r}" for group in self._groups)
        return f"{type(self).__name__}({len(self._tensors)} tensors, {elements} elements, {self.steps} steps){groups}"


def write_group(plan: _core.Plan, index: int, rule: Rule, values: Mapping[str, Any]) -> None:
    """Puts checked hyperparameters into the plan's row."""
    plan.set_group(
        index,
        lr=values["lr"],
        weight_decay=values["weight_decay"],
        decoupled=values["decoupled_weight_decay"],
        l1=values["l1"],
        maximize=values["maximize"],
        hyperparameters=rule.codes(values),
    )


def check_scale(value: Any) -> float:
    """A factor for gradients: any finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"grad_scale: got {type(value).__name__} {value!r}, expected a real number")
    if not math.isfinite(value):
        raise ValueError(f"grad_scale: got {value!r}, expected a finite number")
    return float(value)


def bind_arguments(cls: type[Optimizer], params: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The class's arguments by name, defaults filled in; TypeError in the manner of a function call."""
    try:
        bound = inspect.signature(cls).bind(params, *args, **kwargs)
    except TypeError as error:
        names = ", ".join(name for name in cls.rule.defaults)
        raise TypeError(f"{cls.__name__}: {error}; its arguments are params, {names}, grads") from None
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "params"}


def read_groups(params: Any, rule: Rule) -> Iterator[tuple[Any, dict[str, Any], str]]:
    """The arrays, overriding hyperparameters and name in messages of each group in what the caller passed."""
    if isinstance(params, (list, tuple)) and params and all(isinstance(entry, Mapping) for entry in params):
        for i, entry in enumerate(params):
            name = f"params[{i}]"
            for key in entry:
                if key != "params" and key not in rule.defaults:
                    raise TypeError(f"{name}: got the key {key!r}, expected 'params' or one of {', '.join(rule.defaults)}")
            if "params" not in entry:
                raise ValueError(f"{name}: got a group without 'params', expected its arrays under that key")
            yield entry["params"], {key: value for key, value in entry.items() if key != "params"}, f"{name}['params']"
        return
    yield params, {}, "params"


def named(arrays: Any, name: str) -> list[tuple[Any, str, str | None]]:
    """Each array with its name in messages and, in a dict, the caller's name for it."""
    if isinstance(arrays, Mapping):
        for key in arrays:
            if not isinstance(key, str):
                raise TypeError(f"{name}: got the name {key!r}, expected a string")
        entries: list[tuple[Any, str, str | None]] = [(array, f"{name}[{key!r}]", key) for key, array in arrays.items()]
    elif isinstance(arrays, (list, tuple)):
        entries = [(array, f"{name}[{i}]", None) for i, array in enumerate(arrays)]
    elif arrays is None or isinstance(arrays, (str, bytes)) or not (buffers.is_array(arrays) or isinstance(arrays, Iterable)):
        raise TypeError(f"{name}: got {buffers.describe(arrays)}, expected an array, a list or a dict of arrays")
    elif not buffers.is_array(arrays):
        raise TypeError(f"{name}: got {type(arrays).__name__}, expected an array, a list or a dict of arrays (not an iterator)")
    else:
        entries = [(arrays, name, None)]
    if not entries:
        raise ValueError(f"{name}: got no arrays, expected at least one")
    return entries


def load(optimizer: Optimizer, state_dict: Any) -> None:
    """`Optimizer.load_state_dict`: first every check, then every change."""
    rule, tensors, groups = optimizer.rule, optimizer._tensors, optimizer._groups
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: got {buffers.describe(state_dict)}, expected a dict from state_dict()")
    for key in ("rule", "steps", "state", "groups"):
        if key not in state_dict:
            raise ValueError(f"state_dict: got none of {key!r}, expected a dict from state_dict()")
    if state_dict["rule"] != rule.name:
        raise ValueError(f"state_dict: got the state of {state_dict['rule']}, expected {rule.name}'s")
    for name, own in (("state", tensors), ("groups", groups)):
        if not isinstance(state_dict[name], (list, tuple)):
            raise TypeError(f"state_dict[{name!r}]: got {buffers.describe(state_dict[name])}, expected a list")
        if len(state_dict[name]) != len(own):
            raise ValueError(f"state_dict[{name!r}]: got {len(state_dict[name])} entries, expected {len(own)}")
    steps = [check_count(state_dict["steps"], "state_dict['steps']")]
    arrays: list[tuple[Array, Array]] = []
    for i, (tensor, entry) in enumerate(zip(tensors, state_dict["state"], strict=True)):
        name = f"state_dict['state'][{i}]"
        if not isinstance(entry, Mapping) or set(entry) != {"step", *tensor.state}:
            found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else buffers.describe(entry)
            raise ValueError(f"{name}: got {found}, expected {', '.join(['step', *tensor.state])}")
        steps.append(check_count(entry["step"], f"{name}['step']"))
        for slot, own in tensor.state.items():
            label = f"{name}[{slot!r}]"
            array = buffers.as_array(entry[slot], label)
            buffers.check_like(array, label, tensor.param, tensor.name)
            arrays.append((own, array))
    accepted = []
    for i, (group, values) in enumerate(zip(groups, state_dict["groups"], strict=True)):
        if not isinstance(values, Mapping) or set(values) != set(group.hyperparameters()):
            raise ValueError(f"state_dict['groups'][{i}]: expected the hyperparameters {', '.join(group.hyperparameters())}")
        accepted.append(group.accept(values)[0])
    for own, array in arrays:
        np.copyto(own, array)
    for group, values in zip(groups, accepted, strict=True):
        group.assign(values)
    optimizer._plan.completed, optimizer._plan.steps = steps[0], steps[1:]


def check_count(value: Any, name: str) -> int:
    """A number of steps."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: got {buffers.describe(value)}, expected a whole number")
    if not 0 <= value < 2**53:
        raise ValueError(f"{name}: got {value}, expected a number of steps from 0")
    return int(value)


def parameter(hyperparameter: Hyperparameter, kind: Any) -> inspect.Parameter:
    return inspect.Parameter(hyperparameter.name, kind, default=hyperparameter.default)


def signature(rule: Rule) -> inspect.Signature:
    """torch's arguments by position, everything else by name only."""
    positional, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [inspect.Parameter("params", positional)]
        + [parameter(h, positional) for h in rule.hyperparameters]
        + [parameter(h, by_name) for h in rule.options + rule.stages]
        + [inspect.Parameter("grads", by_name, default=None)]
    )


def docstring(rule: Rule) -> str:
    """The class's documentation, from its row."""
    lines = [rule.summary, "", f"    {rule.formula}", "", f"Source: {rule.paper}.", "", "Arguments:"]
    lines.append("  params: the array to update in place, or a list, a {name: array} dict, or a list of group dicts")
    lines.append('    {"params": arrays, "lr": ...}; float32 or float64, any shape, C-contiguous, writable, not overlapping')
    for h in rule.arguments:
        expected = h.range or " or ".join(map(repr, h.choices))
        lines.append(f"  {h.name}: {h.doc}; in {expected}, default {h.default!r}")
    lines.append("  grads: gradients bound once, for step() without arguments; shaped like params")
    lines += ["", "State: " + "; ".join(f"{slot.name} ({slot.doc})" for slot in rule.slots) + ", of the parameter's shape and dtype."]
    lines += ["", "Raises TypeError or ValueError where an argument is not what is expected here; nothing was written then."]
    return "\n".join(lines)


for _rule in RULES.values():
    globals()[_rule.name] = type(
        _rule.name,
        (Optimizer,),
        {"rule": _rule, "__doc__": docstring(_rule), "__signature__": signature(_rule), "__module__": __name__},
    )
