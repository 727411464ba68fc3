"""`Book`: what one of torch's optimizers is made of, as its steps and checkpoints read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from .._arrays.memory import BLOCK
from .._engine.options import Options
from .._engine.tensors import MASTER
from .._storage.formats import Formats, with_variance_floor
from ..rules import Rule
from ..rules.words import naming
from .arguments import check_flags, number
from .members import Member
from .state import EMA, Layout

__all__ = ["Book"]


class Book:
    """State and groups, which programs write to as they like, and beside them what fastopt keeps for its own.

    `state`, `groups`: torch's.  `seen`: whether somebody has asked for the state.  Until then nobody can have moved or replaced what is in
    it, nor can autograd have kept it: a step then need not look at it, which with many small parameters is most of its time.
    """

    def __init__(self, rule: Rule, formats: Formats, options: Options, seed: int) -> None:
        self.rule = rule
        self.layout = Layout(rule, formats, average=options["ema_decay"] is not None)
        self.names = [h.name for h in rule.arguments]
        self.options = options
        self.seed = seed
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.groups: list[dict[str, Any]] = []
        self.copies: dict[torch.Tensor, torch.Tensor] = {}
        """What takes a copy of a parameter after each step."""
        self.seen = True
        self._places: dict[int, Member] = {}  # of parameters by their id

    def forget(self) -> None:
        """Lets the parameters be looked up anew."""
        self._places = {}

    def params(self) -> list[torch.Tensor]:
        """All parameters, in order."""
        if len(self.groups) == 1:
            only = self.groups[0]["params"]
            return only if isinstance(only, list) else list(only)
        return [param for group in self.groups for param in group["params"]]

    def members(self, params: list[torch.Tensor]) -> list[Member]:
        """These parameters, all or some, with their place among all of them."""
        if len(params) == 1 and (known := self._places.get(id(params[0]))) is not None:
            group = self.groups[known.group]["params"] if known.group < len(self.groups) else []
            if known.position < len(group) and group[known.position] is params[0]:
                return [known]
        wanted = set(map(id, params))
        members: dict[int, Member] = {}
        offset = 0
        for index, group in enumerate(self.groups):
            for i, param in enumerate(group["params"]):
                if id(param) in members:
                    name, first = name_of(group, index, i), members[id(param)].name
                    raise ValueError(f"{name}: got a parameter that is {first} too, expected each once")
                if id(param) in wanted:
                    members[id(param)] = Member(param, name_of(group, index, i), index, i, offset, self.copies.get(param))
                offset += -(-param.numel() // BLOCK) * BLOCK
        if len(members) != len(wanted):
            raise RuntimeError("param_groups: got a step of a parameter that is in none of the groups, expected one that is")
        self._places.update(members)
        return [members[id(param)] for param in params]

    def check_group(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters of a group, checked, with tensors as numbers; but `lr` stays a tensor if it is on a GPU."""
        check_flags(dict(group))
        given = {name: group[name] for name in self.names}
        lr = given["lr"]
        if callable(lr) and not isinstance(lr, torch.Tensor):
            raise TypeError("lr: got a callable, expected a number or a tensor; torch.optim.lr_scheduler has schedules")
        on_gpu = isinstance(lr, torch.Tensor) and lr.is_cuda
        values: dict[str, Any] = {}
        for name, value in given.items():
            with naming(name if isinstance(value, torch.Tensor) and value.numel() != 1 else ""):
                values[name] = 0.0 if name == "lr" and on_gpu else number(value)
        checked = self.rule.check(with_variance_floor(values, self.layout.formats.state_dtype))
        return {**checked, "lr": lr} if on_gpu else checked

    def allocate(self, params: list[torch.Tensor]) -> None:
        """Makes the state of those that have none; averages and masters are taken from a parameter at its first step."""
        for member in self.members(params):
            if not self.state.get(member.param):
                values = self.check_group(self.groups[member.group])
                made = self.layout.completed({}, member.param, values, member.name)
                self.state[member.param].update({key: value for key, value in made.items() if key not in (EMA, MASTER)})


def name_of(group: Mapping[str, Any], index: int, i: int) -> str:
    """A group's parameter in messages."""
    names = group.get("param_names")  # which a checkpoint may have brought
    if isinstance(names, list) and i < len(names):
        return f"parameter {names[i]!r}"
    return f"param_groups[{index}]['params'][{i}]"
