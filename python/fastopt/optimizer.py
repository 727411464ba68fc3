"""`Optimizer`, the base of every rule's class: the face for arrays of any framework.

It sorts the caller's arrays into an `Engine`.  After that a step is one call into the extension, which checks the gradients,
derives the step's scalars and runs the kernels.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from numpy import ndarray

from . import _core
from ._engine.arguments import bind_arguments, check_memory, computed_in_single, read_tensors, take_copies
from ._engine.copies import call_now, call_of
from ._engine.engine import Engine
from ._engine.group_formats import check_groups
from ._engine.groups import Group
from ._engine.loading import check_override, load
from ._engine.options import Options, PartOptions, StepOptions
from ._engine.snapshots import snapshot
from ._engine.states import States
from ._engine.traffic import traffic
from ._storage.formats import Formats, check_seed
from .flat import FlatBuffer
from .rules import OPTIONS, Rule
from .rules.words import counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._arrays.typed import AnyArray, Grads

__all__ = ["Optimizer", "engine_of"]


class Optimizer:
    """What every rule's class has in common.  Use the classes: `SGD`, `Adam`, `AdamW` and the others."""

    rule: ClassVar[Rule]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Optimizer:
            raise TypeError("Optimizer: expected one of the rules' classes, such as AdamW")
        given = bind_arguments(type(self).__name__, inspect.signature(type(self)), args, kwargs, self.rule.name)
        self._call = call_of(given)
        params, grads, copy_to = (given.pop(name) for name in ("params", "grads", "copy_to"))
        seed = check_seed(given.pop("seed"))
        formats = Formats.check(given.pop("state_dtype"), given.pop("master"))
        options = Options({option.name: given.pop(option.name) for option in OPTIONS})
        tensors, groups = read_tensors(params, self.rule, given, formats)
        options.fit(computed_in_single(tensors))
        take_copies(copy_to, tensors)
        check_memory(tensors)
        check_groups(tensors, groups, self.rule.name)
        for tensor in tensors:
            tensor.allocate(groups[tensor.group], average=options["ema_decay"] is not None)
        self._shape = list if isinstance(params, (list, tuple)) else dict if isinstance(params, Mapping) else None
        self._keys = [tensor.key for tensor in tensors if tensor.key is not None]
        self._engine = Engine(self.rule, tensors, groups, options, formats, seed=seed)
        self._state = States(self.rule, self._engine.tensors, self._engine.plan)
        if grads is not None:
            self._engine.bind(grads)
        self._engine.settle()

    def step(self, grads: Grads | None = None, **options: Unpack[StepOptions]) -> None:
        """Updates the parameters in place, in one pass over memory.

        `max_norm` and `skip_nonfinite` read the gradients once before.

        `grads`: for one parameter its gradient; for several a list or tuple in their order, or a dict if they came in one.  A
        gradient of None leaves its parameter, state and count of steps as they are.  Without `grads` the step reads the gradients
        that were bound when the optimizer was built.  Each gradient has the shape of its parameter, and its dtype or another that
        the arithmetic holds without loss.  It is C-contiguous, and only read unless `zero_grad` is on.

        `grad_scale`, `skip_nonfinite`, `clip_value`, `max_norm`, `norm_eps`, `ema_decay` and `zero_grad`, by name, hold for this
        step instead of those in `opt.options`; None keeps those.

        A call counts in `steps`, and for schedules, even if every gradient is None.  A skipped step counts only in `skipped_steps`.

        Raises TypeError or ValueError if an argument is anything else; then nothing is written and no step counted.
        """
        # Every step passes here, so rare cases are left to other functions.
        engine = self._engine
        bound = engine.options.overridden(options, StepOptions) if options else engine.options.bound
        if engine.scheduled or engine.parts.done:
            engine.begin("step")
        if grads is not None and grads.__class__ is not ndarray:
            grads = self._unwrapped(grads)
        if not engine.plan.step(grads, bound):
            engine.step_converted(grads, bound)

    def step_part(
        self,
        tensor: int | str,
        grad: AnyArray,
        begin: int = 0,
        end: int | None = None,
        **options: Unpack[PartOptions],
    ) -> None:
        """Makes the part of a step over elements `begin` to `end` of one tensor, for gradients that come one at a time.

        `tensor`: its position, or its name if the parameters came in a dict.  `grad`: in the tensor's shape, or the part alone in
        1-D.  By default the part is the whole tensor.  Parts may come in any order and be cut anywhere; each element belongs to
        one.  With 8-bit state parts begin and end at multiples of 256, or at the end.  A part without elements does nothing.

        The step is over, and counts, when every element of every tensor has had its part; `end_step` ends it without the tensors
        that had none.  Do not change hyperparameters and options while a step is open.  The result has the bits of `step`.

        Raises TypeError or ValueError, and writes nothing, if an argument is anything else, or if `max_norm` or `skip_nonfinite`
        is on: they need all gradients at once.
        """
        for name in ("max_norm", "skip_nonfinite"):
            if self.options[name]:
                raise ValueError(
                    f"{name}: got {self.options[name]!r}, which needs all gradients at once, expected a step without it"
                )
        self._engine.step_part(tensor, grad, begin, end, self.options.overridden(options, PartOptions))

    def end_step(self) -> None:
        """Ends a step in parts in which some tensors had no gradient.

        Raises ValueError if only some elements of a tensor have had their part, or if no step is open.
        """
        self._engine.parts.end()

    def _unwrapped(self, grads: Any) -> Any:
        """`grads` as the plan takes them: a buffer's data, or the values of a dict in the tensors' order if the names fit."""
        if grads.__class__ is FlatBuffer:
            return grads.data
        if grads.__class__ is not dict:
            return grads
        try:
            ordered = [grads[key] for key in self._keys]
        except KeyError:
            return grads
        return ordered if len(ordered) == len(grads) else grads

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups; `opt.groups[0]["lr"] = 1e-4` holds from the next step on."""
        return self._engine.groups

    @property
    def state(self) -> States:
        """The state of each tensor: `opt.state[0]["exp_avg"]`."""
        return self._state

    @property
    def steps(self) -> int:
        """Completed steps of the optimizer.  `opt.state[i]["step"]` counts those for which the tensor had a gradient."""
        return self._engine.plan.completed

    @property
    def skipped_steps(self) -> int:
        """Steps that `skip_nonfinite` skipped; they do not count in `steps`."""
        return self._engine.plan.skipped

    @property
    def grad_norm(self) -> float | None:
        """Euclidean norm of all gradients of the last step together, after `grad_scale` and `clip_value`, before `max_norm`.

        None if neither `max_norm` nor `skip_nonfinite` was on, since then nothing measured the norm.
        """
        return self._engine.plan.grad_norm

    @property
    def options(self) -> Options:
        """The stages that hold for all tensors; `opt.options["max_norm"] = 0.5` holds from the next step on."""
        return self._engine.options

    @property
    def ema_params(self) -> Any:
        """The averages of the parameters, as an array, a list or a dict like the parameters (for groups: a list); None without.

        The arrays are live.  Before a parameter's first step its average is the parameter as it came.
        """
        averages = [tensor.shown_average() for tensor in self._engine.tensors]
        if averages[0] is None:
            return None
        if self._shape is dict:
            return dict(zip(self._keys, averages, strict=True))
        return averages if self._shape is list else averages[0]

    @property
    def lr(self) -> float:
        """The learning rate of all groups.  Reading raises ValueError if the groups differ; setting sets the rate of each."""
        rates = {group.number() for group in self._engine.groups}
        if len(rates) != 1:
            raise ValueError(f"lr: the groups have different ones ({sorted(rates)}); read opt.groups[i]['lr']")
        return float(rates.pop())

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self._engine.groups:
            group.accept({"lr": value})
        for group in self._engine.groups:
            group["lr"] = value

    def traffic(self) -> dict[str, dict[str, int]]:
        """The bytes that a step with all gradients must read and write, for each kind of array and in total.

        `{"params": {"read": ..., "write": ...}, "grads": ..., "exp_avg": ..., "master": ..., "total": ...}`.  Gradients count in
        the dtype of the bound gradients, or of their parameters if none are bound.
        """
        return traffic(self._engine)

    def reset_masters(self) -> None:
        """Sets the masters to the parameters.  Call it after you write to parameters that have masters.

        Without the call the next step continues from the old master.  A float32 copy overwrites what was written; with 24 or 32
        bits the old correction, up to half a unit in the parameter's last place, is added to it.
        """
        self._engine.parts.refuse("reset_masters")
        for tensor in self._engine.tensors:
            tensor.reset_master()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything but the parameters, for `load_state_dict`.

        `{"rule": name, "steps": count, "skipped_steps": count, "seed": number, "state_dtype": ..., "master": ...,
        "state": [{"step": count, slot: array}, ...], "groups": [{...}, ...], "options": {...}}`

        The state is in the order of the tensors.  An entry of the state also has a `"name"` if the parameters came in a dict, a
        `"dtype"` if its parameter has 16 bits, the scalars that the rule carries from step to step, and `"master"` and `"ema"` if
        kept.  An array in a storage format is a dict of its raw arrays.  All arrays are copies.

        A schedule is code and not kept.  Its latest `lr` is, and if it has state (`schedules.ReduceOnPlateau`), what its own
        `state_dict` returns, under `"schedule"`.  Do not call this while another thread steps.
        """
        self._engine.parts.refuse("state_dict")
        return snapshot(self._engine)

    def load_state_dict(self, state_dict: Mapping[str, Any], *, override: Mapping[str, Any] | None = None) -> None:
        """Copies a snapshot of `state_dict` into this optimizer's state, masters, averages, counts, seed, groups and options.

        `override`: hyperparameters and options that hold instead of the snapshot's, such as `{"lr": 1e-4}` or
        `{"lr": schedule, "max_norm": None}`, in all groups.

        Entries with a name go to the parameter of that name.  A group whose `lr` is a schedule keeps the schedule; a schedule with
        state takes the snapshot's, if there is one.  The snapshot may hold live arrays, even this optimizer's own.  An exception from
        outside, such as KeyboardInterrupt, finds all of the snapshot loaded, or nothing.

        Raises TypeError or ValueError, and changes nothing, if the snapshot has another rule, other formats, or tensors or groups
        that differ in number, shape or dtype; if it has the state of a schedule and `lr` is none with state; or if `override` has
        other names or values.
        """
        self._engine.parts.refuse("load_state_dict")
        load(self._engine, state_dict, override)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `state_dict()` to a safetensors file, whole or not at all; needs the extra `checkpoints`.

        Save the parameters yourself.  An existing file is replaced when the new one is on the disk.  Raises OSError if that
        fails, and leaves the old file as it was; raises TypeError if `path` is no path.
        """
        from ._engine.checkpoints import Target

        self._engine.parts.refuse("save")
        target = Target(path)
        target.write(self.state_dict())

    def load(self, path: str | os.PathLike[str], *, override: Mapping[str, Any] | None = None) -> None:
        """Loads what `save` wrote, with `override` as in `load_state_dict`.  With the parameters of that time, and without `override`,
        the next steps have the same bits.

        Raises OSError if the file cannot be read.  Raises ValueError, and changes nothing, if the file is damaged, or if `save` did
        not write it for such an optimizer.
        """
        from ._engine.checkpoints import reading

        self._engine.parts.refuse("load")
        given = check_override(self._engine, override)
        with reading(path) as state_dict:
            self.load_state_dict(state_dict, override=given)

    if not TYPE_CHECKING:  # to type checkers these two would say that any name may be set and read

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "lr" and _core.set_each(
                self._engine.groups, "lr", value
            ):  # as most schedules in a loop: without its property
                return
            if not name.startswith("_") and not hasattr(type(self), name):
                self.__getattr__(name)  # which says what to write
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> NoReturn:
            """Called only for names that the optimizer lacks."""
            from ._engine.attributes import no_attribute

            raise no_attribute(type(self), name)

    def __copy__(self) -> Any:
        name = type(self).__name__
        raise TypeError(
            f"{name}: copy.copy would make a second optimizer over the same parameters and state; expected copy.deepcopy, which copies "
            f"them too, or a new {name} of other parameters that loads state_dict()"
        )

    def __reduce__(self) -> Any:
        """A pickle keeps parameters, bound gradients and copies, arguments and state; so does a deep copy."""
        self._engine.parts.refuse("pickle")
        more = {name: value for name, value in vars(self).items() if name not in OWN}  # of a class derived from this
        return restored, (type(self), call_now(self._call, self._engine.groups), self.state_dict()), more or None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The same over copies of the parameters: of those that `memo` has copied already, such as a model's, the copies."""
        self._engine.parts.refuse("deepcopy")
        _, (cls, call, state), more = self.__reduce__()
        twin = memo[id(self)] = restored(cls, copy.deepcopy(call, memo), state)
        vars(twin).update(copy.deepcopy(more or {}, memo))
        return twin

    def __repr__(self) -> str:
        elements = sum(tensor.param.size for tensor in self._engine.tensors)
        groups = "".join(f"\n  {group!r}" for group in self._engine.groups)
        formats = self._engine.formats
        words = "".join(f", {name}={value!r}" for name, value in vars(formats).items() if value is not None)
        return (
            f"{type(self).__name__}({counted(len(self._engine.tensors), 'tensor')}, {counted(elements, 'element')}, "
            f"{counted(self.steps, 'step')}{words}){groups}"
        )


OWN = ("_call", "_engine", "_keys", "_shape", "_state")
"""What an optimizer consists of."""


def restored(cls: type[Optimizer], call: dict[str, Any], state: Mapping[str, Any]) -> Optimizer:
    """The optimizer that `__reduce__` took apart."""
    optimizer = cls.__new__(cls)
    Optimizer.__init__(optimizer, **call)
    load(optimizer._engine, state)
    return optimizer


def engine_of(optimizer: Optimizer) -> Engine:
    """The engine that an optimizer drives, for the rest of fastopt, which reads no private names."""
    return optimizer._engine
