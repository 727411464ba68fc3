"""`Optimizer`, what every rule's class has in common.

It sorts the caller's arrays into a bound plan (`_core.Plan`); after that a step is one call into
the extension, which checks the gradients, derives the step's scalars and runs the kernels.
"""

from __future__ import annotations

import inspect
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from . import _core, buffers
from .arguments import Tensor, bind_arguments, read_gradients, read_groups
from .groups import Group
from .rules import Rule, check_number
from .snapshots import load

__all__ = ["Optimizer", "States", "write_group"]


class States(Sequence[Mapping[str, Any]]):
    """The state of each tensor by its position, or by its name where the parameters came in a dict.

    An entry maps `"step"` to the tensor's count of steps and the rule's slots, under torch's names, to their
    arrays.  The arrays are the live state: writing into them acts on the next step.  Scalars that a rule carries from step
    to step (NAdam's `"mu_product"`) stand there as numbers.
    """

    def __init__(self, rule: Rule, tensors: list[Tensor], plan: _core.Plan) -> None:
        self._rule = rule
        self._tensors = tensors
        self._plan = plan
        self._index = {tensor.key: i for i, tensor in enumerate(tensors) if tensor.key is not None}

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(len(self)))]
        index = self._index[key] if isinstance(key, str) else range(len(self))[key]
        steps, running = self._plan.progress_of(index)
        carried = dict(zip(self._rule.carried, map(np.float64, running), strict=True))
        return MappingProxyType({"step": steps, **carried, **self._tensors[index].state})

    def __len__(self) -> int:
        return len(self._tensors)


class Optimizer:
    """What every rule's class has in common.  Use the classes: `SGD`, `Adam`, `AdamW` and the others."""

    rule: ClassVar[Rule]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: expected one of the rules' classes, such as AdamW")
        given = bind_arguments(type(self).__name__, self.rule, inspect.signature(type(self)), args, kwargs)
        params, grads = given.pop("params"), given.pop("grads")
        self._groups: list[Group] = []
        self._scheduled: list[Group] = []  # whose lr is a schedule
        self._tensors: list[Tensor] = []
        for index, (name, entries, overrides) in enumerate(read_groups(params, self.rule)):
            self._tensors += [Tensor(array, label, key, index) for array, label, key in entries]
            self._groups.append(Group(self.rule, [array for array, _, _ in entries], given | overrides, name))
        self._keys = [tensor.key for tensor in self._tensors if tensor.key is not None]
        for i, key in enumerate(self._keys):
            if key in self._keys[:i]:
                raise ValueError(f"params: got the name {key!r} twice, expected different names")
        buffers.check_disjoint([(tensor.name, tensor.param) for tensor in self._tensors])
        for tensor in self._tensors:
            tensor.allocate(self._groups[tensor.group])
        slots = [slot.name for slot in self.rule.slots]
        rows = [(tensor.param, [tensor.state.get(slot) for slot in slots], tensor.group) for tensor in self._tensors]
        self._plan = _core.Plan(self.rule.arithmetic, rows, len(self._groups))
        self._plan.set_progress([(0, [scalar.initial for scalar in self.rule.running]) for _ in self._tensors])
        for index, group in enumerate(self._groups):
            group.attach(self._writer(index), self._counter())
        self._state = States(self.rule, self._tensors, self._plan)
        if grads is not None and not self._plan.bind(grads) and not self._plan.bind(self._converted(grads)):
            raise RuntimeError("grads: the extension refuses what buffers.py accepts; please report this")

    # A group knows its optimizer by a weak reference alone: in a circle, state would outlive its optimizer until the
    # garbage collector comes by.

    def _writer(self, index: int) -> Callable[[Group], None]:
        owner = weakref.ref(self)

        def write(group: Group) -> None:
            if (optimizer := owner()) is not None:
                write_group(optimizer._plan, index, optimizer.rule, group.hyperparameters())
                optimizer._scheduled = [group for group in optimizer._groups if group.schedule is not None]

        return write

    def _counter(self) -> Callable[[], int]:
        owner = weakref.ref(self)
        return lambda: 0 if (optimizer := owner()) is None else optimizer.steps

    def step(self, grads: Any = None, *, grad_scale: float = 1.0) -> None:
        """One step, in place, in one pass over memory.

        `grads`: for one parameter its gradient; for several a list or tuple in their order, or a dict where they
        came in one; a gradient of None leaves its parameter, state and count of steps alone.  Without `grads` the
        gradients that were bound when the optimizer was built are read.  Each has the shape and dtype of its
        parameter, is C-contiguous and only read.

        `grad_scale` multiplies every gradient first (1/scale undoes a loss scale).

        A call counts in `steps`, and for schedules, even where every gradient is None.

        Raises TypeError or ValueError, with nothing written and no step counted, where an argument is not that.
        """
        if self._scheduled:
            rates = [group.scheduled_lr() for group in self._scheduled]
            for group, rate in zip(self._scheduled, rates, strict=True):
                group.assign({"lr": rate})
        if grad_scale.__class__ is not float or not math.isfinite(grad_scale):
            grad_scale = check_number(grad_scale, "grad_scale")
        if grads.__class__ is dict:
            grads = self._in_order(grads)
        if not self._plan.step(grads, grad_scale) and not self._plan.step(self._converted(grads), grad_scale):
            raise RuntimeError("grads: the extension refuses what buffers.py accepts; please report this")

    def _in_order(self, grads: dict[str, Any]) -> Any:
        """A dict of gradients as a list in the order of the tensors; as it is where the names do not fit."""
        try:
            ordered = [grads[key] for key in self._keys]
        except KeyError:
            return grads
        return ordered if len(ordered) == len(grads) else grads

    def _converted(self, grads: Any) -> list[buffers.Array | None]:
        """`grads` as a list of ndarrays for the plan; raises where something about them is wrong."""
        return read_gradients(grads, self._tensors)

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
        order of the tensors; an entry has a `"name"` too where the parameters came in a dict, and the scalars that the
        rule carries from step to step.  The arrays are copies.  A schedule is code and not kept: its latest `lr` is.  Not
        to be called while another thread steps.
        """
        return {
            "rule": self.rule.name,
            "steps": self.steps,
            "state": [
                {
                    **({"name": tensor.key} if tensor.key is not None else {}),
                    **{key: value.copy() if key in tensor.state else value for key, value in entry.items()},
                }
                for tensor, entry in zip(self._tensors, self._state, strict=True)
            ],
            "groups": [group.hyperparameters() for group in self._groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copies a snapshot of `state_dict` into this optimizer's state, counts and groups.

        Entries with a name find the parameter of that name.  A group whose `lr` is a schedule keeps it.  Raises TypeError
        or ValueError, with nothing changed, where the snapshot is of another rule, or of other tensors or groups in number,
        shape or dtype.
        """
        load(self, state_dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{name}: {type(self).__name__} has no such attribute; hyperparameters are in opt.groups[i]")
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__}: it holds pointers and cannot be pickled or copied; use state_dict()")

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
