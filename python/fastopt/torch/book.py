"""`Book`: what one of torch's optimizers is made of, as its steps and checkpoints read it."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from .. import _core
from .._arrays.memory import BLOCK
from .._engine.group_formats import FORMAT_KEYS
from .._engine.options import Options
from .._engine.ranges import check_group
from .._engine.tensors import MASTER
from .._storage.formats import Formats, with_variance_floor
from ..rules import Rule
from ..rules.words import naming
from .arguments import check_flags, number
from .members import Member
from .state import EMA, Layout
from .views import dense, is_single

__all__ = ["Book", "Gradients", "Taking", "added_name"]

Gradients: TypeAlias = "list[torch.Tensor | None]"


class Taking(Protocol):
    """What takes steps: `Steps`, `Turns`."""

    @property
    def skipped(self) -> int: ...
    @property
    def grad_norm(self) -> float | None: ...
    def serves(self, book: Book, params: list[torch.Tensor], grads: Gradients, given: int, /) -> bool: ...
    def step(self, grads: Gradients, given: int, options: _core.Options, /, *, seen: bool) -> None: ...


@dataclass(frozen=True)
class Place:
    """Where a parameter stands: as `Member` has it, without the parameter."""

    group: int
    position: int
    offset: int
    again: bool
    """Whether it stands somewhere else too."""


class Book:
    """State and groups, which programs write to as they like, and beside them what fastopt keeps for its own.

    `state`, `groups`: torch's.  `seen`: whether somebody has asked for the state.  Until then nobody can have moved or replaced what is in
    it, nor can autograd have kept it: a step then need not look at it, which with many small parameters is most of its time.

    An optimizer has nothing but its book that changes, so that what wraps it, with its methods or a copy of its attributes, acts on it.
    """

    def __init__(self, rule: Rule, defaults: Mapping[str, Any], options: Options, seed: int) -> None:
        """`defaults`: what a group has if it says nothing else, torch's flags and the formats included."""
        self.rule = rule
        self.defaults = defaults
        self.formats = Formats.check(*(defaults[key] for key in FORMAT_KEYS))
        self.average = options["ema_decay"] is not None
        self.names = [*(h.name for h in rule.arguments), *FORMAT_KEYS]
        self.options = options
        self.seed = seed
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.groups: list[dict[str, Any]] = []
        self.copies: MutableMapping[torch.Tensor, torch.Tensor] = WeakTensorKeyDictionary()
        """What takes a copy of a parameter after each step."""
        self.seen = True
        self.steps: Taking | None = None
        """What steps of all parameters are bound to."""
        self._single: dict[int, Taking] = {}  # those of parameters that take them in backward, by their id
        self._watches: dict[int | None, Any] = {}  # weak references to the parameters of bound steps
        self._skipped = 0  # before the present steps were bound
        self._norm: float | None = None  # of steps that were let go
        self._places: dict[int, Place] = {}  # of parameters by their id
        self._layouts: dict[Any, Layout] = {}

    # What steps are bound to

    @property
    def skipped(self) -> int:
        return self._skipped if self.steps is None else self.steps.skipped

    @property
    def grad_norm(self) -> float | None:
        return self._norm if self.steps is None else self.steps.grad_norm

    def forget(self, skipped: int | None = None) -> None:
        """Lets the next steps bind everything anew; they count on from `skipped`."""
        self._skipped = self.skipped if skipped is None else skipped
        self.steps, self._norm = None, None
        self._single, self._watches, self._places = {}, {}, {}

    def single(self, param: torch.Tensor) -> Taking | None:
        """What steps of this parameter alone are bound to."""
        return self._single.get(id(param))

    def keep(self, steps: Taking, params: list[torch.Tensor]) -> None:
        """Keeps what steps of all parameters are bound to, until one of them is freed: what held its memory is freed with it.

        On a GPU, where memory may still be in use, until the next step.
        """
        self.steps = steps
        self._watch(params, None)

    def keep_single(self, steps: Taking, param: torch.Tensor) -> None:
        """Says the same for steps of one parameter alone."""
        self._single[id(param)] = steps
        self._watch([param], id(param))

    def _watch(self, params: list[torch.Tensor], key: int | None) -> None:
        owner = weakref.ref(self)

        def freed(_: Any) -> None:
            if (book := owner()) is not None:
                book.let_go(key)

        self._watches[key] = [weakref.ref(param, freed) for param in params if not param.is_cuda]

    def let_go(self, key: int | None = None) -> None:
        """Lets the memory go that steps of all parameters, or of the one of this id, are bound to; what they have counted stays."""
        if key is None:
            self._skipped, self._norm, self.steps = self.skipped, self.grad_norm, None
        else:
            self._single.pop(key, None)
        self._watches.pop(key, None)

    # Parameters and where they stand

    def params(self) -> list[torch.Tensor]:
        """All parameters, in order."""
        if len(self.groups) == 1:
            only = self.groups[0]["params"]
            return only if isinstance(only, list) else list(only)
        return [param for group in self.groups for param in group["params"]]

    def members(self) -> list[Member]:
        """All parameters with their places, in order; one that stands twice in the groups comes twice."""
        members = []
        offset = 0
        places: dict[int, Place] = {}
        for index, group in enumerate(self.groups):
            layout = self.layout_of(group)
            for i, param in enumerate(group["params"]):
                members.append(Member(param, name_of(group, index, i), index, i, offset, layout, self.copies.get(param)))
                places[id(param)] = Place(index, i, offset, id(param) in places)
                offset += -(-param.numel() // BLOCK) * BLOCK
        self._places = places
        return members

    def member(self, param: torch.Tensor) -> Member:
        """One parameter with its place; RuntimeError if it is in none of the groups, ValueError if it stands there twice."""
        place = self._places.get(id(param))
        if place is None or not self._stands(param, place):
            self.members()
            place = self._places.get(id(param))
        if place is None:
            raise RuntimeError("param_groups: got a step of a parameter that is in none of the groups, expected one that is")
        group = self.groups[place.group]
        name = name_of(group, place.group, place.position)
        if place.again:
            raise ValueError(
                f"{name}: got a parameter that stands in the groups twice, expected each once for a step of it alone"
            )
        return Member(param, name, place.group, place.position, place.offset, self.layout_of(group), self.copies.get(param))

    def _stands(self, param: torch.Tensor, place: Place) -> bool:
        params = self.groups[place.group]["params"] if place.group < len(self.groups) else []
        return place.position < len(params) and params[place.position] is param

    # Groups

    def complete(self, group: dict[str, Any]) -> None:
        """Gives a group that another optimizer of the rule's had what that does not have; KeyError for lack of a hyperparameter."""
        needed = [h.name for h in self.rule.hyperparameters]
        for name in needed:
            if name not in group:
                raise KeyError(f"param_groups: got a group without {name!r}, expected {self.rule.name}'s {', '.join(needed)}")
        for name, value in self.defaults.items():
            group.setdefault(name, value)

    def layout_of(self, group: dict[str, Any]) -> Layout:
        """What entries of a group's parameters hold; TypeError or ValueError for formats that are none."""
        if any(key not in group for key in FORMAT_KEYS):
            self.complete(group)
        formats = tuple(group[key] for key in FORMAT_KEYS)
        try:
            return self._layouts[formats]
        except (KeyError, TypeError):  # new, or of what cannot be hashed, which the check words
            layout = self._layouts[formats] = Layout(self.rule, Formats.check(*formats), average=self.average)
            return layout

    def check_group(self, group: dict[str, Any], index: int) -> dict[str, Any]:
        """`check_values`, and besides ValueError for what the arithmetic of the group's parameters does not hold; `index`: where it stands."""
        values = self.check_values(group)
        check_group(self.rule, values, computed_in_single(group, index))
        return values

    def check_values(self, group: dict[str, Any]) -> dict[str, Any]:
        """The hyperparameters of a group, checked, with tensors as numbers; but `lr` stays a tensor if it is on a GPU."""
        self.complete(group)
        check_flags(group)
        given = {h.name: group[h.name] for h in self.rule.arguments}
        lr = given["lr"]
        if callable(lr) and not isinstance(lr, torch.Tensor):
            raise TypeError("lr: got a callable, expected a number or a tensor; torch.optim.lr_scheduler has schedules")
        on_gpu = isinstance(lr, torch.Tensor) and lr.is_cuda
        values: dict[str, Any] = {}
        for name, value in given.items():
            with naming(name if isinstance(value, torch.Tensor) and value.numel() != 1 else ""):
                values[name] = 0.0 if name == "lr" and on_gpu else number(value)
        checked = self.rule.check(with_variance_floor(values, self.layout_of(group).formats.state_dtype))
        return {**checked, "lr": lr} if on_gpu else checked

    def fit_group(self, group: dict[str, Any], index: int, values: dict[str, Any]) -> None:
        """Holds a new group's hyperparameters, and the options, to the arithmetic of its parameters: ValueError for one that does not fit."""
        single = computed_in_single(group, index)
        with naming(added_name(index)):
            check_group(self.rule, values, single)
        if single is not None:
            self.options.fit(single)

    def fit(self) -> str | None:
        """Holds options to the arithmetic of the present parameters (`Options.fit`); the name of one that is computed in float32, if any is."""
        names = (computed_in_single(group, index) for index, group in enumerate(self.groups))
        single = next((name for name in names if name is not None), None)
        self.options.fit(single)
        return single

    def allocate(self, members: list[Member]) -> None:
        """Makes the state of those that have none; averages and masters are taken from a parameter at its first step."""
        values = {i: self.check_group(self.groups[i], i) for i in {member.group for member in members}}
        for member in members:
            if not self.state.get(member.param):
                made = member.layout.completed({}, dense(member.param), values[member.group], member.name)
                self.state[member.param].update({key: value for key, value in made.items() if key not in (EMA, MASTER)})

    def last_group(self) -> list[Member]:
        """The parameters of the group that was added last, without their offsets."""
        index, group = len(self.groups) - 1, self.groups[-1]
        layout = self.layout_of(group)
        return [Member(param, name_of(group, index, i), index, i, 0, layout, None) for i, param in enumerate(group["params"])]


def computed_in_single(group: Mapping[str, Any], index: int) -> str | None:
    """The name of a group's first parameter that is computed in float32, None without any."""
    return next((name_of(group, index, i) for i, param in enumerate(group["params"]) if is_single(param)), None)


def added_name(index: int) -> str:
    """A group that is being added, in messages; the first goes without saying: its values are the optimizer's."""
    return f"param_groups[{index}]" if index else ""


def name_of(group: Mapping[str, Any], index: int, i: int) -> str:
    """A group's parameter in messages."""
    names = group.get("param_names")  # which a checkpoint may have brought
    if isinstance(names, list) and i < len(names):
        return f"parameter {names[i]!r}"
    return f"param_groups[{index}]['params'][{i}]"
